//! The scenarios, their goals, and the table of results.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{Failure, NotAvailable, Result};

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    unit: &'static str,
    goal: Goal,
}

/// The goal of a scenario.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// At least this multiple of the baseline.
    RatioAtLeast(f64),
    /// At most this multiple of the baseline.
    RatioAtMost(f64),
    /// The baseline, with at most this share of difference.
    RatioWithin(f64),
    /// At most this multiple of the baseline, or at most this value, if that is more.
    RatioOrAtMost(f64, f64),
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
pub(crate) const SCENARIOS: [Scenario; 34] = [
    scenario("append", "acks/s", Goal::RatioAtLeast(5.0)),
    scenario("append_vs_unnest", "acks/s", Goal::RatioAtLeast(0.6)),
    scenario("append_hot", "acks/s", Goal::RatioAtLeast(6.0)),
    scenario("append_idle_p50", "ms", Goal::RatioAtMost(2.0)),
    scenario("get_customer", "calls/s", Goal::RatioAtLeast(0.5)),
    scenario("list_messages", "calls/s", Goal::RatioAtLeast(0.5)),
    scenario("key_get_customer", "calls/s", Goal::RatioAtLeast(0.95)),
    scenario("key_list_messages", "calls/s", Goal::RatioAtLeast(0.95)),
    scenario("metered_append", "acks/s", Goal::RatioAtLeast(0.98)),
    scenario("metered_get_customer", "calls/s", Goal::RatioAtLeast(0.98)),
    scenario("traced_append", "acks/s", Goal::RatioAtLeast(0.98)),
    // Every call has a span; busy services sample them.
    scenario("traced_get_customer", "calls/s", Goal::Nothing),
    scenario("miss_timing", "ms", Goal::RatioWithin(0.1)),
    scenario("campaign_events", "events/s", Goal::RatioAtLeast(0.4)),
    scenario("ai_context", "ms", Goal::RatioAtMost(3.0)),
    scenario("faq_search", "ms", Goal::AtMost(10.0)),
    scenario("token_delta_p99", "ms", Goal::AtMost(30.0)),
    scenario("token_rows_per_delta", "rows", Goal::AtMost(0.1)),
    scenario("watch_p99", "ms", Goal::AtMost(30.0)),
    scenario("idle_watch_memory", "bytes", Goal::AtMost(16_384.0)),
    scenario("idle_tenants", "% of a core", Goal::AtMost(3.0)),
    scenario("idle_tenants_p95", "ms", Goal::RatioAtMost(1.2)),
    scenario("growth_append", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_list_messages", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_ai_context", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_list_customers", "ms", Goal::RatioAtMost(1.3)),
    scenario("growth_search", "ms", Goal::RatioAtMost(1.3)),
    // For a word that all customers have, a large tenant has more to count. So this has no goal.
    scenario("growth_search_common", "ms", Goal::Nothing),
    scenario("dashboard_p95", "ms", Goal::AtMost(300.0)),
    scenario("growth_dashboard", "ms", Goal::RatioAtMost(1.3)),
    // A window of ten months has ten times as much to count.
    scenario("dashboard_whole", "ms", Goal::Nothing),
    scenario("many_tenants", "ms", Goal::RatioAtMost(1.3)),
    scenario("noisy_neighbour", "ms", Goal::RatioOrAtMost(NEIGHBOUR.0, NEIGHBOUR.1)),
    scenario("context_neighbour", "ms", Goal::RatioOrAtMost(NEIGHBOUR.0, NEIGHBOUR.1)),
];

/// The result of a scenario.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// The value for comparison; `None` if the scenario has no such value, or if pgbench is missing.
    pub(crate) baseline: Option<f64>,
}

impl Measured {
    fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.value / baseline)
    }
}

impl Goal {
    fn number(self) -> Option<f64> {
        match self {
            Self::RatioAtLeast(goal)
            | Self::RatioAtMost(goal)
            | Self::RatioWithin(goal)
            | Self::RatioOrAtMost(goal, _)
            | Self::AtMost(goal) => Some(goal),
            Self::Nothing => None,
        }
    }

    fn is_met(self, measured: &Measured) -> Option<bool> {
        match self {
            Self::RatioAtLeast(goal) => measured.ratio().map(|ratio| ratio >= goal),
            Self::RatioAtMost(goal) => measured.ratio().map(|ratio| ratio <= goal),
            Self::RatioWithin(goal) => measured.ratio().map(|ratio| (ratio - 1.0).abs() <= goal),
            Self::RatioOrAtMost(ratio, value) => {
                let is_little = measured.value <= value;
                measured.ratio().map(|measured| measured <= ratio || is_little)
            }
            Self::AtMost(goal) => Some(measured.value <= goal),
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
            Self::RatioOrAtMost(ratio, value) => out.pad(&format!("<= {ratio} x, {value}")),
            Self::AtMost(goal) => out.pad(&format!("<= {goal}")),
            Self::Nothing => out.pad("-"),
        }
    }
}

/// A line of the report.
struct Line {
    scenario: &'static Scenario,
    outcome: Outcome,
}

enum Outcome {
    Measured(Measured),
    NotAvailable(String),
    Failed(String),
}

/// The results of all requested scenarios.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    caveat: Option<String>,
}

impl Report {
    pub(crate) fn new(caveat: Option<String>) -> Self {
        Self { lines: Vec::new(), caveat }
    }

    /// Records the results of these scenarios, which were measured together.
    pub(crate) fn add(&mut self, names: &[&'static str], outcome: Result<Vec<Measured>>) {
        let (mut measured, failure) = match outcome {
            Ok(measured) => (measured, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        for scenario in SCENARIOS.iter().filter(|scenario| names.contains(&scenario.name)) {
            let found = measured.iter().position(|measured| measured.name == scenario.name);
            let outcome = match (found, &failure) {
                (Some(found), _) => Outcome::Measured(measured.swap_remove(found)),
                (None, Some(failure)) => Outcome::of(failure),
                (None, None) => Outcome::Failed("it was not measured".to_owned()),
            };
            let line = Line { scenario, outcome };
            eprintln!("{line}");
            self.lines.push(line);
        }
    }

    /// Whether a scenario failed. A missed goal is not a failure: machines differ.
    pub(crate) fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    /// Writes the results as JSON, and returns the path.
    pub(crate) fn save(&self) -> Result<PathBuf> {
        // Cargo's directory for temporary files of tests and benchmarks is in the target directory.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target directory")?;
        let directory = target.join("benchmark");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join("results.json");
        let list: Vec<_> = self.lines.iter().map(Line::json).collect();
        std::fs::write(&path, serde_json::to_string_pretty(&list)? + "\n")?;
        Ok(path)
    }
}

impl Outcome {
    fn of(failure: &Failure) -> Self {
        if let Some(reason) = failure.downcast_ref::<NotAvailable>() {
            return Self::NotAvailable(reason.to_string());
        }
        if failure.downcast_ref::<tonic::Status>().is_some_and(|s| s.code() == tonic::Code::Unimplemented) {
            return Self::NotAvailable("the service does not implement it".to_owned());
        }
        Self::Failed(failure.to_string())
    }
}

impl Line {
    fn json(&self) -> serde_json::Value {
        let Self { scenario: Scenario { name, unit, goal }, outcome } = self;
        let measured = match outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::NotAvailable(_) | Outcome::Failed(_) => None,
        };
        json!({
            "scenario": name,
            "value": measured.map(|measured| measured.value),
            "unit": unit,
            "baseline": measured.and_then(|measured| measured.baseline),
            "ratio": measured.and_then(Measured::ratio),
            "goal": goal.number(),
            "met": measured.and_then(|measured| goal.is_met(measured)),
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario: Scenario { name, unit, goal }, outcome } = self;
        write!(out, "{name:<22}")?;
        let measured = match outcome {
            Outcome::Measured(measured) => measured,
            Outcome::NotAvailable(reason) => return write!(out, "  not available: {reason}"),
            Outcome::Failed(reason) => return write!(out, "  FAILED: {reason}"),
        };
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), readable);
        let met = match goal.is_met(measured) {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        write!(
            out,
            "{value:>10} {unit:<8}{baseline:>10}{ratio:>8}  {goal:<13} {met}",
            value = readable(measured.value),
            baseline = number(measured.baseline),
            ratio = number(measured.ratio()),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<22}{:>10} {:<8}{:>10}{:>8}  {:<13} met",
            "scenario", "value", "unit", "baseline", "ratio", "goal"
        )?;
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        if let Some(caveat) = &self.caveat {
            writeln!(out, "{caveat}")?;
        }
        Ok(())
    }
}

/// Formats a number with its significant digits.
fn readable(number: f64) -> String {
    match number {
        number if number >= 100.0 => format!("{number:.0}"),
        number if number >= 10.0 => format!("{number:.1}"),
        number => format!("{number:.3}"),
    }
}
