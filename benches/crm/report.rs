//! The table of results, and what is said below it.

mod compare;
mod figure;
mod goals;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::costs::Cost;
use crate::machine::{Others, Summary};
use crate::{Failure, NotAvailable, Result};

pub(crate) use compare::Earlier;
pub(crate) use figure::{Figure, Measured};
pub(crate) use goals::{NEIGHBOUR, SCENARIOS, Scenario};

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

/// Scenarios that were measured together, with the seconds that they took, and what others did meanwhile.
struct Group {
    names: Vec<&'static str>,
    seconds: f64,
    others: Option<Others>,
}

/// The results of all requested scenarios.
pub(crate) struct Report {
    lines: Vec<Line>,
    groups: Vec<Group>,
    costs: Vec<Cost>,
    machine: Option<Summary>,
    earlier: Option<Earlier>,
    caveat: Option<String>,
}

impl Report {
    /// Returns an empty report, to be compared with an earlier run.
    pub(crate) fn new(earlier: Option<Earlier>, caveat: Option<String>) -> Self {
        Self { lines: Vec::new(), groups: Vec::new(), costs: Vec::new(), machine: None, earlier, caveat }
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

    /// Records how long these scenarios took, which were measured together.
    pub(crate) fn took(&mut self, names: &[&'static str], seconds: f64, others: Option<Others>) {
        self.groups.push(Group { names: names.to_vec(), seconds, others });
    }

    /// Records what is known only at the end.
    pub(crate) fn end(&mut self, costs: Vec<Cost>, machine: Summary) {
        self.costs = costs;
        self.machine = Some(machine);
    }

    /// Whether a scenario failed. A missed goal is not a failure: machines differ.
    pub(crate) fn has_failures(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    /// Writes the results as JSON into the directory of the benchmark and, if there is one, to `more`. Returns the
    /// paths.
    pub(crate) fn save(&self, more: Option<&Path>) -> Result<Vec<PathBuf>> {
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        let mut paths = vec![directory()?.join("results.json")];
        paths.extend(more.map(Path::to_owned));
        for path in &paths {
            std::fs::write(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(paths)
    }

    fn json(&self) -> Value {
        json!({
            "rows": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "cpu": self.costs.iter().map(Cost::json).collect::<Vec<_>>(),
            "machine": self.machine.as_ref().map(Summary::json),
            "scenarios": self.groups.iter().map(Group::json).collect::<Vec<_>>(),
            "warnings": self.warnings(),
        })
    }

    /// Returns what makes the results doubtful.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let much = |figure: &Figure| figure.variation() > figure::STEADY;
        let percent = |figure: Figure| 100.0 * figure.variation();
        if let Some(pace) = self.machine.as_ref().map(|machine| machine.pace).filter(much) {
            let percent = percent(pace);
            warnings.push(format!("the machine was not steady: its pace varied by {percent:.0} %"));
        }
        for line in &self.lines {
            if let Some(baseline) = line.yardstick().filter(much) {
                let (name, percent, spread) = (line.scenario.name, percent(baseline), baseline.spread());
                warnings.push(format!("{name}: pgbench varied by {percent:.0} % between rounds ({spread})"));
            }
        }
        warnings
    }
}

/// Returns the directory for files of the benchmark, which is there.
pub(crate) fn directory() -> Result<PathBuf> {
    let directory = target()?.join("benchmark");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Returns the directory of all that cargo builds.
pub(crate) fn target() -> Result<&'static Path> {
    // Cargo's directory for temporary files of tests and benchmarks is in the target directory.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or_else(|| "there is no target directory".into())
}

impl Group {
    fn json(&self) -> Value {
        let Self { names, seconds, others } = self;
        json!({ "names": names, "seconds": seconds, "others_percent": others.map(|others| others.busy) })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, seconds, others } = self;
        let others = others.map_or_else(|| "-".to_owned(), |others| format!("{:.0}", others.busy));
        write!(out, "{seconds:>9.1}{others:>24}  {}", names.join(", "))
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
    fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::NotAvailable(_) | Outcome::Failed(_) => None,
        }
    }

    /// Returns the baseline if pgbench measured it.
    fn yardstick(&self) -> Option<Figure> {
        self.measured().filter(|measured| measured.is_yardstick)?.baseline
    }

    fn json(&self) -> Value {
        let Scenario { name, unit, goal } = self.scenario;
        let measured = self.measured();
        let figure = measured.map(|measured| measured.figure);
        let baseline = measured.and_then(|measured| measured.baseline);
        json!({
            "scenario": name,
            "value": figure.map(|figure| figure.value),
            "min": figure.map(|figure| figure.min),
            "max": figure.map(|figure| figure.max),
            "rounds": figure.map(|figure| figure.rounds),
            "unit": unit,
            "baseline": baseline.map(|baseline| baseline.value),
            "baseline_min": baseline.map(|baseline| baseline.min),
            "baseline_max": baseline.map(|baseline| baseline.max),
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
        let met = match goal.is_met(measured) {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let Measured { figure, baseline, .. } = measured;
        let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), readable);
        write!(
            out,
            "{value:>8} {unit:<12}{spread:<14}{baseline:>8} {baseline_spread:<14}{ratio:>6}  {goal:<16} {met}",
            value = readable(figure.value),
            spread = figure.spread(),
            baseline = number(baseline.map(|baseline| baseline.value)),
            baseline_spread = baseline.map(Figure::spread).unwrap_or_default(),
            ratio = number(measured.ratio()),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<22}{:>8} {:<12}{:<14}{:>8} {:<14}{:>6}  {:<16} met",
            "scenario", "value", "unit", "min–max", "baseline", "min–max", "ratio", "goal"
        )?;
        list(out, &self.lines)?;
        if !self.costs.is_empty() {
            writeln!(out, "\n{}", Cost::HEADER)?;
            list(out, &self.costs)?;
        }
        if let Some(earlier) = &self.earlier {
            writeln!(out, "\n{}", compare::HEADER)?;
            list(out, &earlier.compare(&self.lines, &self.costs))?;
        }
        writeln!(out, "\n  seconds  others, % of a core  scenarios")?;
        list(out, &self.groups)?;
        writeln!(out)?;
        list(out, &self.machine.as_ref().map(Summary::lines).unwrap_or_default())?;
        for warning in self.warnings() {
            writeln!(out, "WARNING: {warning}")?;
        }
        list(out, self.caveat.as_slice())
    }
}

/// Writes each item on a line of its own.
fn list(out: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    items.iter().try_for_each(|item| writeln!(out, "{item}"))
}

/// Formats a number with its significant digits.
fn readable(number: f64) -> String {
    match number {
        number if number >= 100.0 => format!("{number:.0}"),
        number if number >= 10.0 => format!("{number:.1}"),
        number => format!("{number:.3}"),
    }
}
