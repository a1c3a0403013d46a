//! What the service counts and measures, for Prometheus.
//!
//! Each part of the service has handles here (`metrics.pool.waited(…)`), which are found once or by a place in an
//! array: to count is an atomic addition, and to measure a lock that nobody holds. Labels come from closed
//! sets ([`closed`], and the names of the contract), never from what a client sends. What is cheap to read
//! when somebody asks, and not worth counting, is read then ([`Metrics::before_each_scrape`]).
//!
//! docs/metrics.md lists every family.

mod calls;
mod closed;
mod families;
mod listener;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use closed::Each;
use families::{Label, Registrar};
use process::Process;

pub use calls::{Called, Calls, code_word};
pub use closed::{
    BusState, CacheName, CallKind, Cause, Closed, Flight, Lane, Limit, Lookup, LostSignals, Signals, State,
    Use, WatchStart, Written,
};
pub use listener::serve;

/// What one service counts. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    families: Families,
    registry: Registry,
    looks: Mutex<Looks>,
}

/// What is done before each scrape.
#[derive(Default)]
struct Looks {
    next: u64,
    by_id: BTreeMap<u64, Look>,
}

type Look = Arc<dyn Fn(&Families) + Send + Sync>;

/// The handles.
#[derive(Debug)]
pub struct Families {
    /// Calls.
    pub calls: Calls,
    /// Calls and streams that are open.
    pub in_flight: Each<CallKind, Gauge>,
    /// What was refused for want of room.
    pub refusals: Each<Limit, Counter>,
    /// Connections to Postgres.
    pub pool: Pool,
    /// What goes to Postgres and back at once.
    pub flights: Each<Flight, Histogram>,
    /// What waits to go together.
    pub lanes: Lanes,
    /// Writes to messages.
    pub writes: Each<Written, Counter>,
    /// Watchers of conversations.
    pub watch: Watch,
    /// Other replicas.
    pub bus: Bus,
    /// What is remembered.
    pub caches: Each<CacheName, Each<Lookup, Counter>>,
    /// Clients.
    pub connections: Connections,
    /// Events of what failed.
    pub audit: Audit,
    /// How the service is.
    pub health: Health,
    /// The runtime.
    runtime: Runtime,
    /// The process.
    process: Process,
}

/// See [`Families::pool`].
#[derive(Debug)]
pub struct Pool {
    /// Connections at most.
    pub max: Gauge,
    /// Connections that there are.
    pub connections: Each<Use, Gauge>,
    /// Transactions that wait for one.
    pub waiting: Gauge,
    /// How long they waited, those included that got none.
    pub wait: Histogram,
}

/// See [`Families::lanes`].
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
    /// Batches on their way.
    pub writers: Gauge,
    /// Those that take longer than a second.
    pub stuck: Gauge,
    /// Items that did not go with their batch.
    pub apart: Counter,
    /// Topics that found no room to be committed apart.
    pub refused: Counter,
    /// Items of batches, and how long these took. `None` where nobody looks.
    batches: Option<(Histogram, Histogram)>,
}

/// See [`Families::watch`].
#[derive(Debug)]
pub struct Watch {
    /// Streams of watchers.
    pub watchers: Gauge,
    /// Watches that began.
    pub starts: Each<WatchStart, Counter>,
    /// How often a watcher was too slow for what was told.
    pub lagged: Counter,
    /// What it missed and read from the database.
    pub missed: Counter,
    /// Reads of the database by watchers.
    pub reads: Counter,
    /// Events that wait for the slowest watcher of any conversation.
    pub lag: Gauge,
}

/// See [`Families::bus`].
#[derive(Debug)]
pub struct Bus {
    state: Each<BusState, Gauge>,
    /// Signals that were sent and heard.
    pub signals: Each<Signals, Counter>,
    /// Signals that were lost.
    pub lost: Each<LostSignals, Counter>,
}

/// See [`Families::connections`].
#[derive(Debug)]
pub struct Connections {
    /// Those that are open.
    pub open: Gauge,
    /// Those that were accepted.
    pub accepted: Counter,
    /// Bytes that streams have sent and that are not answered.
    pub stream_bytes: Gauge,
}

/// See [`Families::audit`].
#[derive(Debug)]
pub struct Audit {
    /// Events that wait to be stored.
    pub waiting: Gauge,
    /// Events that nobody will find.
    pub lost: Counter,
}

/// See [`Families::health`].
#[derive(Debug)]
pub struct Health {
    state: Each<State, Gauge>,
    /// Why it is degraded.
    pub causes: Each<Cause, Gauge>,
}

#[derive(Debug)]
struct Runtime {
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
}

impl Default for Metrics {
    /// Counters of a service that has done nothing yet.
    fn default() -> Self {
        let mut registry = Registry::default();
        let families = Families::register(&mut registry);
        Self(Arc::new(Shared { families, registry, looks: Mutex::default() }))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0.families
    }
}

impl Metrics {
    /// Has something done before each scrape, as long as what this returns is kept.
    #[must_use]
    pub fn before_each_scrape(&self, look: impl Fn(&Families) + Send + Sync + 'static) -> Looking {
        let mut looks = self.looks();
        let id = looks.next;
        looks.next += 1;
        looks.by_id.insert(id, Arc::new(look));
        Looking { metrics: self.clone(), id }
    }

    /// All series, as OpenMetrics writes them. Looks at the runtime that this is called in.
    pub fn scrape(&self) -> String {
        let looks: Vec<_> = self.looks().by_id.values().map(Arc::clone).collect();
        for look in looks {
            look(self);
        }
        self.process.look();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let seen = runtime.metrics();
            set(&self.runtime.workers, seen.num_workers());
            set(&self.runtime.tasks, seen.num_alive_tasks());
            set(&self.runtime.queue, seen.global_queue_depth());
        }
        let mut scrape = String::new();
        // A String takes whatever is written.
        let _ = text::encode(&mut scrape, &self.0.registry);
        scrape
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is done before each scrape, until this is dropped.
#[must_use]
pub struct Looking {
    metrics: Metrics,
    id: u64,
}

impl Drop for Looking {
    fn drop(&mut self) {
        // What it had is dropped after the lock, since it may have handles of its own.
        let gone = self.metrics.looks().by_id.remove(&self.id);
        drop(gone);
    }
}

impl Families {
    /// How often a cache had what was asked for, and how often not, since its start.
    pub fn looked_up(&self, cache: CacheName, (hits, misses): (u64, u64)) {
        count_to(&self.caches[cache][Lookup::Hit], hits);
        count_to(&self.caches[cache][Lookup::Miss], misses);
    }

    fn register(registry: &mut Registry) -> Self {
        let calls = Calls::register(registry);
        let build = Family::<[Label; 1], Gauge>::default();
        registry.register("crm_build_info", "Always 1; the version is its label", build.clone());
        build.get_or_create_owned(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        let mut registrar = Registrar(registry);
        let of = &mut registrar;
        let refusals: Each<Limit, Counter> = of.counters(
            "crm_refusals",
            "Calls and connections that were refused for want of room, by what refused them",
        );
        let families = Self {
            calls,
            in_flight: of.gauges("crm_calls_in_flight", "Calls and streams that have a place now"),
            pool: Pool::register(of),
            flights: of.seconds_of(
                "crm_database_flight",
                "How long flights of batches took: what is sent to Postgres at once, and its answer",
            ),
            lanes: Lanes::register(of, refusals[Limit::WaitingApart].clone()),
            refusals,
            writes: of.counters("crm_message_writes", "Writes to messages, by what became of them"),
            watch: Watch::register(of),
            bus: Bus::register(of),
            caches: of.counters_of_two("crm_cache_lookups", "Looks into caches"),
            connections: Connections::register(of),
            audit: Audit::register(of),
            health: Health::register(of),
            runtime: Runtime::register(of),
            process: Process::register(of.0),
        };
        families.health.set(State::Starting);
        families.bus.set(BusState::Connecting);
        families
    }
}

impl Pool {
    fn register(of: &mut Registrar<'_>) -> Self {
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

    /// Counts one that waits, until this is dropped.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.inc();
        Waiting { pool: self, began: std::time::Instant::now() }
    }
}

/// A wait for a connection.
#[derive(Debug)]
pub struct Waiting<'p> {
    pool: &'p Pool,
    began: std::time::Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.dec();
        self.pool.wait.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Lanes {
    fn register(of: &mut Registrar<'_>, refused: Counter) -> Self {
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

    /// The handles of one lane.
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

    /// Batches of all lanes that take longer than a second.
    pub fn count_stuck(&self) -> i64 {
        Lane::ALL.iter().map(|lane| self.stuck[*lane].get()).sum()
    }
}

impl LaneHandles {
    /// A batch has ended.
    pub fn batch(&self, items: usize, took: Duration) {
        if let Some((sizes, times)) = &self.batches {
            sizes.observe(u32::try_from(items).map_or(f64::MAX, f64::from));
            times.observe(took.as_secs_f64());
        }
    }
}

impl Watch {
    fn register(of: &mut Registrar<'_>) -> Self {
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
    fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            state: of.gauges("crm_bus_state", "Whether replicas hear each other: 1 for the state that holds"),
            signals: of.counters("crm_bus_signals", "Signals between replicas"),
            lost: of.counters("crm_bus_lost_signals", "Signals between replicas that were lost, by why"),
        }
    }

    /// The state that holds from now on.
    pub fn set(&self, now: BusState) {
        for state in BusState::ALL {
            self.state[*state].set((*state == now).into());
        }
    }

    /// Whether replicas could hear each other, and do not.
    pub fn is_lost(&self) -> bool {
        self.state[BusState::Lost].get() == 1
    }
}

impl Connections {
    fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            open: of.gauge("crm_connections_open", "Connections of clients that are open"),
            accepted: of.counter("crm_connections_accepted", "Connections of clients that were accepted"),
            stream_bytes: of
                .gauge("crm_stream_bytes", "Bytes that streams have sent and that are not answered yet"),
        }
    }
}

impl Audit {
    fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            waiting: of
                .gauge("crm_audit_waiting_events", "Audit events of failed calls that wait to be stored"),
            lost: of.counter("crm_audit_lost_events", "Audit events of failed calls that were lost"),
        }
    }
}

impl Health {
    fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            state: of.gauges("crm_health_state", "How the service is: 1 for the state that holds"),
            causes: of.gauges("crm_health_degraded", "Why the service is degraded: 1 for what holds"),
        }
    }

    /// The state that holds from now on.
    pub fn set(&self, now: State) {
        for state in State::ALL {
            self.state[*state].set((*state == now).into());
        }
    }
}

impl Runtime {
    fn register(of: &mut Registrar<'_>) -> Self {
        Self {
            workers: of.gauge("tokio_runtime_workers", "Threads that run tasks"),
            tasks: of.gauge("tokio_runtime_alive_tasks", "Tasks that have not ended"),
            queue: of.gauge(
                "tokio_runtime_global_queue_tasks",
                "Tasks that are ready and that no thread has taken",
            ),
        }
    }
}

/// One more in a gauge, until this is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// Counts one more.
    pub fn count(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Sets a gauge to a count.
pub fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Sets a counter to what was counted elsewhere, which never becomes less.
pub fn count_to(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
