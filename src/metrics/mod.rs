//! What the service counts and measures, for Prometheus.
//!
//! Each part of the service has handles here (`metrics.pool.waiting`), which are found once or by an index in an
//! array. Counting is an atomic addition, and measuring takes a lock without contention. Labels come from closed sets
//! (`closed`, and the names of the contract), never from what a client sends. Values that are cheap to read are not
//! counted all the time, but read before each scrape ([`Metrics::before_each_scrape`]).
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

use crate::numbers;

pub use calls::{Called, Calls, code_word};
pub use closed::{
    BusState, CacheName, CallKind, Cause, Closed, Flight, Lane, Limit, Lookup, LostSignals, ReadPlace,
    Signals, SpanEnd, State, Use, WatchStart, Written,
};
pub use groups::{Audit, Bus, Connections, Health, LaneHandles, Lanes, Pool, Replica, Waiting, Watch};
pub use listener::serve;

/// The metrics of one service. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    families: Families,
    registry: Registry,
    looks: Mutex<Looks>,
}

/// The functions that run before each scrape.
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
    /// Calls and streams in progress.
    pub in_flight: Each<CallKind, Gauge>,
    /// Refusals for lack of room.
    pub refusals: Each<Limit, Counter>,
    /// Connections to Postgres.
    pub pool: Pool,
    /// The standby for reads.
    pub standby: Replica,
    /// Round trips of batches to Postgres.
    pub flights: Each<Flight, Histogram>,
    /// Items that wait to be handled together.
    pub lanes: Lanes,
    /// Writes to messages.
    pub writes: Each<Written, Counter>,
    /// Watchers of conversations.
    pub watch: Watch,
    /// Other replicas.
    pub bus: Bus,
    /// Caches.
    pub caches: Each<CacheName, Each<Lookup, Counter>>,
    /// Connections of clients.
    pub connections: Connections,
    /// Audit events of failed calls.
    pub audit: Audit,
    /// Spans of calls.
    pub spans: Each<SpanEnd, Counter>,
    /// The state of the service.
    pub health: Health,
    /// The runtime.
    runtime: Runtime,
    /// The process.
    process: Process,
}

impl Default for Metrics {
    /// The metrics of a service that has done nothing yet.
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
    /// Runs a function before each scrape, as long as the result is kept.
    pub fn before_each_scrape(&self, look: impl Fn(&Families) + Send + Sync + 'static) -> Looking {
        let mut looks = self.looks();
        let id = looks.next;
        looks.next += 1;
        looks.by_id.insert(id, Arc::new(look));
        Looking { metrics: self.clone(), id }
    }

    /// Returns all series in the OpenMetrics format. Includes those of the current runtime.
    pub fn scrape(&self) -> String {
        let looks: Vec<_> = self.looks().by_id.values().map(Arc::clone).collect();
        for look in looks {
            look(self);
        }
        self.process.look();
        self.runtime.look();
        let mut scrape = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut scrape, &self.0.registry);
        scrape
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.0.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A function that runs before each scrape, until this is dropped.
#[must_use]
pub struct Looking {
    metrics: Metrics,
    id: u64,
}

impl Drop for Looking {
    fn drop(&mut self) {
        // The function is dropped after the lock, since it may own such a handle itself.
        let gone = self.metrics.looks().by_id.remove(&self.id);
        drop(gone);
    }
}

impl Families {
    /// Sets how often a cache had the value that was asked for, and how often not, since its start.
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

/// Counts one more in a gauge, until this is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// Adds one to the gauge.
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
    gauge.set(numbers::count(count));
}

/// Sets a counter to a total that was counted elsewhere, which never decreases.
pub fn count_to(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
