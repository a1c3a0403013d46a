//! Clients that cancel calls while they are answered.

use std::ops::Range;
use std::time::{Duration, Instant};

use crm_testkit::cluster::Database;
use crm_testkit::within;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::backends::Operator;
use super::client::{Client, PAUSE, is_passing};
use super::proxy::Proxy;
use super::run::{Run, Scenario};
use super::service::Service;

/// The connections of the clients.
const CLIENTS: usize = 8;

/// The calls that begin together, and the time between two such groups. The promise is for 1,000
/// cancels per second, and some calls are answered first.
const AT_ONCE: usize = 2;
const INTERVAL: Duration = Duration::from_millis(1);

/// The maximum number of calls in flight, so that a slow machine is not overloaded.
const IN_FLIGHT: usize = 128;

/// When a call is cancelled, in microseconds after its beginning: from before the service receives
/// it to about the time of its answer.
const GIVEN_UP: Range<usize> = 0..2_500;

/// The number of parallel calls that make the pool open its connections before any is counted.
const WARM_UP: usize = 128;

/// How often to look for abandoned transactions.
const LOOK: Duration = Duration::from_millis(20);

/// The promise: at most one new connection to Postgres per this many cancels.
const CANCELS_PER_CONNECTION: usize = 100;

pub(crate) const MANY: Scenario = Scenario {
    name: "cancels",
    fault: "clients cancel 1,000 calls a second",
    promised: "new Postgres connections at most 1 % of cancels; none idle in transaction",
    play: |run| Box::pin(cancel(run)),
};

/// Creates a customer, unless that takes too long. Returns whether the call was cancelled.
async fn give_up_after(mut client: Client, request_id: Uuid, patience: Duration) -> bool {
    match tokio::time::timeout(patience, client.create_customer(request_id)).await {
        Ok(Ok(_)) => false,
        // A connection with many cancels may be closed, and then the next call fails.
        Ok(Err(status)) => {
            assert!(is_passing(&status), "{status:?}");
            false
        }
        Err(_) => true,
    }
}

/// Returns the longest time that a transaction was seen idle until `stop`.
async fn watch_for_idle(mut operator: Operator, stop: watch::Receiver<bool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !*stop.borrow() {
        longest = longest.max(operator.longest_idle_in_transaction().await);
        tokio::time::sleep(LOOK).await;
    }
    longest
}

/// Makes calls at an even pace until `count` were cancelled. Returns their ids, and how long it
/// took.
async fn storm(run: &mut Run, clients: &[Client], count: usize) -> (Vec<Uuid>, Duration) {
    let (mut ids, mut cancelled, mut calls) = (Vec::new(), 0, JoinSet::new());
    let mut pace = tokio::time::interval(INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    while cancelled < count {
        pace.tick().await;
        for _ in 0..AT_ONCE {
            let request_id = Uuid::new_v4();
            let patience = Duration::from_micros(run.random.within(GIVEN_UP) as u64);
            let client = run.random.choose(clients).clone();
            ids.push(request_id);
            calls.spawn(give_up_after(client, request_id, patience));
        }
        while calls.len() >= IN_FLIGHT
            && let Some(ended) = calls.join_next().await
        {
            cancelled += usize::from(ended.expect("no panic"));
        }
        while let Some(ended) = calls.try_join_next() {
            cancelled += usize::from(ended.expect("no panic"));
        }
    }
    let took = began.elapsed();
    calls.join_all().await;
    (ids, took)
}

/// Sends each request again until it is answered.
async fn send_again(mut client: Client, ids: Vec<Uuid>) {
    for id in ids {
        within(async {
            while let Err(status) = client.create_customer(id).await {
                assert!(is_passing(&status), "{status:?}");
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }
}

async fn cancel(mut run: Run) {
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let service = Service::start(&proxy.url(&database.url()));
    let tenant = Uuid::new_v4();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(service.address(), tenant).await);
    }
    let warm_up: Vec<Uuid> = (0..WARM_UP).map(|_| Uuid::new_v4()).collect();
    let mut warming: JoinSet<()> = JoinSet::new();
    for (number, id) in warm_up.iter().enumerate() {
        warming.spawn(send_again(clients[number % CLIENTS].clone(), vec![*id]));
    }
    warming.join_all().await;

    let before = proxy.taken();
    let stop = watch::Sender::new(false);
    let mut watching = JoinSet::new();
    let operator = Operator::connect(&database.url()).await;
    watching.spawn(watch_for_idle(operator, stop.subscribe()));
    let count = run.size.pick(500, 10_000);
    let (ids, took) = storm(&mut run, &clients, count).await;
    let opened = proxy.taken() - before;
    let mut operator = Operator::connect(&database.url()).await;
    within(async {
        while operator.longest_idle_in_transaction().await > Duration::ZERO {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    stop.send_replace(true);
    let idle = watching.join_all().await.into_iter().max().expect("a time");

    let mut again = JoinSet::new();
    for (number, share) in ids.chunks(ids.len().div_ceil(CLIENTS)).enumerate() {
        again.spawn(send_again(clients[number].clone(), share.to_vec()));
    }
    again.join_all().await;
    let there = clients[0].count_customers().await;
    let each_second = count as f64 / took.as_secs_f64();
    run.say(&format_args!(
        "{count} cancels of {} calls, {each_second:.0} a second; {opened} new connections; no transaction left open \
         (between two statements {idle:?} at most); all sent again: one effect each",
        ids.len(),
    ));
    assert_eq!(there, ids.len() + WARM_UP, "one effect for each request_id");
    assert!(opened <= count / CANCELS_PER_CONNECTION, "{opened} new connections for {count} cancels");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_cost_no_connections_and_happen_once_or_not_at_all() {
    MANY.short().await;
}
