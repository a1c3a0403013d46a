//! Events of customers, written directly to the database, and a funnel that is computed
//! independently.

use std::collections::BTreeMap;

use crm_backend::contract::Word;
use crm_backend::pb::{EntryPoint, FunnelGrouping, FunnelStep};
use crm_testkit::{Random, Sql};
use uuid::Uuid;

use super::Tenant;

/// The beginning of all events, in seconds since 1970: 2026-01-01.
pub(crate) const EPOCH: i64 = 1_767_225_600;

/// The table of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    CampaignEvents,
    InterestEvents,
    Conversations,
    Purchases,
}

/// An event of a customer.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) table: Table,
    pub(crate) id: Uuid,
    pub(crate) customer: Uuid,
    /// The seconds after [`EPOCH`].
    pub(crate) second: i64,
    /// The kind of an event, or the environment of a conversation.
    pub(crate) kind: &'static str,
    pub(crate) campaign: Option<Uuid>,
    pub(crate) entry_point: Option<EntryPoint>,
}

/// The kinds, as the tables store them.
const CAMPAIGN_KINDS: [&str; 8] =
    ["SENT", "BOUNCED", "DELIVERED", "OPENED", "CLICKED", "REPLIED", "CONVERTED", "OPTED_OUT"];
const INTEREST_KINDS: [&str; 5] = ["VIEWED", "ASKED", "DECLINED", "CONVERTED", "OTHER"];

impl Event {
    /// Returns a random event of one of these customers and campaigns, within this many seconds.
    pub(crate) fn any(dice: &mut Random, customers: &[Uuid], campaigns: &[Uuid], seconds: u64) -> Self {
        let table = dice.pick(&[
            Table::CampaignEvents,
            Table::InterestEvents,
            Table::Conversations,
            Table::Purchases,
        ]);
        let perhaps = campaigns.iter().copied().map(Some).chain([None]).collect::<Vec<_>>();
        let (kind, campaign) = match table {
            Table::CampaignEvents => (dice.pick(&CAMPAIGN_KINDS), Some(dice.pick(campaigns))),
            Table::InterestEvents => (dice.pick(&INTEREST_KINDS), dice.pick(&perhaps)),
            Table::Conversations => (dice.pick(&["LIVE", "LIVE", "TEST"]), None),
            Table::Purchases => ("PAID", dice.pick(&perhaps)),
        };
        let entry_points = [None, Some(EntryPoint::Whatsapp), Some(EntryPoint::Email)];
        let entry_point = (table == Table::Conversations).then(|| dice.pick(&entry_points)).flatten();
        // Ids decide between events at the same time, so they are random numbers of the same
        // source.
        let id = Uuid::from_u64_pair(dice.below(u64::MAX), dice.below(u64::MAX));
        let second = i64::try_from(dice.below(seconds)).expect("few");
        Self { table, id, customer: dice.pick(customers), second, kind, campaign, entry_point }
    }

    /// Returns the statement that inserts the event.
    fn insert(&self, tenant: Uuid) -> String {
        let Self { table, id, customer, second, kind, campaign, entry_point } = self;
        let at = format!("to_timestamp({})", EPOCH + second);
        let campaign = campaign.map_or("NULL".to_owned(), |campaign| format!("'{campaign}'"));
        let entry_point = entry_point.map_or("NULL".to_owned(), |word| format!("'{}'", word.word()));
        match table {
            Table::CampaignEvents => format!(
                "INSERT INTO campaign_events
                     (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at)
                 VALUES ('{tenant}', '{id}', {campaign}, '{id}', '{customer}', '{kind}', {at}, true)"
            ),
            Table::InterestEvents => format!(
                "INSERT INTO interest_events (tenant_id, id, event_id, customer_id, kind, subject, subject_key, weight,
                     occurred_at, has_occurred_at, campaign_id)
                 VALUES ('{tenant}', '{id}', '{id}', '{customer}', '{kind}', 'x', 'x', 1, {at}, true, {campaign})"
            ),
            Table::Conversations => format!(
                "INSERT INTO conversations (tenant_id, id, customer_id, session_id, entry_point, modality, environment,
                     presenter_kind, status, started_at)
                 VALUES ('{tenant}', '{id}', '{customer}', '{id}', {entry_point}, 'TEXT', '{kind}', 'AI_AGENT', 'OPEN',
                     {at})"
            ),
            Table::Purchases => format!(
                "INSERT INTO purchases (tenant_id, id, customer_id, currency, amount_micros, purchased_at, campaign_id)
                 VALUES ('{tenant}', '{id}', '{customer}', 'EUR', 1000000, {at}, {campaign})"
            ),
        }
    }

    /// Whether the event reaches a step.
    fn takes(&self, step: FunnelStep) -> bool {
        let Self { table, kind, .. } = self;
        let talk = (*table, *kind) == (Table::Conversations, "LIVE");
        let of = |of: Table, kinds: &[&str]| *table == of && kinds.contains(kind);
        match step {
            FunnelStep::Unspecified => false,
            FunnelStep::Contacted => talk || of(Table::CampaignEvents, &["SENT", "DELIVERED"]),
            FunnelStep::Engaged => of(Table::CampaignEvents, &["OPENED", "CLICKED", "REPLIED"]),
            FunnelStep::Conversed => talk,
            FunnelStep::Interested => of(Table::InterestEvents, &["VIEWED", "ASKED", "OTHER"]),
            FunnelStep::Converted => {
                of(Table::InterestEvents, &["CONVERTED"]) || of(Table::CampaignEvents, &["CONVERTED"])
            }
            FunnelStep::Purchased => *table == Table::Purchases,
        }
    }
}

/// Inserts events.
pub(crate) async fn insert_all(sql: &Sql, tenant: &Tenant, events: &[Event]) {
    let inserts: Vec<String> = events.iter().map(|event| event.insert(tenant.id)).collect();
    sql.run(&inserts.join(";\n")).await;
}

/// Creates campaigns.
pub(crate) async fn campaigns(sql: &Sql, tenant: &Tenant, count: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        let tenant = tenant.id;
        sql.run(&format!(
            "INSERT INTO campaigns (tenant_id, id, name, status) VALUES ('{tenant}', '{id}', 'x', 'ACTIVE')"
        ))
        .await;
    }
    ids
}

/// The parameters of a funnel, in seconds after [`EPOCH`].
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) window: (i64, i64),
    pub(crate) max_seconds: i64,
    pub(crate) steps: Vec<FunnelStep>,
    pub(crate) grouping: FunnelGrouping,
    pub(crate) campaign: Option<Uuid>,
    pub(crate) entry_points: Vec<EntryPoint>,
}

/// How many customers reached a step, and the median of the seconds since the previous step.
pub(crate) type Reached = (i64, Option<i64>);

/// Follows each customer from event to event.
pub(crate) fn follow(events: &[Event], question: &Question) -> Vec<(String, Vec<Reached>)> {
    let mut by_customer: BTreeMap<Uuid, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_customer.entry(event.customer).or_default().push(event);
    }
    let mut groups: BTreeMap<String, Vec<Vec<i64>>> = BTreeMap::new();
    if question.grouping == FunnelGrouping::Unspecified {
        groups.insert(String::new(), vec![Vec::new(); question.steps.len()]);
    }
    for events in by_customer.values_mut() {
        events.sort_by_key(|event| (event.second, event.id));
        let Some((group, waits)) = follow_one(events, question) else { continue };
        let group = groups.entry(group).or_insert_with(|| vec![Vec::new(); question.steps.len()]);
        for (step, wait) in group.iter_mut().zip(waits) {
            step.push(wait);
        }
    }
    let mut funnels: Vec<_> = groups.into_iter().collect();
    funnels.sort_by_key(|(_, steps)| std::cmp::Reverse(steps[0].len()));
    funnels
        .into_iter()
        .map(|(group, steps)| (group, steps.into_iter().enumerate().map(reached).collect()))
        .collect()
}

/// Returns the group that a customer enters, and the duration of each reached step.
fn follow_one(events: &[&Event], question: &Question) -> Option<(String, Vec<i64>)> {
    let (from, until) = question.window;
    let enters = |event: &&&Event| event.takes(question.steps[0]) && (from..until).contains(&event.second);
    let of_campaign =
        |event: &&&Event| question.campaign.is_none_or(|campaign| event.campaign == Some(campaign));
    let entry = events.iter().filter(enters).find(of_campaign)?;
    let of_entry_points = |entry_point| question.entry_points.contains(&entry_point);
    if !question.entry_points.is_empty() && !entry.entry_point.is_some_and(of_entry_points) {
        return None;
    }
    let (mut at, mut waits) = (entry.second, vec![0]);
    for step in &question.steps[1..] {
        let follows = |event: &&&Event| {
            event.takes(*step) && (at..=entry.second + question.max_seconds).contains(&event.second)
        };
        let Some(next) = events.iter().find(follows) else { break };
        waits.push(next.second - at);
        at = next.second;
    }
    let group = match question.grouping {
        FunnelGrouping::Unspecified => String::new(),
        FunnelGrouping::Campaign => entry.campaign.map(|id| id.to_string()).unwrap_or_default(),
        FunnelGrouping::EntryPoint => {
            entry.entry_point.map(|word| word.word().to_owned()).unwrap_or_default()
        }
    };
    Some((group, waits))
}

fn reached((step, mut waits): (usize, Vec<i64>)) -> Reached {
    waits.sort_unstable();
    let median = (step > 0 && !waits.is_empty()).then(|| waits[waits.len().div_ceil(2) - 1]);
    (i64::try_from(waits.len()).expect("few"), median)
}
