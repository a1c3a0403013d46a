//! What the tests, benchmarks and examples of `crm-backend` share: its program as a child process, databases,
//! certificates, measurements and repeatable randomness.
//!
//! It knows the program by its command line, and not by its code, so that the service's own tests can use it. Whatever
//! does not work fails the test that wanted it.
//!
//! A suite says once which program it runs:
//!
//! ```no_run
//! use crm_testkit::{Scratch, Server};
//!
//! fn scratch() -> Scratch {
//!     // In a test of the service: `env!("CARGO_BIN_EXE_crm-backend")`.
//!     Scratch::of("target/debug/crm-backend")
//! }
//!
//! let scratch = scratch();
//! let server = Server::start(&scratch);
//! println!("it listens on {}", server.address);
//! server.terminate().succeeded();
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it in the same way; clippy knows only the functions of tests themselves"
)]

pub mod certificates;
pub mod cluster;
pub mod meter;
mod patience;
mod program;
mod random;
mod scrape;
mod scratch;
mod server;
mod sql;

pub use patience::{LIMIT, eventually, within};
pub use program::{Ended, Program, command, command_of, run};
pub use random::Random;
pub use scrape::Scrape;
pub use scratch::{Postgres, Scratch, scratch_root};
pub use server::Server;
pub use sql::{Row, Sql};
