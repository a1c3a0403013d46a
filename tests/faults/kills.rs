//! `kill -9` of the service, of Postgres, and of one of two replicas.

use std::time::{Duration, Instant};

use crm_testkit::cluster::{self, Database};
use crm_testkit::{Scratch, meter};
use embedded_postgres::{Embedded, Options, Storage};
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;
use uuid::Uuid;

use super::clerks::Clerks;
use super::client::{Client, PAUSE};
use super::proxy::Proxy;
use super::run::{Run, Scenario};
use super::scratch;
use super::service::Service;
use super::stage::{Cast, Play};

/// The promise: the service serves again, or has recovered, within this time.
const READY: Duration = Duration::from_secs(2);

/// The same for debug programs beside other tests.
pub(crate) const READY_IN_TESTS: Duration = Duration::from_secs(20);

/// The maximum number of answers between two kills: some kills come before anything is acked, some
/// far into the work.
const ANSWERS: usize = 300;

/// Clients of unary calls.
const CLERKS: usize = 4;

/// The connections of the Postgres that is killed: those of a pool, and a few more.
const CONNECTIONS: u16 = 60;

pub(crate) const SERVER: Scenario = Scenario {
    name: "kill-server",
    fault: "kill -9 of the server in mid-stream, restart, resume",
    promised: "0 lost, 0 twice, 0 holes over 200 kills; ready in 2 s",
    play: |run| Box::pin(kill_the_server(run)),
};

async fn kill_the_server(mut run: Run) {
    let database = Database::new().await;
    let mut service = Service::start(&database.url());
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let kills = run.size.pick(3, 200);
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        play.answers(run.random.within(0..ANSWERS)).await;
        service.kill();
        slowest = slowest.max(service.restart());
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!("{kills} kills, slowest to be ready {slowest:?}; {figures}"));
    assert!(slowest <= run.size.pick(READY_IN_TESTS, READY), "ready after {slowest:?}");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing() {
    SERVER.short().await;
}

/// Starts a Postgres for one test, which waits for the disk.
pub(crate) fn durable_postgres(scratch: &Scratch) -> Embedded {
    let options = Options {
        max_connections: CONNECTIONS,
        ..cluster::options(Storage::Persistent(scratch.path("postgres")))
    };
    Embedded::start(&options).expect("a Postgres")
}

/// Kills Postgres: only its first process, whose children end when they notice it, or all of them.
pub(crate) fn kill_postgres(postgres: &Embedded, all: bool) {
    let first = Pid::from_raw(postgres.pid().cast_signed()).expect("a process id");
    let others = if all { meter::children(first) } else { Vec::new() };
    kill_process(first, Signal::KILL).expect("a process to kill");
    for other in others {
        // It may have noticed by itself.
        let _ = kill_process(other, Signal::KILL);
    }
}

/// Returns how long it takes until a change succeeds. Until then it is UNAVAILABLE.
pub(crate) async fn heals(client: &mut Client) -> Duration {
    let began = Instant::now();
    while let Err(status) = client.create_customer(Uuid::new_v4()).await {
        assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
        assert!(began.elapsed() < READY_IN_TESTS, "not healed: {status:?}");
        tokio::time::sleep(PAUSE).await;
    }
    began.elapsed()
}

pub(crate) const POSTGRES: Scenario = Scenario {
    name: "kill-postgres",
    fault: "kill -9 of Postgres (fsync on)",
    promised: "UNAVAILABLE, heals by itself in 2 s once Postgres accepts; 0 lost over 50 kills",
    play: |run| Box::pin(kill_all_of_postgres(run)),
};

async fn kill_all_of_postgres(mut run: Run) {
    let scratch = scratch();
    let mut postgres = durable_postgres(&scratch);
    // Postgres gets another port after its restart, which the service must not see.
    let proxy = Proxy::start(([127, 0, 0, 1], postgres.port()).into()).await;
    let service = Service::start(&proxy.url(postgres.url()));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
    let kills = run.size.pick(2, 50);
    let (mut slowest, mut created) = (Duration::ZERO, 0);
    for _ in 0..kills {
        play.answers(run.random.within(0..ANSWERS)).await;
        kill_postgres(&postgres, run.random.once_in(2));
        postgres.stop();
        match client.create_customer(Uuid::new_v4()).await {
            // One of the other processes had not noticed yet, and what it committed is stored
            // anyway.
            Ok(_) => created += 1,
            Err(refused) => {
                let code = refused.code();
                assert!(matches!(code, Code::Unavailable | Code::DeadlineExceeded), "{refused:?}");
            }
        }
        postgres = durable_postgres(&scratch);
        proxy.redirect(([127, 0, 0, 1], postgres.port()).into());
        slowest = slowest.max(heals(&mut client).await);
        created += 1;
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(service.address()).await;
    run.say(&format_args!("{kills} kills, slowest to heal {slowest:?}; {figures}"));
    let there = client.count_customers().await;
    assert!(there >= created, "{created} customers were acked, and {there} are there");
    assert!(slowest <= run.size.pick(READY_IN_TESTS, READY), "healed after {slowest:?}");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_loses_nothing_and_is_found_again() {
    POSTGRES.short().await;
}

pub(crate) const BOTH: Scenario = Scenario {
    name: "kill-both",
    fault: "kill -9 of the server and of Postgres (fsync on), at once",
    promised: "0 lost, 0 twice, 0 holes over 50 kills",
    play: |run| Box::pin(kill_both(run)),
};

async fn kill_both(mut run: Run) {
    let scratch = scratch();
    let mut postgres = durable_postgres(&scratch);
    let proxy = Proxy::start(([127, 0, 0, 1], postgres.port()).into()).await;
    let mut service = Service::start(&proxy.url(postgres.url()));
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let clerks = Clerks::begin(CLERKS, &[service.place()], &mut run.random);
    let kills = run.size.pick(2, 50);
    for _ in 0..kills {
        play.answers(run.random.within(0..ANSWERS)).await;
        kill_postgres(&postgres, true);
        service.kill();
        postgres.stop();
        postgres = durable_postgres(&scratch);
        proxy.redirect(([127, 0, 0, 1], postgres.port()).into());
        service.restart();
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(service.address()).await;
    let record = clerks.finish(service.address()).await;
    run.say(&format_args!("{kills} kills; {figures}; {record}"));
    assert!(record.failed.is_empty(), "{:?}", record.failed);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_and_a_postgres_killed_at_once_lose_nothing() {
    BOTH.short().await;
}

pub(crate) const REPLICA: Scenario = Scenario {
    name: "kill-replica",
    fault: "kill -9 of one of two replicas, in turn",
    promised: "the other goes on; 0 lost, 0 twice, 0 holes over 40 kills",
    play: |run| Box::pin(kill_one_of_two_replicas(run)),
};

/// One replica gets the messages, and the other is watched. The first is killed, and the second
/// does both. With the next kill they swap roles.
async fn kill_one_of_two_replicas(mut run: Run) {
    let database = Database::new().await;
    let mut replicas = [Service::start(&database.url()), Service::start(&database.url())];
    let [writes, watches] =
        [0, 1].map(|number: usize| tokio::sync::watch::Sender::new(replicas[number].address()));
    let places = (writes.subscribe(), watches.subscribe());
    let play = Play::begin(&Cast::usual(), &mut run.random, replicas[0].address(), places).await;
    let kills = run.size.pick(2, 40);
    for kill in 0..kills {
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        let [killed, other] = [kill % 2, (kill + 1) % 2];
        replicas[killed].kill();
        writes.send_replace(replicas[other].address());
        play.answers(1 + run.random.within(0..ANSWERS)).await;
        replicas[killed].restart();
        // From here on messages and watches use two different replicas again.
        watches.send_replace(replicas[killed].address());
    }
    play.answers(ANSWERS).await;
    let figures = play.finish(replicas[0].address()).await;
    run.say(&format_args!("{kills} kills; {figures}"));
    assert!(figures.told > 0, "watchers were told something");
    for replica in replicas {
        replica.terminate();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_began_goes_on_through_the_other() {
    REPLICA.short().await;
}
