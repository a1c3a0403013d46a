//! The program from its operator's view: started, called, stopped, killed and restarted.
#![expect(
    clippy::expect_used,
    reason = "what helps a test fails it in the same way; clippy knows only the functions of tests themselves"
)]

mod bouncer;
mod client;
mod collector;
mod http;

mod command_line;
mod crash;
mod database;
mod deploy;
mod events;
mod health;
mod keys;
mod lifecycle;
mod log;
mod mcp;
mod metrics;
mod migrations;
mod noise;
mod poolers;
mod pressure;
mod shutdown;
mod start_refused;
mod tls;
mod traces;

use crm_testkit::Scratch;

/// The directories of one test of the program.
fn scratch() -> Scratch {
    Scratch::of(env!("CARGO_BIN_EXE_crm-backend"))
}
