//! A Postgres of our own, for when no `DATABASE_URL` is given.
//!
//! [`Embedded::start`] finds the binaries (or downloads them once), makes a data directory if
//! there is none, and runs `postgres` on a free port of the loopback address. Everything here
//! blocks and nothing belongs to an async runtime: call it from `spawn_blocking`.
//!
//! What always holds:
//! 1. One process serves a storage directory; a second one learns which process it is (`storage.rs`).
//! 2. The data directory is complete or does not exist: it is created under another name (`cluster.rs`).
//! 3. Postgres does not outlive us: Drop stops it. If we are killed, the kernel stops it on Linux,
//!    and the next start stops it elsewhere (`keeper.rs`, `run.rs`, `orphan.rs`).
//! 4. A downloaded program runs only if its hash is pinned (`fetch.rs`, `packages.rs`).

#![expect(
    clippy::disallowed_methods,
    reason = "all of this blocks, and runs in threads that are no workers of a runtime"
)]

mod account;
mod cluster;
mod ephemeral;
mod error;
mod fetch;
mod find;
mod keeper;
mod orphan;
mod packages;
mod run;
mod server;
mod storage;
#[cfg(test)]
mod tests;
mod unpack;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

pub use error::EmbeddedError;
use find::Installation;
use server::Server;
use storage::Place;

/// The settings of [`Embedded::start`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The place of the data.
    pub storage: Storage,
    /// Where `postgres` and `initdb` are; `None` to search for them.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit survives a crash of the machine.
    pub durability: Durability,
    /// Postgres' own limit on connections. Each costs some memory even if it is not used.
    pub max_connections: u16,
}

/// The place of the data, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In this directory, created if needed, and kept between runs.
    Persistent(PathBuf),
    /// In a new directory below this one, removed at stop.
    Ephemeral(PathBuf),
}

/// Whether a commit survives a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every commit is on the disk before it is answered.
    Full,
    /// No commit waits for the disk. For tests only: a crash of the machine can destroy the data.
    Off,
}

/// The directory of the data if none is given.
///
/// Root: `/var/lib/crm-backend`. Others: `$XDG_DATA_HOME/crm-backend` or
/// `~/.local/share/crm-backend`, on macOS `~/Library/Application Support/crm-backend`.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/crm-backend");
    }
    let data = match env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => {
            let shelf =
                if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
            env::home_dir().unwrap_or_default().join(shelf)
        }
    };
    data.join("crm-backend")
}

/// A running Postgres that belongs to this process; dropping it stops it, which blocks until it has ended.
pub struct Embedded {
    // Dropped first: the server stops before the place, and with it the lock, is released.
    server: Server,
    binaries: Installation,
    password: String,
    url: String,
    place: Place,
}

impl fmt::Debug for Embedded {
    // Without the password, and so without the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("server", &self.server)
            .field("binaries", &self.binaries)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts Postgres, creates what is missing, and returns once it accepts connections.
    ///
    /// # Errors
    ///
    /// Every [`EmbeddedError`] says what is wrong and what to do about it.
    pub fn start(options: &Options) -> Result<Self, EmbeddedError> {
        let place = match &options.storage {
            Storage::Ephemeral(parent) => ephemeral::make(parent)?,
            Storage::Persistent(dir) => Place::open(dir)?,
        };
        let started = Self::start_in(&place, options);
        if started.is_err() && place.is_ephemeral() {
            ephemeral::remove(place.root());
        }
        let (server, binaries, password) = started?;
        let url = url(&password, server.port, cluster::DATABASE);
        Ok(Self { server, binaries, password, url, place })
    }

    fn start_in(place: &Place, options: &Options) -> Result<(Server, Installation, String), EmbeddedError> {
        cluster::sweep(place.root());
        let bin_dir = options.bin_dir.as_deref();
        let major = cluster::major(place)?;
        let binaries = find::find(place.account(), bin_dir, major)
            .map_err(|refusal| refusal.into_error(bin_dir, place.root(), major))?;
        let password = if major.is_some() {
            orphan::clear(&place.pgdata(), orphan::Haste::Keep)?;
            match place.read_password()? {
                Some(password) => password,
                None => cluster::reset_password(place, &binaries, options.durability)?,
            }
        } else {
            cluster::make(place, &binaries, options.durability)?
        };
        let mut server = Server::start(place, &binaries, options)?;
        if let Err(error) = place.note(Some(server.port)) {
            server.stop(false);
            return Err(error);
        }
        tracing::info!(
            version = %binaries.version,
            bin_dir = %binaries.bin_dir.display(),
            data_dir = %place.root().display(),
            port = server.port,
            "the embedded Postgres runs"
        );
        Ok((server, binaries, password))
    }

    /// The URL of the service's database. It has the superuser's password in it, so it must not be logged.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of another database of this server; its name must need no escaping in a URL.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        url(&self.password, self.server.port, database)
    }

    /// The version of Postgres, such as `18.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// The directory of its binaries.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.bin_dir
    }

    /// The storage directory, as for `--data-dir`; Postgres' own data directory is `pgdata` in it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.place.root()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Stops Postgres and waits for its end; removes temporary storage. It does the same as dropping it, but
    /// explicitly.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.server.stop(self.place.is_ephemeral());
        if self.place.is_ephemeral() {
            ephemeral::remove(self.place.root());
        }
    }
}

/// Returns the URL of the service's database on the server that another process runs on a storage directory; see
/// [`EmbeddedError::Held`].
///
/// # Errors
///
/// If the password cannot be read, for example by a user other than the one who runs the server.
pub fn url_of_held(path: &Path, port: u16) -> Result<String, EmbeddedError> {
    let password = storage::read_password(path)?.unwrap_or_default();
    Ok(url(&password, port, cluster::DATABASE))
}

fn url(password: &str, port: u16, database: &str) -> String {
    let user = cluster::USER;
    format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
}
