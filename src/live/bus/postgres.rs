//! A bus over LISTEN and NOTIFY.
//!
//! Each process has one connection for it, beside the pool. A NOTIFY in a transaction that writes would hold a
//! lock of the whole server through its commit. One task does everything on the connection, so its state
//! changes only where the task waits.
//!
//! A process sends nothing while no other process listens. Each process holds a shared advisory lock, and the
//! other holders of the lock are the processes that listen. A process that arrives announces itself to those it
//! finds. A process that left is noticed within [`BEAT`].
//!
//! A pooler that shares sessions leaves LISTEN and the lock behind with one of its sessions. Then no
//! notification would arrive, and another process would seem to listen for ever. So a new connection first
//! listens on a channel of its own, and another connection notifies that channel. If nothing arrives, the
//! connection is closed and nothing is sent: replicas learn by polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::envelope::{self, MAX_PAYLOAD, Packer};
use super::{Bus, Signal};
use crate::db::{NoAnswer, Target, Wire, connect};
use crate::metrics::{BusState, LostSignals, Metrics, Signals};

/// The channel of notifications within a database. Replicas of all versions must agree on it.
const CHANNEL: &str = "crm_live";

/// The advisory lock of the processes that listen: the letters `crm` and `live`. A lock with one number, like
/// that of the migrations, is never the same as a lock with two.
const LOCK: (i32, i32) = (0x63_72_6d, 0x6c_69_76_65);

/// The limit of each queue: of signals to send, and of received signals to take. It is more than a busy replica
/// makes in 100 ms. With the longest payloads a queue has 48 MB, with usual ones 1 MB.
const QUEUE: usize = 8_192;

/// The time for which signals are collected, to share a transaction. A person does not notice the delay, and
/// Postgres has at most 100 transactions a second from each replica.
const COLLECT: Duration = Duration::from_millis(10);

/// The limit of signals in a transaction. Postgres runs one such transaction at a time.
const BATCH: usize = 1_024;

/// The pause between two checks of which other processes listen. A check also shows whether the connection lives.
const BEAT: Duration = Duration::from_secs(2);

/// The limit of any answer of Postgres. After it the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a connection is lost. It doubles with every attempt that fails.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: replicas hear each other again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The time within which a connection must receive the notification of another one: many times what it takes.
const HEARING: Duration = Duration::from_secs(2);

/// The pause after connections that receive nothing. A pooler stays a pooler, but its settings may change.
const DEAF_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The number of such connections in a row before this pause: a busy machine may be as slow once.
const DEAF: u32 = 3;

/// The time between two reports of lost signals.
const REPORT: Duration = Duration::from_secs(1);

/// A bus over LISTEN and NOTIFY of the database that the replicas share.
///
/// A signal is lost if its payload is longer than [`MAX_PAYLOAD`], or if 8,192 others wait to be sent or to be
/// taken. It is also lost without a connection, and for a replica that has just arrived.
pub struct PostgresBus {
    queue: mpsc::Sender<Signal>,
    state: Arc<State>,
}

impl PostgresBus {
    /// Starts a task on `tracker` that ends soon after `stop`. With it all sending and receiving ends. The task
    /// connects by itself, now and whenever the connection is lost.
    ///
    /// The receiver has the signals of other replicas. It holds 8,192 signals. If they are not taken in time,
    /// the newest are lost, and a warning says how many.
    pub fn start(
        target: Target,
        metrics: Metrics,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> (Self, mpsc::Receiver<Signal>) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let (heard, incoming) = mpsc::channel(QUEUE);
        let state = Arc::new(State { metrics, ..State::default() });
        let link = Link::new(target, heard, Arc::clone(&state));
        tracker.spawn(link.run(outgoing, stop));
        (Self { queue, state }, incoming)
    }
}

impl Bus for PostgresBus {
    fn publish(&self, signal: Signal) {
        if self.state.nobody_listens.load(Ordering::Relaxed) {
            return;
        }
        // Checked before the signal waits, so that the queue is bounded in bytes too.
        if signal.payload.len() > MAX_PAYLOAD {
            self.state.metrics.bus.lost[LostSignals::TooLong].inc();
            tracing::debug!(bytes = signal.payload.len(), "a signal is too long for the other replicas");
            self.state.withheld.store(true, Ordering::Relaxed);
            return;
        }
        if let Err(TrySendError::Full(_)) = self.queue.try_send(signal) {
            self.state.withheld.store(true, Ordering::Relaxed);
            self.state.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hears(&self) -> bool {
        let missed = self.state.missed.swap(false, Ordering::Relaxed);
        self.state.hears.load(Ordering::Relaxed) && !missed
    }
}

/// The state that publishers and the connection share.
#[derive(Default)]
struct State {
    /// True if no other process listens, or if none can be told. False until something is known.
    nobody_listens: AtomicBool,
    /// Whether the connection listens.
    hears: AtomicBool,
    /// Whether signals of other processes were missed, as while there was no connection.
    missed: AtomicBool,
    /// Whether other processes were not told of signals, and do not know it.
    withheld: AtomicBool,
    /// The number of envelopes from other processes.
    envelopes: AtomicU64,
    /// The number of signals for which the queue had no room.
    unsent: AtomicU64,
    /// The number of received signals that were not taken.
    untaken: AtomicU64,
    /// The counters of all of it.
    metrics: Metrics,
}

/// This process's end of the bus.
struct Link {
    target: Target,
    /// The id of this process, which marks its own notifications.
    origin: Uuid,
    heard: mpsc::Sender<Signal>,
    state: Arc<State>,
    /// The channel on which a new connection listens at first.
    private: String,
    /// Notified when something arrives on that channel.
    hears: Notify,
}

impl Link {
    fn new(target: Target, heard: mpsc::Sender<Signal>, state: Arc<State>) -> Self {
        let private = format!("{CHANNEL}_{}", Uuid::new_v4().simple());
        Self { target, origin: Uuid::new_v4(), heard, state, private, hears: Notify::new() }
    }

    async fn run(self, mut queue: mpsc::Receiver<Signal>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.stay_connected(&mut queue) => {}
            () = self.report_losses() => {}
        }
        self.state.nobody_listens.store(true, Ordering::Relaxed);
    }

    async fn stay_connected(&self, queue: &mut mpsc::Receiver<Signal>) {
        let mut outage = Outage::default();
        loop {
            let lost = self.session(queue, &mut outage).await;
            self.state.hears.store(false, Ordering::Relaxed);
            // The waiting signals would be out of date before another process could receive them.
            self.state.nobody_listens.store(true, Ordering::Relaxed);
            self.state.metrics.bus.set(if lost.is_deaf { BusState::Deaf } else { BusState::Lost });
            while queue.try_recv().is_ok() {}
            sleep(outage.pause_after(&lost)).await;
        }
    }

    /// Sends and receives until the connection is lost.
    async fn session(&self, queue: &mut mpsc::Receiver<Signal>, outage: &mut Outage) -> Lost {
        match self.target.open_listening().await {
            Err(error) => Lost::because(&error.to_string()),
            // The client gets answers only while the other future reads them.
            Ok((wire, messages)) => tokio::select! {
                lost = self.hear_all(messages) => lost,
                lost = self.take_part(&wire, queue, outage) => lost,
            },
        }
    }

    async fn hear_all(
        &self,
        mut messages: impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin,
    ) -> Lost {
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(notification)) if notification.channel() == self.private => {
                    self.hears.notify_one();
                }
                Ok(AsyncMessage::Notification(notification)) => self.hear(notification.payload()),
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
        Lost::because("Postgres closed the connection")
    }

    fn hear(&self, text: &str) {
        let Some((origin, signals)) = envelope::unpack(text) else {
            tracing::debug!(bytes = text.len(), "a notification is not understood");
            return;
        };
        if origin == self.origin {
            return;
        }
        self.state.envelopes.fetch_add(1, Ordering::Relaxed);
        self.state.nobody_listens.store(false, Ordering::Relaxed);
        if signals.is_empty() {
            // A process arrives, or did not send all its signals.
            self.state.missed.store(true, Ordering::Relaxed);
        }
        for signal in signals {
            self.state.metrics.bus.signals[Signals::Heard].inc();
            if let Err(TrySendError::Full(_)) = self.heard.try_send(signal) {
                self.state.missed.store(true, Ordering::Relaxed);
                self.state.untaken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn take_part(
        &self,
        wire: &Wire<Client>,
        queue: &mut mpsc::Receiver<Signal>,
        outage: &mut Outage,
    ) -> Lost {
        let mut packer = Packer::new(self.origin);
        if let Err(lost) = self.enter(wire, &mut packer).await {
            return lost;
        }
        outage.end();
        // Until now, signals of other processes were missed.
        self.state.missed.store(true, Ordering::Relaxed);
        self.state.hears.store(true, Ordering::Relaxed);
        self.state.metrics.bus.set(BusState::Connected);
        tokio::select! {
            lost = self.keep_asking(wire) => lost,
            lost = self.send_all(wire, queue, packer) => lost,
        }
    }

    /// Listens, and takes the lock. If two processes arrive at the same time, the one that gets the lock later
    /// finds the other. So each knows of the other when both have entered.
    async fn enter(&self, wire: &Wire<Client>, packer: &mut Packer) -> Result<(), Lost> {
        self.hear_oneself(wire).await?;
        // First, because processes that see the lock begin to send.
        ask(wire, async |client| client.batch_execute(&format!("LISTEN {CHANNEL}")).await).await?;
        let (class, key) = LOCK;
        let lock = format!("SELECT pg_advisory_lock_shared({class}, {key})");
        ask(wire, async |client| client.batch_execute(&lock).await).await?;
        if self.ask(wire).await? {
            notify(wire, vec![packer.hello()]).await?;
        }
        Ok(())
    }

    /// Checks that notifications of others arrive on this connection. Only another connection can find that
    /// out: behind a pooler, the session that listens may also run this connection's own NOTIFY.
    async fn hear_oneself(&self, wire: &Wire<Client>) -> Result<(), Lost> {
        let private = &self.private;
        ask(wire, async |client| client.batch_execute(&format!("LISTEN {private}")).await).await?;
        let mut other = self.target.open().await.map_err(|error| Lost::because(&error.to_string()))?;
        let told = other.ask(PATIENCE, async |other| other.batch_execute(&format!("NOTIFY {private}")).await);
        told.await.map_err(|error| Lost::because(&error.to_string()))?;
        let hears = tokio::time::timeout(HEARING, self.hears.notified()).await.is_ok();
        // If a pooler runs this in another session, the session that listens no longer receives anything.
        ask(wire, async |client| client.batch_execute(&format!("UNLISTEN {private}")).await).await?;
        if hears { Ok(()) } else { Err(Lost::deaf()) }
    }

    async fn keep_asking(&self, wire: &Wire<Client>) -> Lost {
        loop {
            sleep(BEAT).await;
            if let Err(lost) = self.ask(wire).await {
                return lost;
            }
        }
    }

    /// Returns whether another process listens.
    async fn ask(&self, wire: &Wire<Client>) -> Result<bool, Lost> {
        let (class, key) = LOCK;
        let question = format!(
            "SELECT EXISTS (SELECT FROM pg_lock_status() WHERE locktype = 'advisory' AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND classid = {class} AND objid = {key} AND objsubid = 2 AND pid <> pg_backend_pid())"
        );
        let envelopes = self.state.envelopes.load(Ordering::Relaxed);
        let row = ask(wire, async |client| client.query_typed_one(&question, &[]).await).await?;
        // A process that was heard in the meantime may have come after Postgres looked.
        let others = row.try_get(0)? || envelopes != self.state.envelopes.load(Ordering::Relaxed);
        self.state.nobody_listens.store(!others, Ordering::Relaxed);
        Ok(others)
    }

    async fn send_all(
        &self,
        wire: &Wire<Client>,
        queue: &mut mpsc::Receiver<Signal>,
        mut packer: Packer,
    ) -> Lost {
        let mut signals = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut signals, BATCH).await > 0 {
            if signals.len() < BATCH {
                sleep(COLLECT).await;
                while signals.len() < BATCH
                    && let Ok(signal) = queue.try_recv()
                {
                    signals.push(signal);
                }
            }
            let count = signals.len() as u64;
            let mut texts = packer.pack(signals.drain(..));
            if self.state.nobody_listens.load(Ordering::Relaxed) {
                continue;
            }
            if self.state.withheld.swap(false, Ordering::Relaxed) {
                texts.push(packer.hello());
            }
            if let Err(lost) = notify(wire, texts).await {
                return lost;
            }
            self.state.metrics.bus.signals[Signals::Sent].inc_by(count);
        }
        // No caller publishes any more, but other processes may still be heard.
        std::future::pending().await
    }

    async fn report_losses(&self) {
        loop {
            sleep(REPORT).await;
            let unsent = self.state.unsent.swap(0, Ordering::Relaxed);
            let untaken = self.state.untaken.swap(0, Ordering::Relaxed);
            self.state.metrics.bus.lost[LostSignals::Unsent].inc_by(unsent);
            self.state.metrics.bus.lost[LostSignals::Untaken].inc_by(untaken);
            if unsent > 0 || untaken > 0 {
                tracing::warn!(unsent, untaken, "too many signals between replicas: some are lost");
            }
        }
    }
}

/// Sends texts in one transaction that need not survive a crash. A setting of the session would be simpler, but
/// a pooler would share it with sessions that write.
async fn notify(wire: &Wire<Client>, texts: Vec<String>) -> Result<(), Lost> {
    const STATEMENT: &str = "
        WITH setting AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        SELECT pg_notify($1, text) FROM setting, unnest($2::text[]) AS text";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&CHANNEL, Type::TEXT), (&texts, Type::TEXT_ARRAY)];
    ask(wire, async |client| client.execute_typed(STATEMENT, &parameters).await).await?;
    Ok(())
}

async fn ask<T>(
    wire: &Wire<Client>,
    question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Lost> {
    wire.ask_shared(PATIENCE, question).await.map_err(Lost::from)
}

/// The reason why there is no connection any more, for the log.
struct Lost {
    cause: String,
    /// Whether the connection received no notifications. That will not change soon.
    is_deaf: bool,
}

impl Lost {
    fn because(cause: &str) -> Self {
        Self { cause: cause.to_owned(), is_deaf: false }
    }

    /// Returns the reason for a connection that receives nothing.
    fn deaf() -> Self {
        let cause = "LISTEN is not heard here: a pooler hands sessions around".to_owned();
        Self { cause, is_deaf: true }
    }
}

impl From<tokio_postgres::Error> for Lost {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::because(&connect::describe(&error))
    }
}

impl From<NoAnswer<tokio_postgres::Error>> for Lost {
    fn from(error: NoAnswer<tokio_postgres::Error>) -> Self {
        match error {
            NoAnswer::Missed(missed) => Self::because(&missed.to_string()),
            NoAnswer::Refused(error) => error.into(),
        }
    }
}

/// The time to connect again, and whether the log was told.
struct Outage {
    pause: Duration,
    /// The time since which there is a connection; `None` without one.
    connected: Option<Instant>,
    announced: bool,
    /// The number of connections in a row that received nothing.
    deaf: u32,
}

impl Default for Outage {
    fn default() -> Self {
        Self { pause: SHORTEST_PAUSE, connected: None, announced: false, deaf: 0 }
    }
}

impl Outage {
    /// Returns how long to wait before the next attempt. It is a random time of at least half the pause, so
    /// that replicas that lost Postgres together do not come back together.
    fn pause_after(&mut self, lost: &Lost) -> Duration {
        // A connection that does not last counts as a failure.
        if self.connected.take().is_some_and(|since| since.elapsed() >= LONGEST_PAUSE) {
            self.pause = SHORTEST_PAUSE;
        }
        if !std::mem::replace(&mut self.announced, true) {
            tracing::warn!(
                cause = lost.cause,
                "replicas cannot tell each other what happens, and learn it by polling"
            );
        }
        self.deaf = if lost.is_deaf { self.deaf + 1 } else { 0 };
        let pause = if self.deaf >= DEAF { DEAF_PAUSE } else { self.pause };
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        let random = u32::try_from(Uuid::new_v4().as_u128() % 1_000).unwrap_or(0);
        (pause + pause * random / 1_000) / 2
    }

    fn end(&mut self) {
        self.connected = Some(Instant::now());
        self.deaf = 0;
        if std::mem::take(&mut self.announced) {
            tracing::info!("replicas can tell each other again what happens");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Topic;
    use super::*;

    fn signal(payload: &'static str) -> Signal {
        let topic = Topic { tenant: Uuid::from_u128(1), id: Uuid::from_u128(2) };
        Signal { topic, payload: payload.into() }
    }

    fn nowhere() -> Target {
        Target::parse("postgres://127.0.0.1:1/nowhere").expect("a URL")
    }

    #[tokio::test]
    async fn who_does_not_take_signals_loses_the_newest() {
        let (heard, mut incoming) = mpsc::channel(2);
        let state = Arc::new(State::default());
        let link = Link::new(nowhere(), heard, Arc::clone(&state));
        let mut other = Packer::new(Uuid::new_v4());
        for text in other.pack(["1", "2", "3"].map(signal)) {
            link.hear(&text);
        }
        assert_eq!(incoming.recv().await, Some(signal("1")));
        assert_eq!(incoming.recv().await, Some(signal("2")));
        assert!(incoming.try_recv().is_err());
        assert_eq!(state.untaken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_arrives_or_did_not_tell_all_has_the_others_look() {
        let (heard, _incoming) = mpsc::channel(1);
        let (queue, _outgoing) = mpsc::channel(1);
        let state = Arc::new(State::default());
        let bus = PostgresBus { queue, state: Arc::clone(&state) };
        let link = Link::new(nowhere(), heard, Arc::clone(&state));
        assert!(!bus.hears(), "there is no connection");
        state.hears.store(true, Ordering::Relaxed);
        assert!(bus.hears());
        let mut other = Packer::new(Uuid::new_v4());
        link.hear(&other.hello());
        assert!(!bus.hears() && bus.hears(), "one look is enough");
        for text in other.pack([signal("1")]) {
            link.hear(&text);
        }
        assert!(bus.hears());
        // The signal is not taken: the channel is full.
        for text in other.pack([signal("2")]) {
            link.hear(&text);
        }
        assert!(!bus.hears());
        bus.publish(signal("3"));
        assert!(!state.withheld.load(Ordering::Relaxed));
        bus.publish(signal("4"));
        assert!(state.withheld.load(Ordering::Relaxed), "the queue is full");
    }

    #[tokio::test]
    async fn our_own_signals_and_nonsense_are_not_heard() {
        let (heard, mut incoming) = mpsc::channel(2);
        let link = Link::new(nowhere(), heard, Arc::default());
        for text in Packer::new(link.origin).pack([signal("1")]) {
            link.hear(&text);
        }
        link.hear("nonsense");
        link.hear("");
        assert!(incoming.try_recv().is_err());
    }

    #[tokio::test]
    async fn without_postgres_it_neither_waits_nor_hinders_the_end() {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let (bus, mut incoming) = PostgresBus::start(nowhere(), Metrics::default(), stop.clone(), &tracker);
        for _ in 0..3 * QUEUE {
            bus.publish(signal("1"));
        }
        assert_eq!(bus.state.unsent.load(Ordering::Relaxed), 2 * QUEUE as u64);
        stop.cancel();
        tracker.close();
        tokio::time::timeout(Duration::from_secs(1), tracker.wait()).await.expect("it ends at once");
        assert_eq!(incoming.recv().await, None);
        bus.publish(signal("2"));
    }

    #[test]
    fn connections_that_hear_nothing_are_soon_left_alone() {
        let mut outage = Outage::default();
        for _ in 1..DEAF {
            assert!(outage.pause_after(&Lost::deaf()) <= LONGEST_PAUSE);
        }
        assert!(outage.pause_after(&Lost::deaf()) >= DEAF_PAUSE / 2);
        assert!(outage.pause_after(&Lost::because("a test")) <= LONGEST_PAUSE);
        outage.pause_after(&Lost::deaf());
        outage.end();
        assert_eq!(outage.deaf, 0);
    }

    #[test]
    fn pauses_double_until_a_connection_lasts() {
        let mut outage = Outage::default();
        let lost = Lost::because("a test");
        for (pauses, millis) in [100, 200, 400, 800, 1_600, 2_000, 2_000].into_iter().enumerate() {
            let longest = Duration::from_millis(millis);
            let pause = outage.pause_after(&lost);
            assert!(longest / 2 <= pause && pause <= longest, "{pauses}: {pause:?}");
        }
        outage.end();
        assert!(outage.pause_after(&lost) >= LONGEST_PAUSE / 2);
        outage.connected = Instant::now().checked_sub(LONGEST_PAUSE);
        assert!(outage.pause_after(&lost) <= SHORTEST_PAUSE);
    }
}
