//! After any operations by any number of clients, the dashboard agrees with a recount.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crm_backend::pb::{
    AiMetadata, CampaignEvent, CampaignEventKind, Conversation, ConversationAnalysis,
    ConversationEnvironment, ConversationOutcome, ConversationStatus, Customer, CustomerStatus,
    EndConversationRequest, EntryPoint, GetCampaignPerformanceRequest, ListConversationsRequest, Message,
    MessageRole, Modality, Objection, ObjectionKind, ObjectionStatus, Presenter, Sentiment, SentimentLabel,
};
use crm_testkit::Random;
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::campaign_performance::rows_agree;
use crate::support::campaigns::{Outcome, event, refusal};
use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::recount::{bare, recount};
use crate::support::{Crm, Tenant, at_once};

/// The number of parallel clients.
const CLIENTS: u64 = 8;

/// The number of all operations together.
const OPERATIONS: u64 = 10_000;

/// The campaigns with events.
const CAMPAIGNS: usize = 3;

/// Customers and conversations that the clients share, so that they conflict.
#[derive(Default)]
struct Shared {
    campaigns: Vec<String>,
    customers: Mutex<Vec<String>>,
    talks: Mutex<Vec<String>>,
}

impl Shared {
    fn add(list: &Mutex<Vec<String>>, id: String) {
        list.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn any(list: &Mutex<Vec<String>>, dice: &mut Random) -> Option<String> {
        let list = list.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly the latest ones, so that all clients use them at the same time.
        let newest = &list[list.len().saturating_sub(200)..];
        (!newest.is_empty()).then(|| dice.pick(newest))
    }
}

/// Checks that an error is one that another client's operation explains.
fn harmless(error: &Status) {
    assert!(
        matches!(error.code(), Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition),
        "nobody else does anything that could cause {error:?}"
    );
}

/// Numbers of the words of every enum are smaller.
const LAST_WORD: i32 = 99;

/// One of all words of an enum, but for the one that says nothing.
fn word<E: TryFrom<i32> + Into<i32>>(dice: &mut Random) -> i32 {
    let words: Vec<i32> =
        (1..=LAST_WORD).filter_map(|number| E::try_from(number).ok()).map(Into::into).collect();
    dice.pick(&words)
}

fn texts(dice: &mut Random, of: &[&str]) -> Vec<String> {
    (0..dice.below(4)).map(|_| dice.pick(of).to_owned()).collect()
}

fn industry(dice: &mut Random) -> String {
    dice.pick(&["", "food", "Food", "cars", "ships"]).to_owned()
}

fn source(dice: &mut Random) -> String {
    dice.pick(&["", "web", "fair", "friend"]).to_owned()
}

async fn create(tenant: &Tenant, shared: &Shared, dice: &mut Random) -> Result<(), Status> {
    let request = Customer {
        status: word::<CustomerStatus>(dice),
        industry_category: industry(dice),
        source: source(dice),
        ..named(dice.pick(&["Ana", "Ben", "Zoe"]))
    };
    Shared::add(&shared.customers, tenant.create(request).await?.id);
    Ok(())
}

async fn change(tenant: &Tenant, id: String, dice: &mut Random) -> Result<(), Status> {
    let wanted = Customer {
        id,
        status: word::<CustomerStatus>(dice),
        industry_category: industry(dice),
        source: source(dice),
        ..Default::default()
    };
    let path = dice.pick(&["status", "industry_category", "source"]);
    tenant.update(wanted, &[path]).await.map(drop)
}

async fn open(
    tenant: &Tenant,
    shared: &Shared,
    customer_id: String,
    dice: &mut Random,
) -> Result<(), Status> {
    let days_ago = i64::try_from(dice.below(40)).expect("few");
    let start = chrono::Utc::now() - chrono::TimeDelta::days(days_ago);
    let id = dice.pick(&["", "bot", "ben"]).to_owned();
    let request = Conversation {
        customer_id,
        entry_point: i32::try_from(dice.below(19)).expect("few"),
        modality: word::<Modality>(dice),
        environment: word::<ConversationEnvironment>(dice),
        presenter: Some(Presenter { id, ..Default::default() }),
        start_time: Some(Timestamp { seconds: start.timestamp(), nanos: 0 }),
        ..Default::default()
    };
    Shared::add(&shared.talks, tenant.open(request).await?.id);
    Ok(())
}

async fn say(tenant: &Tenant, id: &str, dice: &mut Random) -> Result<(), Status> {
    // Half of them have no number of tokens.
    let tokens = |dice: &mut Random| i32::try_from(dice.below(5_000)).ok().filter(|tokens| tokens % 2 == 0);
    let micros = i32::try_from(dice.below(1_000_000)).expect("less than a second");
    let ai = AiMetadata {
        model: dice.pick(&["", "large", "small"]).to_owned(),
        prompt_tokens: tokens(dice),
        completion_tokens: tokens(dice),
        cached_tokens: tokens(dice),
        response_duration: (dice.below(3) > 0).then_some(Duration { seconds: 1, nanos: micros * 1_000 }),
        ..Default::default()
    };
    let key = format!("{:x}", dice.below(u64::MAX));
    let message = match dice.below(2) {
        0 => message(&key, "Hello?"),
        _ => Message { role: MessageRole::Assistant.into(), ai: Some(ai), ..message(&key, "Yes.") },
    };
    tenant.add(id, message).await.map(drop)
}

async fn analyse(tenant: &Tenant, conversation_id: String, dice: &mut Random) -> Result<(), Status> {
    let objections = (0..dice.below(4)).map(|_| Objection {
        kind: word::<ObjectionKind>(dice),
        status: word::<ObjectionStatus>(dice),
        evidence: String::new(),
    });
    let objections = objections.collect();
    let label = i32::try_from(dice.below(7)).expect("few");
    let request = ConversationAnalysis {
        conversation_id,
        topics: texts(dice, &["price", "Price", "PRICE", "Größe", "größe", "delivery"]),
        questions: texts(dice, &["How much?", "how much?", "When?", "Why?"]),
        objections,
        sentiment: SentimentLabel::try_from(label)
            .ok()
            .map(|label| Sentiment { label: label.into(), ..Default::default() }),
        ..Default::default()
    };
    tenant.analyse(request).await.map(drop)
}

async fn move_on(tenant: &Tenant, id: String, dice: &mut Random) -> Result<(), Status> {
    let outcome = if dice.below(13) == 0 { 0 } else { word::<ConversationOutcome>(dice) };
    if dice.below(3) == 0 {
        let status = dice.pick(&[ConversationStatus::Ended, ConversationStatus::Abandoned]);
        let request = EndConversationRequest { id, status: status.into(), outcome, ..Default::default() };
        return tenant.end(request).await.map(drop);
    }
    // An update cannot end a conversation.
    let status = loop {
        let status = word::<ConversationStatus>(dice);
        if ![ConversationStatus::Ended.into(), ConversationStatus::Abandoned.into()].contains(&status) {
            break status;
        }
    };
    let entry_point = word::<EntryPoint>(dice);
    let wanted = Conversation { id, status, outcome, entry_point, ..Default::default() };
    tenant.revise(wanted, &[dice.pick(&["status", "outcome", "entry_point"])]).await.map(drop)
}

/// Records an event between a campaign and a customer, sometimes with an existing id.
async fn react(
    tenant: &Tenant,
    campaign_id: &str,
    customer_id: &str,
    dice: &mut Random,
) -> Result<(), Status> {
    if dice.below(4) == 0 {
        return tenant.assign(campaign_id, &[customer_id]).await.map(drop);
    }
    let event_id = dice.below(OPERATIONS).to_string();
    let kind = word::<CampaignEventKind>(dice);
    let reaction = CampaignEvent { kind, ..event(&event_id, customer_id, Default::default()) };
    let results = tenant.record(campaign_id, &[reaction]).await?;
    results.iter().filter(|result| result.error().is_some()).map(refusal).try_for_each(Err)
}

/// Runs one operation of a client.
async fn operate(tenant: &Tenant, shared: &Shared, dice: &mut Random) -> Result<(), Status> {
    let roll = dice.below(24);
    let customer = Shared::any(&shared.customers, dice);
    let talk = Shared::any(&shared.talks, dice);
    match (roll, customer, talk) {
        (0..3, ..) | (_, None, _) => create(tenant, shared, dice).await,
        (3..6, Some(customer), _) => change(tenant, customer, dice).await,
        (6..8, Some(customer), _) => tenant.delete(&customer).await.map(drop),
        (8..10, Some(customer), _) => tenant.undelete(&customer).await.map(drop),
        (10..13, Some(customer), _) | (_, Some(customer), None) => open(tenant, shared, customer, dice).await,
        (13..17, _, Some(talk)) => say(tenant, &talk, dice).await,
        (17..18, _, Some(talk)) => analyse(tenant, talk, dice).await,
        (18..22, Some(customer), _) => react(tenant, &dice.pick(&shared.campaigns), &customer, dice).await,
        (_, _, Some(talk)) => move_on(tenant, talk, dice).await,
    }
}

/// Returns statuses, industries and sources of customers with their counts, from a list.
async fn recount_customers(tenant: &Tenant) -> BTreeMap<(&'static str, String), i64> {
    let mut counts = BTreeMap::new();
    let request = crm_backend::pb::ListCustomersRequest { page_size: 500, ..Default::default() };
    for customer in tenant.list_all(request).await {
        let status = customer.status().as_str_name().to_owned();
        for key in [
            ("status", status),
            ("industry", customer.industry_category.clone()),
            ("source", customer.source.clone()),
            ("total", String::new()),
        ] {
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

/// The same, from the dashboard.
async fn counted_customers(tenant: &Tenant) -> BTreeMap<(&'static str, String), i64> {
    let answer = tenant.customer_statistics(Default::default()).await.expect("an answer");
    let lists = [
        ("status", answer.statuses),
        ("industry", answer.industry_categories),
        ("source", answer.sources),
        ("total", answer.total.into_iter().collect()),
    ];
    let all = lists.into_iter().flat_map(|(name, counts)| counts.into_iter().map(move |count| (name, count)));
    all.map(|(name, count)| ((name, count.value), count.row_count)).collect()
}

/// Returns the real conversations of the last 30 days, with their messages.
async fn read_all(
    tenant: &Tenant,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Vec<(Conversation, Vec<Message>)> {
    let list = ListConversationsRequest {
        environments: vec![ConversationEnvironment::Live.into()],
        start_time_from: from,
        start_time_until: until,
        ..Default::default()
    };
    let talks = tenant.all_conversations(list).await;
    let read = |talk: Conversation| {
        let tenant = tenant.clone();
        async move {
            let messages = tenant.messages(&talk.id, 500).await;
            (talk, messages)
        }
    };
    at_once(talks.into_iter().map(read)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_those_of_a_recount_after_many_changes_at_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut shared = Shared::default();
    for number in 0..CAMPAIGNS {
        shared.campaigns.push(tenant.campaign(&format!("Campaign {number}")).await.id);
    }
    let shared = Arc::new(shared);
    let mut clients = tokio::task::JoinSet::new();
    for seed in 0..CLIENTS {
        let (tenant, shared) = (tenant.clone(), Arc::clone(&shared));
        clients.spawn(async move {
            let mut dice = Random::new(seed);
            for _ in 0..OPERATIONS / CLIENTS {
                if let Err(error) = operate(&tenant, &shared, &mut dice).await {
                    harmless(&error);
                }
            }
        });
    }
    clients.join_all().await;

    assert_eq!(counted_customers(&tenant).await, recount_customers(&tenant).await);
    let answer = tenant.conversation_statistics(Default::default()).await.expect("an answer");
    let window = answer.window.clone().expect("a window");
    let talks = read_all(&tenant, window.time_from, window.time_until).await;
    assert!(talks.len() > 20, "there is something to count");
    assert_eq!(bare(&answer), recount(&talks));
    for campaign_id in &shared.campaigns {
        let request =
            GetCampaignPerformanceRequest { campaign_id: campaign_id.clone(), ..Default::default() };
        rows_agree(&tenant, &tenant.performance(request).await.expect("an answer")).await;
    }
    let sql = crm.sql().await;
    let below = "SELECT count(*) FROM customer_counts WHERE customers < 0";
    assert_eq!(sql.number(below).await, 0);
}
