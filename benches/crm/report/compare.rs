//! A run beside an earlier one, of which the results were written as JSON.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::{Line, Measured, Outcome, readable};
use crate::Result;
use crate::costs::Cost;
use crate::report::Figure;

/// The results of an earlier run.
pub(crate) struct Earlier(Value);

impl Earlier {
    /// Reads what `--json` wrote, or the list of rows that earlier versions of the benchmark wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Value> { Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?) };
        let results =
            read().map_err(|error| format!("no results can be read from {}: {error}", path.display()))?;
        match rows(&results) {
            Some(_) => Ok(Self(results)),
            None => Err(format!("{} has no results of this benchmark", path.display()).into()),
        }
    }

    /// Compares the rows that both runs have.
    pub(super) fn compare(&self, lines: &[Line], costs: &[Cost]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for line in lines {
            if let Outcome::Measured(measured) = &line.outcome {
                let is_rate = line.scenario.unit.ends_with("/s");
                pairs.extend(self.row(measured).and_then(|row| Pair::of_row(row, measured, is_rate)));
            }
        }
        for cost in costs {
            for (process, figure) in cost.figures() {
                let before = self.cost(cost.name()).and_then(|cost| figure_of(cost.get(process)?));
                pairs.extend(before.map(|before| Pair {
                    name: format!("µs of {process} per {}", cost.name()),
                    before,
                    after: figure,
                    ratios: None,
                    is_rate: false,
                }));
            }
        }
        pairs
    }

    fn row(&self, measured: &Measured) -> Option<&Value> {
        rows(&self.0)?.iter().find(|row| row["scenario"].as_str() == Some(measured.name))
    }

    fn cost(&self, name: &str) -> Option<&Value> {
        self.0.get("cpu")?.as_array()?.iter().find(|cost| cost["work"].as_str() == Some(name))
    }
}

fn rows(results: &Value) -> Option<&Vec<Value>> {
    results.get("rows").unwrap_or(results).as_array()
}

/// Returns a figure; one without a spread was measured once.
fn figure_of(json: &Value) -> Option<Figure> {
    let value = json.get("value")?.as_f64()?;
    let number = |name: &str| json.get(name).and_then(Value::as_f64).unwrap_or(value);
    let rounds = json.get("rounds").and_then(Value::as_u64).unwrap_or(1);
    Some(Figure { value, min: number("min"), max: number("max"), rounds: usize::try_from(rounds).ok()? })
}

/// A row of both runs.
pub(super) struct Pair {
    name: String,
    before: Figure,
    after: Figure,
    /// The ratios to the baseline, before and after.
    ratios: Option<(f64, f64)>,
    /// Whether more is better.
    is_rate: bool,
}

impl Pair {
    fn of_row(row: &Value, measured: &Measured, is_rate: bool) -> Option<Self> {
        let ratios = row.get("ratio").and_then(Value::as_f64).zip(measured.ratio());
        let (name, after) = (measured.name.to_owned(), measured.figure);
        Some(Self { name, before: figure_of(row)?, after, ratios, is_rate })
    }

    /// Returns what changed by more than the spread of both runs.
    fn change(&self) -> &'static str {
        let (before, after) = (self.before.reach(), self.after.reach());
        match (after.0 > before.1, after.1 < before.0) {
            (false, false) => "",
            (is_more, _) if is_more == self.is_rate => "better",
            _ => "WORSE",
        }
    }
}

/// The titles of the columns.
pub(super) const HEADER: &str = "compared                             before min–max           now min–max       now/before  ratios       change";

impl fmt::Display for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, before, after, ratios, .. } = self;
        let quotient = match before.value > 0.0 {
            true => format!("{:.2}", after.value / before.value),
            false => "-".to_owned(),
        };
        let ratios = ratios.map_or_else(String::new, |(before, after)| format!("{before:.2} → {after:.2}"));
        let line = format!(
            "{name:<35}{:>8} {:<14}{:>8} {:<14}{quotient:>10}  {ratios:<13}{}",
            readable(before.value),
            before.spread(),
            readable(after.value),
            after.spread(),
            self.change()
        );
        out.write_str(line.trim_end())
    }
}
