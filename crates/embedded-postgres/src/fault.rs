//! What can go wrong. `message.rs` has the words, with what to do next.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The major versions that this crate is known to work with.
pub(crate) const SUPPORTED: RangeInclusive<u32> = 14..=18;

/// What is wrong, for programs that do something about it themselves.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// A name of the options would need escaping in a path, a URL or SQL.
    Name {
        /// Whose name it is.
        what: &'static str,
        /// The name.
        name: String,
    },

    /// There is no usable Postgres on this machine, and none could be downloaded.
    NoPostgres {
        /// What was tried, and why each candidate was refused.
        tried: String,
    },

    /// The directory of [`Options::bin_dir`](crate::Options::bin_dir) cannot be used.
    BinDir {
        /// The directory as given.
        path: PathBuf,
        /// Why it was refused.
        why: String,
    },

    /// The storage was made by a major version whose binaries cannot be obtained.
    WrongMajor {
        /// The storage directory.
        path: PathBuf,
        /// The major version in its `PG_VERSION`.
        storage: u32,
        /// What was found instead.
        tried: String,
    },

    /// Another process serves this storage directory.
    Held {
        /// The storage directory.
        path: PathBuf,
        /// The process that holds it, as noted in the lock file.
        holder: String,
        /// The port of its server, if it runs already.
        port: Option<u16>,
    },

    /// The account that must run Postgres cannot reach the storage directory.
    Unreachable {
        /// The storage directory.
        path: PathBuf,
        /// The ancestor that is closed to the account.
        blocked: PathBuf,
        /// The account's name.
        account: String,
    },

    /// Root may not run Postgres, and there is no other account for it.
    NoAccount,

    /// The storage directory cannot be created or written.
    NotWritable {
        /// The directory or file that was refused.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },

    /// The directory that was chosen is itself a Postgres data directory.
    ForeignCluster {
        /// The directory that was chosen.
        path: PathBuf,
    },

    /// A Postgres left behind by an earlier run does not end.
    Orphan {
        /// The Postgres data directory.
        path: PathBuf,
        /// The process that is still there.
        pid: u32,
    },

    /// `initdb` or `postgres --single` failed.
    Init {
        /// The storage directory.
        path: PathBuf,
        /// The program that failed.
        step: &'static str,
        /// The last lines of what it printed.
        output: String,
    },

    /// Postgres ended before it was ready.
    Start {
        /// The reason.
        why: String,
        /// The path of the log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },

    /// An operation on files or processes failed in a way that has no case of its own.
    Io {
        /// The operation.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Fault {
    /// For `map_err`: returns a [`Fault::Io`] that names the operation and the path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// For `map_err` when the storage is first touched: refusals are [`Fault::NotWritable`].
    pub(crate) fn storage(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::NotWritable { path: path.to_owned(), source }
    }
}
