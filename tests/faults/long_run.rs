//! Runs all scenarios one after the other, each at the promised size, and makes the table of results.

use std::any::Any;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::run::{Run, Scenario, Size};
use super::table::{self, Row};
use super::{
    cancels, clock, crowds, cuts, deadlines, etags, failovers, kills, pool, readers, restarts, silences,
    stops, versions,
};

/// In the order of docs/robustness.md.
const ALL: &[&Scenario] = &[
    &kills::SERVER,
    &kills::POSTGRES,
    &kills::BOTH,
    &kills::REPLICA,
    &failovers::PROMOTE,
    &failovers::SILENT_HOST,
    &failovers::LOST_STANDBY,
    &deadlines::TERMINATED,
    &deadlines::SILENT,
    &silences::STOPPED,
    &silences::HALF_OPEN,
    &cuts::AT_COMMIT,
    &cuts::OF_CLIENTS,
    &cuts::HALF_OPEN,
    &pool::EXHAUSTED,
    &cancels::MANY,
    &readers::WATCHERS,
    &readers::SENDERS,
    &readers::IDLE,
    &crowds::DUPLICATES,
    &crowds::WRITERS,
    &etags::CONTENDED,
    &stops::SIGTERM,
    &restarts::ROLLING,
    &clock::JUMPS,
    &versions::AFTER,
    &versions::VERSION_BEFORE,
];

/// The variable that selects scenarios by name, separated by commas.
const ONLY: &str = "CRM_FAULTS_ONLY";

/// The file of the table, below `target/tmp`, or below `docs` if [`RECORD`] is set.
const FILE: &str = "faults.md";

/// The variable with which a run writes its rows into the table of docs.
const RECORD: &str = "CRM_FAULTS_RECORD";

/// When a scenario is aborted: several times the duration of the longest one.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Returns the selected scenarios.
fn chosen() -> Vec<&'static Scenario> {
    let Ok(names) = std::env::var(ONLY) else { return ALL.to_vec() };
    let find = |name: &str| {
        let found = ALL.iter().copied().find(|scenario| scenario.name == name);
        found.unwrap_or_else(|| panic!("{ONLY}: no scenario {name:?}; there are {}", known()))
    };
    names.split(',').map(|name| find(name.trim())).collect()
}

fn known() -> String {
    ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
}

/// Runs a scenario until it ends or fails.
async fn measure(scenario: &'static Scenario) -> Row {
    let run = Run::begin(scenario, Size::Long);
    let (seed, told) = (run.seed, run.told());
    let began = Instant::now();
    // Not as a task: a scenario blocks its thread while it starts a program. A worker of the runtime would then not
    // run its queued tasks, such as the proxy to which the program connects.
    let playing = AssertUnwindSafe((scenario.play)(run)).catch_unwind();
    let broken = match tokio::time::timeout(LIMIT, playing).await {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(words(panic)),
        Err(_) => Some(format!("given up after {LIMIT:?}")),
    };
    let took = began.elapsed();
    let mut reached = told.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
    if let Some(why) = &broken {
        let _ = write!(reached, " **BROKEN**: {why}");
    }
    Row { scenario, reached, kept: broken.is_none(), took, seed }
}

/// Returns the message of a panic.
fn words(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("a panic", |text| *text).to_owned(),
    }
}

#[ignore = "long: every fault as often as is promised"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_long_run() {
    let (file, present) = if std::env::var_os(RECORD).is_some() {
        (recorded(), std::fs::read_to_string(recorded()).expect("the table"))
    } else {
        (Path::new(env!("CARGO_TARGET_TMPDIR")).join(FILE), String::new())
    };
    let mut rows = Vec::new();
    for scenario in chosen() {
        rows.push(measure(scenario).await);
        // After each scenario, so that an interrupted run leaves its results.
        std::fs::write(&file, table::with(&present, ALL, &rows)).expect("a file for the table");
    }
    let broken: Vec<&str> = rows.iter().filter(|row| !row.kept).map(|row| row.scenario.name).collect();
    let table = table::with("", ALL, &rows);
    writeln!(std::io::stderr(), "\n{table}\nThe table is in {} too.", file.display())
        .expect("standard error");
    assert!(broken.is_empty(), "promises were broken by {broken:?}");
}

/// Returns the file of the table of docs.
fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(FILE)
}

#[test]
fn the_table_has_every_scenario_as_it_is() {
    let present = std::fs::read_to_string(recorded()).expect("the table");
    let missing = table::missing(&present, ALL);
    assert!(
        missing.is_empty(),
        "run {missing:?} with {RECORD}=1: their rows are of other scenarios, or not there"
    );
    assert_eq!(table::with(&present, ALL, &[]), present, "the table was edited");
    assert!(!present.contains("**BROKEN**"), "a promise was broken");
}

#[test]
fn every_scenario_has_a_name_of_its_own() {
    let mut names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
