//! The scenarios and their goals.

use std::fmt;

use super::Measured;

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) goal: Goal,
}

/// The goal of a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// At least this multiple of the baseline.
    RatioAtLeast(f64),
    /// At most this multiple of the baseline.
    RatioAtMost(f64),
    /// The baseline, with at most this share of difference.
    RatioWithin(f64),
    /// At most this multiple of the baseline, or at most this value, if that is more.
    RatioOrAtMost(f64, f64),
    /// At most this multiple of the baseline, and at most this value.
    RatioAndAtMost(f64, f64),
    /// At most this value.
    AtMost(f64),
    /// No goal: the number is only reported.
    Nothing,
}

const fn scenario(name: &'static str, unit: &'static str, goal: Goal) -> Scenario {
    Scenario { name, unit, goal }
}

/// The limit for a calm tenant beside one that floods the service: a multiple of its latency alone, or this many
/// milliseconds, if that is more.
pub(crate) const NEIGHBOUR: (f64, f64) = (3.0, 50.0);

/// All scenarios in the order in which they run: those that grow the tables come last.
pub(crate) const SCENARIOS: [Scenario; 44] = [
    scenario("append", "acks/s", Goal::RatioAtLeast(6.5)),
    scenario("append_vs_unnest", "acks/s", Goal::RatioAtLeast(0.65)),
    scenario("append_hot", "acks/s", Goal::RatioAtLeast(6.0)),
    scenario("append_idle_p50", "ms", Goal::RatioAtMost(1.6)),
    scenario("create_message_8", "calls/s", Goal::RatioAtLeast(0.8)),
    scenario("create_message_32", "calls/s", Goal::RatioAtLeast(1.5)),
    scenario("create_message_p50", "ms", Goal::RatioAtMost(1.6)),
    scenario("get_customer", "calls/s", Goal::RatioAtLeast(0.5)),
    scenario("list_messages", "calls/s", Goal::RatioAtLeast(0.5)),
    scenario("key_get_customer", "calls/s", Goal::RatioAtLeast(0.95)),
    scenario("key_list_messages", "calls/s", Goal::RatioAtLeast(0.95)),
    scenario("rest_get_customer", "calls/s", Goal::RatioAtLeast(0.7)),
    scenario("rest_create_message", "calls/s", Goal::RatioAtLeast(0.7)),
    scenario("metered_append", "acks/s", Goal::RatioAtLeast(0.98)),
    scenario("metered_get_customer", "calls/s", Goal::RatioAtLeast(0.98)),
    scenario("traced_append", "acks/s", Goal::RatioAtLeast(0.98)),
    // Every call has a span; busy services sample them.
    scenario("traced_get_customer", "calls/s", Goal::Nothing),
    scenario("miss_timing", "ms", Goal::RatioWithin(0.1)),
    scenario("campaign_events", "events/s", Goal::RatioAtLeast(0.4)),
    scenario("ai_context", "ms", Goal::RatioAtMost(2.5)),
    scenario("growth_ai_context", "ms", Goal::RatioAtMost(1.3)),
    scenario("faq_search", "ms", Goal::AtMost(10.0)),
    scenario("token_delta_p99", "ms", Goal::AtMost(30.0)),
    scenario("token_rows_per_delta", "rows", Goal::AtMost(0.1)),
    scenario("watch_p99", "ms", Goal::AtMost(30.0)),
    scenario("idle_watch_memory", "bytes", Goal::AtMost(16_384.0)),
    scenario("sse_watch_p99", "ms", Goal::RatioAtMost(1.5)),
    scenario("idle_sse_memory", "bytes", Goal::AtMost(16_384.0)),
    scenario("idle_tenants", "% of a core", Goal::AtMost(3.0)),
    scenario("idle_tenants_p95", "ms", Goal::RatioAtMost(1.2)),
    scenario("many_tenants", "ms", Goal::RatioAtMost(1.3)),
    scenario("noisy_neighbour", "ms", Goal::RatioOrAtMost(NEIGHBOUR.0, NEIGHBOUR.1)),
    scenario("context_neighbour", "ms", Goal::RatioOrAtMost(NEIGHBOUR.0, NEIGHBOUR.1)),
    scenario("start", "ms", Goal::AtMost(150.0)),
    scenario("start_memory", "MiB", Goal::AtMost(60.0)),
    scenario("binary_size", "MB", Goal::AtMost(40.0)),
    scenario("dashboard_p95", "ms", Goal::AtMost(200.0)),
    scenario("growth_dashboard", "ms", Goal::RatioAtMost(1.3)),
    // A window of ten months has ten times as much to count.
    scenario("dashboard_whole", "ms", Goal::AtMost(600.0)),
    scenario("growth_append", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_list_messages", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_list_customers", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_search", "ms", Goal::RatioAtMost(1.3)),
    // For a word that all customers have, a large tenant has more to count.
    scenario("growth_search_common", "ms", Goal::RatioAndAtMost(3.0, 20.0)),
];

impl Goal {
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::RatioAtLeast(goal)
            | Self::RatioAtMost(goal)
            | Self::RatioWithin(goal)
            | Self::RatioOrAtMost(goal, _)
            | Self::RatioAndAtMost(goal, _)
            | Self::AtMost(goal) => Some(goal),
            Self::Nothing => None,
        }
    }

    pub(super) fn is_met(self, measured: &Measured) -> Option<bool> {
        match self {
            Self::RatioAtLeast(goal) => measured.ratio().map(|ratio| ratio >= goal),
            Self::RatioAtMost(goal) => measured.ratio().map(|ratio| ratio <= goal),
            Self::RatioWithin(goal) => measured.ratio().map(|ratio| (ratio - 1.0).abs() <= goal),
            Self::RatioOrAtMost(ratio, value) => {
                let is_little = measured.figure.value <= value;
                measured.ratio().map(|measured| measured <= ratio || is_little)
            }
            Self::RatioAndAtMost(ratio, value) => {
                let is_little = measured.figure.value <= value;
                measured.ratio().map(|measured| measured <= ratio && is_little)
            }
            Self::AtMost(goal) => Some(measured.figure.value <= goal),
            Self::Nothing => None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(goal) => out.pad(&format!("ratio >= {goal}")),
            Self::RatioAtMost(goal) => out.pad(&format!("ratio <= {goal}")),
            Self::RatioWithin(goal) => out.pad(&format!("ratio 1 ± {goal}")),
            Self::RatioOrAtMost(ratio, value) => out.pad(&format!("<= {ratio} x or {value}")),
            Self::RatioAndAtMost(ratio, value) => out.pad(&format!("<= {ratio} x and {value}")),
            Self::AtMost(goal) => out.pad(&format!("<= {goal}")),
            Self::Nothing => out.pad("-"),
        }
    }
}
