//! Faults of every kind while clients write and watch: all promises must still be kept.
//!
//! Each scenario runs twice: a short run with all other tests, and a long one with the promised number of faults.
//! `cargo test --release --test faults -- --ignored` runs all long ones, one after the other, and ends with a table
//! of results. `CRM_FAULTS_ONLY` selects some by name. A run prints its seed; `CRM_FAULTS_SEED` repeats a run.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it in the same way; clippy knows only the functions of tests themselves"
)]

mod backends;
mod checker;
mod clerks;
mod client;
mod log;
mod proxy;
mod run;
mod sentries;
mod service;
mod stage;
mod standby;
mod watchers;
mod workload;

mod cancels;
mod clock;
mod crowds;
mod cuts;
mod deadlines;
mod etags;
mod failovers;
mod kills;
mod long_run;
mod pool;
mod readers;
mod readings;
mod restarts;
mod silences;
mod stops;
mod table;
mod versions;

use crm_testkit::Scratch;

/// The directories of one test of the program.
fn scratch() -> Scratch {
    Scratch::of(env!("CARGO_BIN_EXE_crm-backend"))
}
