//! What the service counts and measures, for Prometheus.
//!
//! Each part of the service has handles here (`metrics.pool.waited(…)`), which are found once or by a place in an
//! array: to count is an atomic addition, and to measure a lock that nobody holds. Labels come from closed
//! sets (`closed`, and the names of the contract), never from what a client sends. What is cheap to read
//! when somebody asks, and not worth counting, is read then ([`Metrics::before_each_scrape`]).
//!
//! docs/metrics.md lists every family.

mod calls;
mod closed;
mod families;
mod groups;
mod listener;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use closed::Each;
use families::{Label, Registrar};
use groups::Runtime;
use process::Process;

pub use calls::{Called, Calls, code_word};
pub use closed::{
    BusState, CacheName, CallKind, Cause, Closed, Flight, Lane, Limit, Lookup, LostSignals, ReadPlace,
    Signals, SpanEnd, State, Use, WatchStart, Written,
};
pub use groups::{Audit, Bus, Connections, Health, LaneHandles, Lanes, Pool, Replica, Waiting, Watch};
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
    /// The standby for reads.
    pub standby: Replica,
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
    /// Spans of calls.
    pub spans: Each<SpanEnd, Counter>,
    /// How the service is.
    pub health: Health,
    /// The runtime.
    runtime: Runtime,
    /// The process.
    process: Process,
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
        self.runtime.look();
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
            standby: Replica::register(of),
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
            spans: of.counters("crm_trace_spans", "Spans of calls, by what became of them"),
            health: Health::register(of),
            runtime: Runtime::register(of),
            process: Process::register(of.0),
        };
        families.health.set(State::Starting);
        families.bus.set(BusState::Connecting);
        families
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
