//! Connections that are cut: to Postgres at a COMMIT, and of clients anywhere.

use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::client::{Client, PAUSE};
use super::cluster::Database;
use super::proxy::{Mode, Proxy};
use super::stage::{Cast, Play, Run, Service, Size};

/// COMMITs that pass between two cuts.
const SPACING: Range<usize> = 0..8;

/// Bytes of one direction of a connection before it is cut: from within the greeting of HTTP/2 to
/// far into the work.
const BUDGET: Range<usize> = 10..20_000;

/// Answers after the last cut, and while connections are slow.
const ANSWERS: usize = 300;

/// Waits until a proxy has cut so many connections.
async fn cuts(proxy: &Proxy, count: usize) {
    /// Clients that are cut off by half a connection need seconds to notice.
    const STALL: Duration = Duration::from_secs(60);
    let mut cuts = proxy.cuts();
    while *cuts.borrow_and_update() < count {
        tokio::time::timeout(STALL, cuts.changed()).await.expect("another cut").expect("a proxy");
    }
}

/// Creates customers one by one, each with one `request_id` until it is answered, and says how many
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

async fn cut_at_commits(size: Size) {
    let mut run = Run::begin("cuts at COMMIT", size).await;
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let service = Service::start(&proxy.url(&database.url()));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let tenant = Uuid::new_v4();
    let (stop, stopped) = watch::channel(false);
    let mut clerk = JoinSet::new();
    clerk.spawn(create_customers(Client::connect(service.address(), tenant).await, stopped));
    let count = size.pick(10, 500);
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
    cut_at_commits(Size::Short).await;
}

#[ignore = "long: 500 cuts"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_cut_off_happen_once_or_not_at_all() {
    cut_at_commits(Size::Long).await;
}

async fn cut_clients(size: Size) {
    /// Longer than clients take to give up a connection on which nothing comes.
    const LOST: Duration = Duration::from_secs(2);
    let mut run = Run::begin("cuts of clients", size).await;
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let proxy = Proxy::start(service.address()).await;
    let (_, place) = watch::channel(proxy.address);
    let cast = Cast { producers: 3, ..Cast::usual() };
    let play = Play::begin(&cast, &mut run.random, service.address(), (place.clone(), place)).await;
    let count = size.pick(20, 1_000);
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
    cut_clients(Size::Short).await;
}

#[ignore = "long: 1,000 cuts"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_cut_off_many_times_go_on_where_they_were() {
    cut_clients(Size::Long).await;
}

/// Postgres says nothing any more, as behind a lost network. Calls end with their deadlines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_waits_for_a_lost_postgres_longer_than_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(1);
    /// What is promised is 100 ms; a test shares its machine.
    const SLACK: Duration = Duration::from_secs(1);
    let run = Run::begin("a lost Postgres", Size::Short).await;
    let database = Database::new().await;
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    // The service's own, because a deadline of the client's would be kept by the client.
    let deadline = DEADLINE.as_millis().to_string();
    let service = Service::start_with(&proxy.url(&database.url()), &["--default-deadline", &deadline]);
    let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
    client.create_customer(Uuid::new_v4()).await.expect("a customer");
    proxy.set(Mode::BlackHole);
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let began = Instant::now();
        let status = client.create_customer(Uuid::new_v4()).await.expect_err("no database");
        slowest = slowest.max(began.elapsed());
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable), "{status:?}");
    }
    assert!(slowest <= DEADLINE + SLACK, "{slowest:?}");
    proxy.set(Mode::Open);
    let began = Instant::now();
    while client.create_customer(Uuid::new_v4()).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    run.say(&format_args!("a deadline of {DEADLINE:?} took {slowest:?}; healed after {:?}", began.elapsed()));
    drop(service);
}
