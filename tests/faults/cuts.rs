//! Connections that are cut: to Postgres at a COMMIT, and of clients at any point.

use std::ops::Range;
use std::time::{Duration, Instant};

use crm_testkit::cluster::Database;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::client::{Client, PAUSE};
use super::proxy::{Mode, Proxy};
use super::run::{Run, Scenario};
use super::service::Service;
use super::stage::{Cast, Play};
use super::watchers::Watcher;

/// The number of COMMITs between two cuts.
const SPACING: Range<usize> = 0..8;

/// The bytes of one direction of a connection before it is cut: from within the preface of HTTP/2
/// to far into the work.
const BUDGET: Range<usize> = 10..20_000;

/// The answers after the last cut, and while connections are slow.
const ANSWERS: usize = 300;

/// Waits until a proxy has cut this many connections.
async fn cuts(proxy: &Proxy, count: usize) {
    /// Clients of a half-open connection need seconds to notice.
    const STALL: Duration = Duration::from_secs(60);
    let mut cuts = proxy.cuts();
    while *cuts.borrow_and_update() < count {
        tokio::time::timeout(STALL, cuts.changed()).await.expect("another cut").expect("a proxy");
    }
}

/// Creates customers one by one, each with one `request_id` until it is answered. Returns how many
/// there should be.
async fn create_customers(mut client: Client, stop: watch::Receiver<bool>) -> (usize, usize) {
    let (mut wanted, mut unknown) = (0, 0);
    while !*stop.borrow() {
        let request_id = Uuid::new_v4();
        while let Err(status) = client.create_customer(request_id).await {
            assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
            unknown += 1;
            tokio::time::sleep(PAUSE).await;
        }
        wanted += 1;
    }
    (wanted, unknown)
}

pub(crate) const AT_COMMIT: Scenario = Scenario {
    name: "cut-at-commit",
    fault: "connection to Postgres cut at COMMIT",
    promised: "a retry returns the committed sequence; 0 twice, 0 lost over 500 cuts",
    play: |run| Box::pin(cut_at_commits(run)),
};

async fn cut_at_commits(mut run: Run) {
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let service = Service::start(&proxy.url(&database.url()));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let tenant = Uuid::new_v4();
    let (stop, stopped) = watch::channel(false);
    let mut clerk = JoinSet::new();
    clerk.spawn(create_customers(Client::connect(service.address(), tenant).await, stopped));
    let count = run.size.pick(10, 500);
    proxy.cut_at_commits(run.random.fork(), count, SPACING);
    cuts(&proxy, count).await;
    play.answers(ANSWERS).await;
    stop.send_replace(true);
    let (wanted, unknown) = clerk.join_next().await.expect("a task").expect("no panic");
    let there = Client::connect(service.address(), tenant).await.count_customers().await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!(
        "{count} cuts; {figures}; customers: wanted {wanted}, unknown {unknown}, there {there}"
    ));
    assert_eq!(there, wanted, "one effect for each request_id");
    assert!(figures.unknown + unknown > 0, "somebody was told of the cuts");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cut_off_happens_once_or_not_at_all() {
    AT_COMMIT.short().await;
}

pub(crate) const OF_CLIENTS: Scenario = Scenario {
    name: "cut-clients",
    fault: "connection of a client cut, half-open, slow",
    promised: "resume exact over 1,000 cuts",
    play: |run| Box::pin(cut_clients(run)),
};

async fn cut_clients(mut run: Run) {
    /// Longer than clients take to give up a silent connection.
    const LOST: Duration = Duration::from_secs(4);
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let proxy = Proxy::start(service.address()).await;
    let (_, place) = watch::channel(proxy.address);
    let cast = Cast { producers: 3, ..Cast::usual() };
    let play = Play::begin(&cast, &mut run.random, service.address(), (place.clone(), place)).await;
    let count = run.size.pick(20, 1_000);
    proxy.cut_at_bytes(run.random.fork(), count, BUDGET);
    cuts(&proxy, count).await;
    proxy.set(Mode::Slow);
    play.answers(ANSWERS).await;
    proxy.set(Mode::BlackHole);
    tokio::time::sleep(LOST).await;
    proxy.set(Mode::Closed);
    tokio::time::sleep(PAUSE).await;
    proxy.set(Mode::Open);
    play.answers(ANSWERS).await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!("{count} cuts; {figures}"));
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_cut_off_go_on_where_they_were() {
    OF_CLIENTS.short().await;
}

pub(crate) const HALF_OPEN: Scenario = Scenario {
    name: "half-open",
    fault: "connections of clients half-open: no bytes come through, and neither side is told",
    promised: "streams freed within 40 s",
    play: |run| Box::pin(lose_clients(run)),
};

/// Streams of all kinds, on a connection each, whose clients vanish without closing.
async fn lose_clients(run: Run) {
    /// The promise.
    const FREED: Duration = Duration::from_secs(40);
    /// The error of the measurement.
    const SLACK: Duration = Duration::from_secs(1);
    /// A stream that was not freed would delay the end by 20 s.
    const SOON: Duration = Duration::from_secs(10);
    let database = Database::new().await;
    let mut service = Service::start(&database.url());
    let proxy = Proxy::start(service.address()).await;
    let tenant = Uuid::new_v4();
    let mut owner = Client::connect(service.address(), tenant).await;
    let conversation = owner.create_conversations(1).await.swap_remove(0);
    let count = run.size.pick(5, 100);
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(proxy.address, tenant).await;
        let adding = client.add_messages().await.expect("a stream");
        let watcher = Watcher::new(tenant, conversation.clone());
        streams.push((adding, watcher.open(&mut client).await.expect("a watch"), client));
    }
    let mut open = proxy.open();
    assert_eq!(*open.borrow(), count);
    proxy.set(Mode::HalfOpen);
    let began = Instant::now();
    let freed = tokio::time::timeout(FREED * 2, open.wait_for(|open| *open == 0)).await;
    freed.expect("the service hangs up").expect("a proxy");
    let took = began.elapsed();
    let ended = service.stop().await.took;
    run.say(&format_args!(
        "{} streams on {count} connections freed after {took:?} at most; the end after it took {ended:?}",
        2 * count
    ));
    assert!(took <= FREED + SLACK, "freed after {took:?}");
    assert!(ended <= SOON, "something was left: the end took {ended:?}");
    drop(streams);
}

/// It waits most of the time, and costs nothing meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_clients_that_are_lost_without_a_word_are_freed() {
    HALF_OPEN.short_beside_others().await;
}
