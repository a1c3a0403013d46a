//! All connections to Postgres that calls may use are busy.

use std::time::{Duration, Instant};

use crm_testkit::cluster::Database;
use crm_testkit::within;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::backends::Operator;
use super::client::{Client, PAUSE};
use super::run::{Run, Scenario};
use super::service::{Service, Setup};

/// The connections of the pool. One is kept for batches, and a tenant has at most two of the others.
const CONNECTIONS: usize = 4;

/// The calls that hold connections, by tenant.
const HOLDING: [usize; 2] = [2, 1];

/// How long calls wait for a connection.
const WAIT: Duration = Duration::from_millis(300);

/// The promise: how much later than that the refusal comes at most.
const SLACK: Duration = Duration::from_millis(50);

/// The same for debug programs beside other tests.
const SLACK_IN_TESTS: Duration = Duration::from_secs(2);

/// How long the calls that hold the connections may take: longer than the scenario.
const HELD: Duration = Duration::from_secs(300);

/// The number of calls of each kind that are refused at the same time.
const TOGETHER: usize = 20;

pub(crate) const EXHAUSTED: Scenario = Scenario {
    name: "pool",
    fault: "pool exhausted",
    promised: "UNAVAILABLE + RetryInfo within the wait limit + 50 ms; health stays SERVING; appends and lookups go on",
    play: |run| Box::pin(exhaust(run)),
};

/// Checks a refusal against the contract.
#[track_caller]
fn is_refused_early(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("DATABASE_BUSY"), "{status:?}");
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    assert!(retry.is_some(), "no RetryInfo: {status:?}");
}

/// Makes calls that find no connection. Returns how long the slowest waited for its refusal.
async fn refusals(client: &Client) -> Duration {
    let mut calls = JoinSet::new();
    for _ in 0..TOGETHER {
        let mut client = client.clone();
        calls.spawn(async move {
            let began = Instant::now();
            let status = client.create_customer(Uuid::new_v4()).await.expect_err("no connection is free");
            let took = began.elapsed();
            is_refused_early(&status);
            took
        });
    }
    calls.join_all().await.into_iter().max().expect("calls")
}

/// Lookups and appends go in batches, for which a connection is kept. On a slow machine the first attempt may fail.
async fn batches_go_on(client: &mut Client, (customer, conversation): (&str, &str)) {
    within(async {
        while client.get_customer(customer).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        while client.create_message(conversation).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Creates a customer of a new tenant.
async fn customer(service: &Service) -> (Client, String) {
    let client = Client::connect(service.address(), Uuid::new_v4()).await;
    let id = client.clone().create_customer(Uuid::new_v4()).await.expect("a customer");
    (client, id)
}

async fn exhaust(run: Run) {
    let database = Database::new().await;
    let connections = CONNECTIONS.to_string();
    let [wait, held] = [WAIT, HELD].map(|time| time.as_millis().to_string());
    let arguments = [
        "--database-connections",
        &connections,
        "--database-wait",
        &wait,
        "--default-deadline",
        &held,
        "--transaction-limit",
        &held,
    ];
    let service = Service::launch(Setup::of(&database.url()).with(&arguments));
    let (mut client, id) = customer(&service).await;
    let conversation = client.create_conversation(&id).await.id;

    let mut operator = Operator::connect(&database.url()).await;
    let mut held = JoinSet::new();
    operator.execute("BEGIN").await;
    for calls in HOLDING {
        let (client, id) = customer(&service).await;
        operator.execute(&format!("SELECT FROM customers WHERE id = '{id}' FOR UPDATE")).await;
        for _ in 0..calls {
            let (mut client, id) = (client.clone(), id.clone());
            held.spawn(async move { client.rename_customer(&id, "", "held", Uuid::new_v4()).await });
        }
    }
    let mut observer = Operator::connect(&database.url()).await;
    within(async {
        while observer.waiting().await < held.len() {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;

    let rounds = run.size.pick(2, 30);
    let mut slowest = Duration::ZERO;
    let mut appended = 0;
    for _ in 0..rounds {
        slowest = slowest.max(refusals(&client).await);
        batches_go_on(&mut client, (&id, &conversation)).await;
        appended += 1;
        assert_eq!(client.health().await, ServingStatus::Serving, "a full pool is no illness");
    }
    operator.execute("COMMIT").await;
    for update in held.join_all().await {
        update.expect("what held the connections goes on");
    }
    client.clone().create_customer(Uuid::new_v4()).await.expect("connections are free again");
    // Each has a key of its own, so a refused message that is stored anyway would count twice.
    assert_eq!(client.count_messages(&conversation).await.expect("the conversation"), appended);
    let refused = rounds * TOGETHER;
    run.say(&format_args!(
        "{refused} refused with RetryInfo, the slowest {slowest:?} after a wait limit of {WAIT:?}; health SERVING each time"
    ));
    let limit = WAIT + run.size.pick(SLACK_IN_TESTS, SLACK);
    assert!(slowest <= limit, "refused after {slowest:?}");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_free_connection_is_refused_in_time() {
    EXHAUSTED.short().await;
}
