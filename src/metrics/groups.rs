//! The metric handles of each part of the service, and their operations.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::closed::{
    BusState, Cause, Closed, Each, Lane, LostSignals, ReadPlace, Signals, State, Use, WatchStart,
};
use super::families::Registrar;
use super::set;

/// See [`super::Families::pool`].
#[derive(Debug)]
pub struct Pool {
    /// The maximum number of connections.
    pub max: Gauge,
    /// The existing connections.
    pub connections: Each<Use, Gauge>,
    /// The transactions that wait for a connection.
    pub waiting: Gauge,
    /// How long they waited, including those that got none.
    pub wait: Histogram,
}

/// See [`super::Families::standby`].
#[derive(Debug)]
pub struct Replica {
    age: Gauge<f64, AtomicU64>,
    /// The reads whose callers accept slightly old data.
    pub reads: Each<ReadPlace, Counter>,
}

/// See [`super::Families::lanes`].
#[derive(Debug)]
pub struct Lanes {
    queue: Each<Lane, Gauge>,
    writers: Each<Lane, Gauge>,
    stuck: Each<Lane, Gauge>,
    items: Each<Lane, Histogram>,
    took: Each<Lane, Histogram>,
    apart: Each<Lane, Counter>,
    refused: Counter,
}

/// The handles of one lane.
#[derive(Debug, Clone, Default)]
pub struct LaneHandles {
    /// Items that wait.
    pub queue: Gauge,
    /// Batches in progress.
    pub writers: Gauge,
    /// Batches that take longer than a second.
    pub stuck: Gauge,
    /// Items that were not handled with their batch.
    pub apart: Counter,
    /// Topics that were refused because too many wait to be committed apart.
    pub refused: Counter,
    /// The sizes of batches, and how long they took. `None` if they are not measured.
    batches: Option<(Histogram, Histogram)>,
}

/// See [`super::Families::watch`].
#[derive(Debug)]
pub struct Watch {
    /// Streams of watchers.
    pub watchers: Gauge,
    /// Watches that began.
    pub starts: Each<WatchStart, Counter>,
    /// How often a watcher was too slow for its events.
    pub lagged: Counter,
    /// The events that it missed, and then read from the database.
    pub missed: Counter,
    /// Reads of the database by watchers.
    pub reads: Counter,
    /// The events that wait for the slowest watcher of any conversation.
    pub lag: Gauge,
}

/// See [`super::Families::bus`].
#[derive(Debug)]
pub struct Bus {
    state: Each<BusState, Gauge>,
    /// The signals that were sent and heard.
    pub signals: Each<Signals, Counter>,
    /// The signals that were lost.
    pub lost: Each<LostSignals, Counter>,
}

/// See [`super::Families::connections`].
#[derive(Debug)]
pub struct Connections {
    /// The open connections.
    pub open: Gauge,
    /// The accepted connections.
    pub accepted: Counter,
    /// The bytes that streams have sent and that are not answered.
    pub stream_bytes: Gauge,
}

/// See [`super::Families::audit`].
#[derive(Debug)]
pub struct Audit {
    /// The events that wait to be stored.
    pub waiting: Gauge,
    /// The events that could not be stored.
    pub lost: Counter,
}

/// See [`super::Families::health`].
#[derive(Debug)]
pub struct Health {
    state: Each<State, Gauge>,
    /// The causes of a degraded service.
    pub causes: Each<Cause, Gauge>,
}

/// The runtime of tokio.
#[derive(Debug)]
pub(super) struct Runtime {
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
}

impl Pool {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            max: of.gauge("crm_pool_connections_max", "Connections to Postgres that the pool may have"),
            connections: of.gauges("crm_pool_connections", "Connections to Postgres that the pool has"),
            waiting: of.gauge("crm_pool_waiting", "Transactions that wait for a connection to Postgres now"),
            wait: of.seconds(
                "crm_pool_wait",
                "How long transactions waited for a connection, those that got none included",
            ),
        }
    }

    /// Counts one more that waits, until this is dropped.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.inc();
        Waiting { pool: self, began: Instant::now() }
    }
}

impl Replica {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        let age = of.ratio(
            "crm_standby_age_seconds",
            "How old what the standby shows may be; NaN without a standby, or where its age is not known",
        );
        age.set(f64::NAN);
        Self {
            age,
            reads: of.counters(
                "crm_stale_reads",
                "Reads whose callers allow what is a little old, by where they were done",
            ),
        }
    }

    /// Sets how old the standby's data may be at this moment; `None` if unknown.
    pub fn is_of(&self, age: Option<Duration>) {
        self.age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
    }
}

/// A wait for a connection.
#[derive(Debug)]
pub struct Waiting<'p> {
    pool: &'p Pool,
    began: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.dec();
        self.pool.wait.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Lanes {
    pub(super) fn register(of: &mut Registrar<'_>, refused: Counter) -> Self {
        Self {
            refused,
            queue: of.gauges("crm_lane_queue_items", "Items that wait to be taken into a batch"),
            writers: of.gauges("crm_lane_writers", "Batches that are on their way"),
            stuck: of
                .gauges("crm_lane_stuck_writers", "Batches that are on their way for more than a second"),
            items: of.items_of("crm_lane_batch_items", "Items of batches"),
            took: of.seconds_of("crm_lane_batch", "How long batches took, from being taken to their commit"),
            apart: of.counters(
                "crm_lane_apart_items",
                "Items that did not go with their batch, and go apart from it",
            ),
        }
    }

    /// Returns the handles of one lane.
    pub fn of(&self, lane: Lane) -> LaneHandles {
        LaneHandles {
            queue: self.queue[lane].clone(),
            writers: self.writers[lane].clone(),
            stuck: self.stuck[lane].clone(),
            apart: self.apart[lane].clone(),
            refused: self.refused.clone(),
            batches: Some((self.items[lane].clone(), self.took[lane].clone())),
        }
    }

    /// Counts the batches of all lanes that take longer than a second.
    pub fn count_stuck(&self) -> i64 {
        Lane::ALL.iter().map(|lane| self.stuck[*lane].get()).sum()
    }
}

impl LaneHandles {
    /// Measures a batch that has ended.
    pub fn batch(&self, items: usize, took: Duration) {
        if let Some((sizes, times)) = &self.batches {
            sizes.observe(u32::try_from(items).map_or(f64::MAX, f64::from));
            times.observe(took.as_secs_f64());
        }
    }
}

impl Watch {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            watchers: of.gauge("crm_watchers", "Watches that are open"),
            starts: of.counters("crm_watch_starts", "Watches that began, by where they go on from"),
            lagged: of.counter("crm_watch_lagged", "How often a watcher was too slow for what was told"),
            missed: of.counter(
                "crm_watch_missed_events",
                "Events that watchers were too slow for, and read from the database instead",
            ),
            reads: of.counter("crm_watch_reads", "Reads of the database by watchers"),
            lag: of.gauge(
                "crm_watch_lag_events",
                "Events that wait for the slowest watcher of any conversation now",
            ),
        }
    }
}

impl Bus {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            state: of.gauges("crm_bus_state", "Whether replicas hear each other: 1 for the state that holds"),
            signals: of.counters("crm_bus_signals", "Signals between replicas"),
            lost: of.counters("crm_bus_lost_signals", "Signals between replicas that were lost, by why"),
        }
    }

    /// Sets the current state.
    pub fn set(&self, now: BusState) {
        for state in BusState::ALL {
            self.state[*state].set((*state == now).into());
        }
    }

    /// Whether this replica has lost its connection to the others.
    pub fn is_lost(&self) -> bool {
        self.state[BusState::Lost].get() == 1
    }
}

impl Connections {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            open: of.gauge("crm_connections_open", "Connections of clients that are open"),
            accepted: of.counter("crm_connections_accepted", "Connections of clients that were accepted"),
            stream_bytes: of
                .gauge("crm_stream_bytes", "Bytes that streams have sent and that are not answered yet"),
        }
    }
}

impl Audit {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            waiting: of
                .gauge("crm_audit_waiting_events", "Audit events of failed calls that wait to be stored"),
            lost: of.counter("crm_audit_lost_events", "Audit events of failed calls that were lost"),
        }
    }
}

impl Health {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            state: of.gauges("crm_health_state", "How the service is: 1 for the state that holds"),
            causes: of.gauges("crm_health_degraded", "Why the service is degraded: 1 for what holds"),
        }
    }

    /// Sets the current state.
    pub fn set(&self, now: State) {
        for state in State::ALL {
            self.state[*state].set((*state == now).into());
        }
    }
}

impl Runtime {
    pub(super) fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            workers: of.gauge("tokio_runtime_workers", "Threads that run tasks"),
            tasks: of.gauge("tokio_runtime_alive_tasks", "Tasks that have not ended"),
            queue: of.gauge(
                "tokio_runtime_global_queue_tasks",
                "Tasks that are ready and that no thread has taken",
            ),
        }
    }

    /// Reads the metrics of the current runtime.
    pub(super) fn look(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let seen = runtime.metrics();
            set(&self.workers, seen.num_workers());
            set(&self.tasks, seen.num_alive_tasks());
            set(&self.queue, seen.global_queue_depth());
        }
    }
}
