//! Faults of every kind, while clients write and watch: what is promised holds all the same.
//!
//! Each scenario runs twice: a short one with all other tests, and a long one, with as many faults as
//! are promised to do no harm. `cargo test --release --test faults -- --ignored` runs all long ones, one
//! after the other, and ends with a table of what they reached; `CRM_FAULTS_ONLY` asks for some of them by
//! their names. A run prints its seed; `CRM_FAULTS_SEED` asks for the same run again.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it in the same way; clippy knows only the functions of tests themselves"
)]

#[expect(dead_code, reason = "the tests of the process use the rest of it")]
#[path = "../process/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "the tests of the process use the rest of it")]
#[path = "../process/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the tests of the process use the rest of it")]
#[path = "../process/scrape.rs"]
mod scrape;

mod backends;
mod checker;
mod clerks;
mod client;
mod log;
mod meter;
mod proxy;
mod random;
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
mod versions;
