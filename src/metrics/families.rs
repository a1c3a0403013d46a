//! Families of series, as they are registered: with a name, a help text, and labels from closed sets.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::closed::{Closed, Each};

/// A label and its value.
pub(super) type Label = (&'static str, &'static str);

/// The buckets of durations in seconds. They are those of OpenTelemetry for calls, and four smaller ones: a flight to
/// Postgres takes some hundred microseconds.
const SECONDS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

/// The buckets of batch sizes. The default setting allows 256 items.
const ITEMS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0];

pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

pub(super) fn items() -> Histogram {
    Histogram::new(ITEMS)
}

/// Registers families. Names are without the suffix that the format adds (`_total`).
pub(super) struct Registrar<'r>(pub(super) &'r mut Registry);

impl Registrar<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    pub(super) fn counters<E: Closed>(&mut self, name: &str, help: &str) -> Each<E, Counter> {
        let family = Family::<[Label; 1], Counter>::default();
        self.0.register(name, help, family.clone());
        Each::new(|value: E| family.get_or_create_owned(&[(E::LABEL, value.word())]))
    }

    pub(super) fn counters_of_two<A: Closed, B: Closed>(
        &mut self,
        name: &str,
        help: &str,
    ) -> Each<A, Each<B, Counter>> {
        let family = Family::<[Label; 2], Counter>::default();
        self.0.register(name, help, family.clone());
        Each::new(|a: A| {
            Each::new(|b: B| family.get_or_create_owned(&[(A::LABEL, a.word()), (B::LABEL, b.word())]))
        })
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    /// Registers a gauge of a fraction.
    pub(super) fn ratio(&mut self, name: &str, help: &str) -> Gauge<f64, AtomicU64> {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    pub(super) fn gauges<E: Closed>(&mut self, name: &str, help: &str) -> Each<E, Gauge> {
        let family = Family::<[Label; 1], Gauge>::default();
        self.0.register(name, help, family.clone());
        Each::new(|value: E| family.get_or_create_owned(&[(E::LABEL, value.word())]))
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = seconds();
        self.0.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        histogram
    }

    pub(super) fn seconds_of<E: Closed>(&mut self, name: &str, help: &str) -> Each<E, Histogram> {
        let family: Family<[Label; 1], Histogram> = Family::new_with_constructor(seconds);
        self.0.register_with_unit(name, help, Unit::Seconds, family.clone());
        Each::new(|value: E| family.get_or_create_owned(&[(E::LABEL, value.word())]))
    }

    pub(super) fn items_of<E: Closed>(&mut self, name: &str, help: &str) -> Each<E, Histogram> {
        let family: Family<[Label; 1], Histogram> = Family::new_with_constructor(items);
        self.0.register(name, help, family.clone());
        Each::new(|value: E| family.get_or_create_owned(&[(E::LABEL, value.word())]))
    }
}

/// Sets a counter of seconds to a total that was counted elsewhere.
pub(super) fn set_seconds(counter: &Counter<f64, AtomicU64>, seconds: f64) {
    counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
}
