//! Invented events of a month.

use chrono::{DateTime, TimeDelta, Utc};
use crm_contract::pb;
use crm_contract::pb::{
    CampaignEventKind, ConversationOutcome, CustomerStatus, EntryPoint, InterestKind, MessageRole, Modality,
};
use crm_testkit::Random;
use prost_types::{Duration, Timestamp};

use crate::words::{
    CITIES, CONTACTS, FIRST, INDUSTRIES, MATTERS, MODELS, Matter, OUTCOMES, PRODUCTS, SECOND, SOURCES,
};

/// Where conversations begin, and their modality. Repeated entries are more frequent.
const PLACES: &[(EntryPoint, Modality)] = &[
    (EntryPoint::WebsiteWidget, Modality::Text),
    (EntryPoint::WebsiteWidget, Modality::Text),
    (EntryPoint::Whatsapp, Modality::Text),
    (EntryPoint::Email, Modality::Email),
    (EntryPoint::Campaign, Modality::Text),
    (EntryPoint::Phone, Modality::Voice),
];

/// The percentage of customers that reach each next step, from SENT on.
const STEPS: [(CampaignEventKind, u64); 5] = [
    (CampaignEventKind::Delivered, 96),
    (CampaignEventKind::Opened, 48),
    (CampaignEventKind::Clicked, 30),
    (CampaignEventKind::Replied, 35),
    (CampaignEventKind::Converted, 40),
];

/// A conversation and its outcome.
pub(crate) struct Talk {
    pub(crate) start: DateTime<Utc>,
    pub(crate) place: (EntryPoint, Modality),
    pub(crate) matter: &'static Matter,
    pub(crate) model: (&'static str, &'static str),
    pub(crate) outcome: ConversationOutcome,
    /// The purchased products, and the quantity of each.
    pub(crate) bought: Vec<(usize, i32)>,
    /// The refunded cents.
    pub(crate) refunded: Option<u64>,
}

/// Returns customers with a name each.
pub(crate) fn customers(random: &mut Random, count: usize) -> Vec<pb::CreateCustomerRequest> {
    (0..count)
        .map(|number| {
            let (first, second) = (FIRST[number % FIRST.len()], SECOND[number / FIRST.len() % SECOND.len()]);
            let status = [
                CustomerStatus::Lead,
                CustomerStatus::Prospect,
                CustomerStatus::Active,
                CustomerStatus::Active,
            ];
            let customer = pb::Customer {
                business_name: format!("{first} {second}"),
                contact_name: (*random.choose(CONTACTS)).to_owned(),
                email: format!("contact{number}@example.com"),
                city: (*random.choose(CITIES)).to_owned(),
                industry_category: (*random.choose(INDUSTRIES)).to_owned(),
                source: (*random.choose(SOURCES)).to_owned(),
                status: (*random.choose(&status)).into(),
                tags: if random.percent(30) { vec!["vip".to_owned()] } else { Vec::new() },
                ..Default::default()
            };
            pb::CreateCustomerRequest { customer: Some(customer), request_id: random.uuid().to_string() }
        })
        .collect()
}

/// Returns a conversation of the last `days`.
pub(crate) fn talk(random: &mut Random, now: DateTime<Utc>, days: u64) -> Talk {
    let matter = random.choose(MATTERS);
    let buys = random.percent(28);
    let bought: Vec<_> = match buys {
        true => (0..random.between(1, 3))
            .map(|_| {
                let product = random.below(PRODUCTS.len() as u64);
                let most = if product < 4 { 12 } else { 1 };
                (usize::try_from(product).unwrap_or(0), i32::try_from(random.between(1, most)).unwrap_or(1))
            })
            .collect(),
        false => Vec::new(),
    };
    let total = cents(&bought);
    Talk {
        start: moment(random, now, days),
        place: *random.choose(PLACES),
        matter,
        model: *random.choose(MODELS),
        outcome: if buys { ConversationOutcome::Purchased } else { *random.choose(OUTCOMES) },
        refunded: (buys && random.percent(8)).then(|| if random.percent(50) { total } else { total / 2 }),
        bought,
    }
}

/// Returns the events between a campaign and a customer, in order.
pub(crate) fn campaign_events(
    random: &mut Random,
    (customer_id, start): (&str, DateTime<Utc>),
) -> Vec<pb::CampaignEvent> {
    let mut time = start + TimeDelta::seconds(i64::try_from(random.below(7_200)).unwrap_or(0));
    let mut events = vec![(CampaignEventKind::Sent, time)];
    if random.percent(3) {
        events.push((CampaignEventKind::Bounced, time + TimeDelta::seconds(2)));
    } else {
        for (kind, share) in STEPS {
            if !random.percent(share) {
                break;
            }
            time += TimeDelta::seconds(i64::try_from(random.between(5, 40_000)).unwrap_or(5));
            events.push((kind, time));
        }
        if random.percent(2) {
            events.push((CampaignEventKind::OptedOut, time + TimeDelta::seconds(60)));
        }
    }
    let cost = |kind| (kind == CampaignEventKind::Sent).then(|| euros(4));
    events
        .into_iter()
        .map(|(kind, time)| pb::CampaignEvent {
            event_id: random.uuid().to_string(),
            customer_id: customer_id.to_owned(),
            kind: kind.into(),
            occur_time: Some(wire(time)),
            cost: cost(kind),
            ..Default::default()
        })
        .collect()
}

impl Talk {
    /// When the conversation ended.
    pub(crate) fn end(&self) -> DateTime<Utc> {
        self.start + TimeDelta::seconds(40 * i64::try_from(self.matter.talk.len()).unwrap_or(1))
    }

    /// Returns the messages of the conversation, in order.
    pub(crate) fn messages(&self, random: &mut Random) -> Vec<pb::Message> {
        let (provider, model) = self.model;
        let lines = self.matter.talk.iter().enumerate();
        lines
            .map(|(place, line)| {
                let is_customer = place % 2 == 0;
                let milliseconds = i32::try_from(random.between(400, 5_200)).unwrap_or(400);
                let ai = pb::AiMetadata {
                    provider: provider.to_owned(),
                    model: model.to_owned(),
                    prompt_tokens: i32::try_from(random.between(600, 4_000)).ok(),
                    completion_tokens: i32::try_from(line.len() / 4).ok(),
                    cached_tokens: i32::try_from(random.below(600)).ok(),
                    response_duration: Some(Duration {
                        seconds: (milliseconds / 1_000).into(),
                        nanos: milliseconds % 1_000 * 1_000_000,
                    }),
                    ..Default::default()
                };
                let seconds = 40 * i64::try_from(place).unwrap_or(0);
                pb::Message {
                    message_key: format!("m-{place:02}"),
                    role: if is_customer { MessageRole::User } else { MessageRole::Assistant }.into(),
                    content: (*line).to_owned(),
                    ai: (!is_customer).then_some(ai),
                    sent_time: Some(wire(self.start + TimeDelta::seconds(seconds))),
                    ..Default::default()
                }
            })
            .collect()
    }

    /// Returns the interests that the customer showed.
    pub(crate) fn interest(
        &self,
        random: &mut Random,
        customer_id: &str,
        conversation_id: &str,
    ) -> Vec<pb::InterestEvent> {
        let mut kinds = vec![(InterestKind::Asked, self.matter.topic, 1.0)];
        for (product, _) in &self.bought {
            kinds.push((InterestKind::AddedToCart, PRODUCTS[*product].1, 3.0));
            if PRODUCTS[*product].0 == "COU-1" {
                kinds.push((InterestKind::Converted, "Barista course completed", 5.0));
            }
        }
        kinds
            .into_iter()
            .map(|(kind, subject, weight)| pb::InterestEvent {
                event_id: random.uuid().to_string(),
                customer_id: customer_id.to_owned(),
                kind: kind.into(),
                subject: subject.to_owned(),
                weight: Some(weight),
                source: "conversation".to_owned(),
                occur_time: Some(wire(self.start + TimeDelta::seconds(60))),
                conversation_id: conversation_id.to_owned(),
                ..Default::default()
            })
            .collect()
    }

    /// Returns the purchase that followed, if there was one.
    pub(crate) fn purchase(
        &self,
        random: &mut Random,
        customer_id: &str,
        conversation_id: &str,
    ) -> Option<pb::RecordPurchaseRequest> {
        let items = self.bought.iter().map(|(product, quantity)| {
            let (sku, name, price) = PRODUCTS[*product];
            pb::PurchaseItem {
                sku: sku.to_owned(),
                name: name.to_owned(),
                quantity: *quantity,
                unit_price: Some(euros(price)),
            }
        });
        let purchase = (!self.bought.is_empty()).then(|| pb::Purchase {
            customer_id: customer_id.to_owned(),
            amount: Some(euros(cents(&self.bought))),
            items: items.collect(),
            purchase_time: Some(wire(self.end())),
            conversation_id: conversation_id.to_owned(),
            conversation_outcome: ConversationOutcome::Purchased.into(),
            ..Default::default()
        });
        purchase.map(|purchase| pb::RecordPurchaseRequest {
            purchase: Some(purchase),
            request_id: random.uuid().to_string(),
        })
    }
}

/// Returns a time within business hours of the last `days`.
pub(crate) fn moment(random: &mut Random, now: DateTime<Utc>, days: u64) -> DateTime<Utc> {
    let days = i64::try_from(random.between(1, days)).unwrap_or(1);
    let seconds = i64::try_from(random.between(8 * 3_600, 19 * 3_600)).unwrap_or(0);
    let midnight = (now - TimeDelta::days(days)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    midnight + TimeDelta::seconds(seconds)
}

/// Returns an amount in cents as euros.
pub(crate) fn euros(cents: u64) -> pb::Money {
    pb::Money {
        currency_code: "EUR".to_owned(),
        units: i64::try_from(cents / 100).unwrap_or(0),
        nanos: i32::try_from(cents % 100).unwrap_or(0) * 10_000_000,
    }
}

pub(crate) fn wire(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: 0 }
}

fn cents(bought: &[(usize, i32)]) -> u64 {
    bought.iter().map(|(product, quantity)| PRODUCTS[*product].2 * u64::from(quantity.unsigned_abs())).sum()
}
