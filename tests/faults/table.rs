//! The table of results in docs/faults.md, which the long run writes.

use std::fmt::Write as _;
use std::time::Duration;

use super::run::Scenario;

/// What stands above the rows.
const HEAD: &str = "# Faults: what the long run reached

The long run of `tests/faults` writes this table, each row when its scenario ran ([robustness.md](robustness.md#faults) says
how). Do not edit it: a test compares it with the scenarios.

| fault (name) | promised | reached | seconds | seed |
|---|---|---|---:|---:|
";

/// The result of a scenario.
pub(crate) struct Row {
    pub(crate) scenario: &'static Scenario,
    pub(crate) reached: String,
    pub(crate) kept: bool,
    pub(crate) took: Duration,
    pub(crate) seed: u64,
}

/// Returns the text of a table in which these rows replace those of the same scenarios. Scenarios without a row are
/// left out.
pub(crate) fn with(present: &str, all: &[&'static Scenario], rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for scenario in all {
        let begins = begin_of(scenario);
        let new = rows.iter().find(|row| row.scenario.name == scenario.name).map(line);
        let line = new.or_else(|| present.lines().find(|line| line.starts_with(&begins)).map(str::to_owned));
        if let Some(line) = line {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// Returns the scenarios that the table does not have as they are.
pub(crate) fn missing(present: &str, all: &[&'static Scenario]) -> Vec<&'static str> {
    let is_there = |scenario: &Scenario| present.lines().any(|line| line.starts_with(&begin_of(scenario)));
    all.iter().filter(|scenario| !is_there(scenario)).map(|scenario| scenario.name).collect()
}

fn begin_of(Scenario { name, fault, promised, play: _ }: &Scenario) -> String {
    format!("| {fault} (`{name}`) | {promised} | ")
}

fn line(Row { scenario, reached, kept: _, took, seed }: &Row) -> String {
    let reached = rounded(&reached.trim().replace('\n', " ").replace('|', "\\|"));
    format!("{}{reached} | {} | {seed} |", begin_of(scenario), took.as_secs())
}

/// Rounds the durations in a text, such as `91.129045ms`, to three digits: `91.1 ms`.
fn rounded(text: &str) -> String {
    let durations = regex::Regex::new(r"\b(\d+\.\d+)(ms|s|µs)\b").expect("a pattern");
    let round = |found: &regex::Captures<'_>| {
        let number: f64 = found[1].parse().expect("a number");
        let places = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
        format!("{number:.places$} {}", &found[2])
    };
    durations.replace_all(text, round).into_owned()
}

#[test]
fn durations_are_rounded() {
    let text =
        "slowest 91.129045ms, healed in 1.063568025s after 300ms; 12.8507ms; 484.252589ms; lost 0.5 MiB";
    let short = "slowest 91.1 ms, healed in 1.06 s after 300ms; 12.9 ms; 484 ms; lost 0.5 MiB";
    assert_eq!(rounded(text), short);
}
