//! A Postgres with a synchronous standby. The primary is killed or its host falls silent, and the standby is
//! promoted; or the standby is lost.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crm_testkit::Scrape;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use uuid::Uuid;

use super::clerks::Clerks;
use super::client::{Client, PAUSE};
use super::kills::{READY_IN_TESTS, durable_postgres, heals, kill_postgres};
use super::proxy::{Mode, Proxy};
use super::run::{Run, Scenario, Size};
use super::scratch;
use super::service::{Service, Setup};
use super::stage::{Cast, Play};
use super::standby::{Admin, Standby};

/// The promise: everything goes on within this time after the promotion.
const HEALED: Duration = Duration::from_secs(1);

/// The same if connections to a host must first be recognized as silent.
const HEALED_OF_SILENCE: Duration = Duration::from_secs(15);

/// The same for debug programs beside other tests.
const HEALED_OF_SILENCE_IN_TESTS: Duration = Duration::from_secs(40);

/// The promise: a program starts with the second host although the first is silent.
const STARTED: Duration = Duration::from_secs(6);

/// How long the service waits for a silent host.
const SILENT: Duration = Duration::from_secs(2);

/// How long no server accepts writes before the standby is promoted.
const GONE: Duration = Duration::from_secs(1);

/// The maximum number of answers before a fault.
const ANSWERS: usize = 300;

/// Clients of unary calls.
const CLERKS: usize = 4;

/// Clients that write while the standby is lost: more than the pool has connections.
const WRITERS: usize = 40;

/// How long the standby is lost: longer than the service waits for a COMMIT.
const LOST: Duration = Duration::from_secs(14);

/// How long a read may take meanwhile.
const READ: Duration = Duration::from_secs(1);

/// The same for debug programs beside other tests.
const READ_IN_TESTS: Duration = Duration::from_secs(10);

pub(crate) const PROMOTE: Scenario = Scenario {
    name: "promote",
    fault: "kill -9 of the primary (synchronous standby), and a second later the standby is promoted",
    promised: "UNAVAILABLE meanwhile, heals within 1 s of the promotion; 0 lost, 0 twice over 5 promotions",
    play: |run| Box::pin(promote(run)),
};

async fn promote(mut run: Run) {
    let rounds = run.size.pick(1, 5);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let scratch = scratch();
        let primary = durable_postgres(&scratch);
        let standby = Standby::of(&primary, &scratch).await;
        standby.synchronize(&primary).await;
        let service = Service::start(&standby.url_after((Ipv4Addr::LOCALHOST, primary.port()).into()));
        let places = (service.place(), service.place());
        let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
        let clerks = Clerks::begin(CLERKS, &[service.place()], &mut run.random);
        let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        kill_postgres(&primary, true);
        primary.stop();
        tokio::time::sleep(GONE).await;
        standby.promote().await;
        slowest = slowest.max(heals(&mut client).await);
        play.answers(ANSWERS).await;
        let record = clerks.finish(service.address()).await;
        let figures = play.finish(service.address()).await;
        run.say(&format_args!("{record}; {figures}"));
        assert!(record.failed.is_empty(), "{:?}", record.failed);
        assert!(figures.told > 0, "watchers were told something");
        service.terminate();
    }
    run.say(&format_args!("{rounds} promotions, slowest to heal {slowest:?}"));
    assert!(slowest <= run.size.pick(READY_IN_TESTS, HEALED), "healed after {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_found_and_nothing_is_lost() {
    PROMOTE.short().await;
}

pub(crate) const SILENT_HOST: Scenario = Scenario {
    name: "silent-host",
    fault: "the host of the primary falls silent (it neither refuses nor answers), and the standby is promoted",
    promised: "goes on with the second host within 15 s of the promotion; another replica starts there within 6 s; \
               0 lost, 0 twice over 3 times",
    play: |run| Box::pin(silence_the_host(run)),
};

async fn silence_the_host(mut run: Run) {
    let rounds = run.size.pick(1, 3);
    let (mut slowest, mut started) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let scratch = scratch();
        let primary = durable_postgres(&scratch);
        let standby = Standby::of(&primary, &scratch).await;
        standby.synchronize(&primary).await;
        let host = Proxy::start((Ipv4Addr::LOCALHOST, primary.port()).into()).await;
        let url = standby.url_after(host.address);
        let service = Service::start(&url);
        let places = (service.place(), service.place());
        let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
        let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        // The primary itself keeps running, but cannot be reached; nothing is refused.
        host.set(Mode::HalfOpen);
        standby.promote().await;
        let promoted = Instant::now();
        let limit = run.size.pick(HEALED_OF_SILENCE_IN_TESTS, HEALED_OF_SILENCE);
        while let Err(status) = client.create_customer(Uuid::new_v4()).await {
            assert!(promoted.elapsed() < limit, "not healed: {status:?}");
            tokio::time::sleep(PAUSE).await;
        }
        slowest = slowest.max(promoted.elapsed());
        let began = Instant::now();
        let other = Service::start(&url);
        started = started.max(began.elapsed());
        assert!(began.elapsed() >= SILENT, "the first host was not silent");
        other.terminate();
        play.answers(ANSWERS).await;
        let figures = play.finish(service.address()).await;
        run.say(&figures);
        service.terminate();
    }
    run.say(&format_args!(
        "{rounds} times, slowest to heal {slowest:?}, slowest other replica to start {started:?}"
    ));
    assert!(
        slowest <= run.size.pick(HEALED_OF_SILENCE_IN_TESTS, HEALED_OF_SILENCE),
        "healed after {slowest:?}"
    );
    assert!(started <= run.size.pick(READY_IN_TESTS, STARTED), "started after {started:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_is_left_for_the_next() {
    SILENT_HOST.short().await;
}

pub(crate) const LOST_STANDBY: Scenario = Scenario {
    name: "lost-standby",
    fault: "the synchronous standby is lost while 40 clients write, so that no COMMIT is answered",
    promised: "every read is answered within 1 s; writes are UNAVAILABLE, and go on within 5 s of the end of it",
    play: |run| Box::pin(lose_the_standby(run)),
};

async fn lose_the_standby(run: Run) {
    let scratch = scratch();
    let primary = durable_postgres(&scratch);
    let mut standby = Standby::of(&primary, &scratch).await;
    standby.synchronize(&primary).await;
    let mut service = Service::launch(Setup::of(primary.url()).with(&["--metrics-listen", "127.0.0.1:0"]));
    let metrics = service.metrics();
    let mut reader = Client::connect(service.address(), Uuid::new_v4()).await;
    let conversation = reader.create_conversations(1).await.swap_remove(0);
    let mut writers = JoinSet::new();
    let stop = tokio::sync::watch::Sender::new(false);
    for _ in 0..WRITERS {
        let mut client = reader.clone();
        let stop = stop.subscribe();
        writers.spawn(async move {
            let mut acked = 0;
            while !*stop.borrow() {
                match client.create_customer(Uuid::new_v4()).await {
                    Ok(_) => acked += 1,
                    Err(status) => {
                        assert!(super::client::is_passing(&status), "{status:?}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            acked
        });
    }
    tokio::time::sleep(GONE).await;
    standby.end();
    let (lost, mut reads, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while lost.elapsed() < LOST {
        let began = Instant::now();
        // One read that goes in a batch, and one that takes a connection of its own.
        let read = reader.count_messages(&conversation).await;
        let is_slow = |status: &Status| run.size == Size::Short && status.code() == Code::DeadlineExceeded;
        if let Err(status) = read.as_ref()
            && !is_slow(status)
        {
            panic!("after {:?} and {reads} reads: {status:?}", lost.elapsed());
        }
        reader.list_messages(&conversation).await;
        slowest = slowest.max(began.elapsed());
        reads += 1;
        tokio::time::sleep(PAUSE).await;
    }
    let admin = Admin::connect(primary.url()).await;
    let refused = Scrape::of(metrics).value("crm_refusals_total{limit=\"late_commit\"}").expect("a series");
    let waiting = admin.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    admin.text("ALTER SYSTEM RESET synchronous_standby_names").await;
    admin.text("SELECT pg_reload_conf()").await;
    let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
    let healed = heals(&mut client).await;
    stop.send_replace(true);
    let acked: usize = writers.join_all().await.into_iter().sum();
    let there = reader.count_customers().await;
    run.say(&format_args!(
        "{reads} times two reads, the slowest {slowest:?}; {waiting} sessions waited at the end, {refused} writes were refused; writes went on after {healed:?}; \
         {acked} acked, {there} there"
    ));
    assert!(refused > 0.0, "writes are refused while a COMMIT is late");
    assert!(there > acked, "one is that of the conversation");
    assert!(slowest <= run.size.pick(READ_IN_TESTS, READ), "a read took {slowest:?}");
    assert!(healed <= run.size.pick(READY_IN_TESTS, Duration::from_secs(5)), "healed after {healed:?}");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_standby_keeps_nobody_from_reading() {
    LOST_STANDBY.short().await;
}
