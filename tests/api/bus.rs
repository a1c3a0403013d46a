//! Signals between replicas, through Postgres.

use std::time::{Duration, Instant};

use crm_backend::live::bus::{Bus, MAX_PAYLOAD, PostgresBus, Signal, Topic};
use crm_backend::metrics::Metrics;
use crm_testkit::Sql;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::support::postgres::Database;
use crate::support::{PATIENCE, eventually, soon};

/// The connections of listening buses.
const LISTENERS: &str = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()";

/// The signal that tests send until another replica receives it.
const PROBE: &[u8] = b"probe";

/// Longer than a bus collects signals, and than Postgres takes to deliver them.
const A_WHILE: Duration = Duration::from_millis(300);

/// One replica's end of the bus.
struct End {
    bus: PostgresBus,
    incoming: mpsc::Receiver<Signal>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl End {
    fn start(database: &Database) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let (bus, incoming) =
            PostgresBus::start(database.target(), Metrics::default(), stop.clone(), &tracker);
        Self { bus, incoming, stop, tracker }
    }

    /// Starts two ends that can hear each other.
    async fn pair(database: &Database) -> (Self, Self) {
        let (mut one, mut two) = (Self::start(database), Self::start(database));
        one.is_heard_by(&mut two).await;
        two.is_heard_by(&mut one).await;
        (one, two)
    }

    fn publish(&self, payload: impl Into<Vec<u8>>) {
        self.bus.publish(signal(payload));
    }

    /// Waits until the other end receives what this end publishes.
    async fn is_heard_by(&self, other: &mut Self) {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "they do not hear each other");
            self.publish(PROBE);
            if timeout(Duration::from_millis(20), other.incoming.recv()).await.is_ok() {
                return;
            }
        }
    }

    /// Returns the next signal that is not a probe.
    async fn next(&mut self) -> Signal {
        loop {
            let signal = soon(self.incoming.recv()).await.expect("the bus goes on");
            if signal.payload != PROBE {
                return signal;
            }
        }
    }

    /// Whether only probes come.
    async fn hears_nothing(&mut self) -> bool {
        loop {
            match timeout(A_WHILE, self.incoming.recv()).await {
                Ok(Some(signal)) if signal.payload == PROBE => {}
                Ok(_) => return false,
                Err(_) => return true,
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        let ending = timeout(Duration::from_secs(1), self.tracker.wait());
        ending.await.expect("a bus ends at once");
    }
}

fn signal(payload: impl Into<Vec<u8>>) -> Signal {
    let topic = Topic { tenant: Uuid::from_u128(1), id: Uuid::from_u128(2) };
    Signal { topic, payload: payload.into().into() }
}

async fn listeners(sql: &Sql, wanted: usize) {
    eventually("the buses listen", async || sql.texts(LISTENERS).await.len() == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_tells_the_others_hear_in_order_and_it_does_not() {
    let database = Database::create().await;
    let (mut one, mut two) = End::pair(&database).await;
    let mut three = End::start(&database);
    one.is_heard_by(&mut three).await;
    for payload in ["a", "b", "", "d"] {
        one.publish(payload);
    }
    for other in [&mut two, &mut three] {
        for payload in ["a", "b", "", "d"] {
            assert_eq!(other.next().await, signal(payload));
        }
    }
    assert!(one.hears_nothing().await);
    for end in [one, two, three] {
        end.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_signals_all_arrive() {
    let database = Database::create().await;
    let (one, mut two) = End::pair(&database).await;
    for number in 0..5_000_u32 {
        one.publish(number.to_be_bytes());
    }
    // Some equal payloads, which Postgres must not merge.
    for _ in 0..1_000 {
        one.publish([7; 100]);
    }
    for number in 0..5_000_u32 {
        assert_eq!(two.next().await, signal(number.to_be_bytes()));
    }
    for _ in 0..1_000 {
        assert_eq!(two.next().await, signal([7; 100]));
    }
    assert!(two.hears_nothing().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_signals_arrive_and_longer_ones_harm_nobody() {
    let database = Database::create().await;
    let (one, mut two) = End::pair(&database).await;
    one.publish(vec![1; MAX_PAYLOAD]);
    one.publish(vec![2; MAX_PAYLOAD + 1]);
    one.publish(vec![3; MAX_PAYLOAD]);
    assert_eq!(two.next().await, signal(vec![1; MAX_PAYLOAD]));
    assert_eq!(two.next().await, signal(vec![3; MAX_PAYLOAD]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_healed() {
    let database = Database::create().await;
    let sql = database.sql().await;
    let (mut one, mut two) = End::pair(&database).await;
    for _ in 0..3 {
        let ended = sql.texts(&format!("SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) listener")).await;
        assert_eq!(ended, ["t", "t"]);
        listeners(&sql, 0).await;
        listeners(&sql, 2).await;
        one.is_heard_by(&mut two).await;
        two.is_heard_by(&mut one).await;
    }
    one.publish("again");
    assert_eq!(two.next().await, signal("again"));
}

/// Whether a connection that is not a replica receives a notification from another connection.
async fn hears_of(outsider: &mut AsyncPgConnection, publish: impl Fn()) -> bool {
    publish();
    let mut notifications = std::pin::pin!(outsider.notifications_stream());
    timeout(A_WHILE, notifications.next()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_replica_tells_nobody() {
    let database = Database::create().await;
    let sql = database.sql().await;
    let mut outsider = database.target().open_bare().await.expect("a connection");
    outsider.batch_execute("LISTEN crm_live").await.expect("it listens");
    let one = End::start(&database);
    // The last question at the start; before its answer, another replica may be there.
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'
        AND query LIKE 'SELECT EXISTS (SELECT FROM pg_lock_status%'";
    eventually("it has asked", async || sql.number(asked).await == 1).await;
    assert!(!hears_of(&mut outsider, || one.publish("1")).await);

    let mut two = End::start(&database);
    one.is_heard_by(&mut two).await;
    assert!(hears_of(&mut outsider, || one.publish("2")).await);
    two.end().await;
    listeners(&sql, 1).await;
    let started = Instant::now();
    while hears_of(&mut outsider, || one.publish("3")).await {
        assert!(started.elapsed() < PATIENCE, "it does not miss the other");
    }
    assert!(!hears_of(&mut outsider, || one.publish("4")).await);
}

/// Returns how long it takes until a new replica receives the first one's signals.
async fn arrival() -> Duration {
    let database = Database::create().await;
    let one = End::start(&database);
    listeners(&database.sql().await, 1).await;
    tokio::time::sleep(A_WHILE).await;
    let started = Instant::now();
    let mut two = End::start(&database);
    one.is_heard_by(&mut two).await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_arrives_is_told_at_once() {
    // Without the notification, the first replica would find it after 1.7 s, at its next check. A
    // busy machine may be slow, but not every time.
    for _ in 0..10 {
        if arrival().await < Duration::from_millis(500) {
            return;
        }
    }
    panic!("it is told only when the first asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_do_not_hear_each_other() {
    let (database, other) = (Database::create().await, Database::create().await);
    let (one, mut two) = End::pair(&database).await;
    let (mut stranger, _friend) = End::pair(&other).await;
    one.publish("a");
    assert_eq!(two.next().await, signal("a"));
    assert!(stranger.hears_nothing().await);
}
