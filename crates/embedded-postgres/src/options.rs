//! What a program chooses: where the data is, how long it is kept, and what things are called.

use std::env;
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// Postgres's own limit on connections, unless a program chooses another.
const MAX_CONNECTIONS: u16 = 100;

/// The name that Postgres itself gives to the first user and the first database.
pub(crate) const POSTGRES: &str = "postgres";

/// Longer names of users and databases are cut by Postgres.
const LONGEST_NAME: usize = 63;

/// The settings of [`Embedded::start`](crate::Embedded::start).
#[derive(Debug, Clone)]
pub struct Options {
    /// The program's name. Names of temporary directories begin with it, and downloads are kept in a directory of
    /// this name.
    pub program: String,
    /// The place of the data.
    pub storage: Storage,
    /// Where `postgres` and `initdb` are; `None` to search for them.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit survives a crash of the machine.
    pub durability: Durability,
    /// Postgres' own limit on connections. Each costs some memory even if it is not used.
    pub max_connections: u16,
    /// The superuser, who owns everything. It must stay the same for the same storage.
    pub user: String,
    /// The database that [`Embedded::url`](crate::Embedded::url) names. It must stay the same for the same storage.
    pub database: String,
    /// What errors call the settings that they advise to change.
    pub terms: Terms,
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

/// How the program's users know the settings that errors advise to change, such as `--data-dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The setting behind [`Options::storage`]; follows "choose another".
    pub data_dir: &'static str,
    /// The setting behind [`Options::bin_dir`].
    pub bin_dir: &'static str,
    /// The setting with the URL of a running server to use instead; `None` if the program has no such setting.
    pub server: Option<&'static str>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { data_dir: "data directory", bin_dir: "`bin_dir`", server: None }
    }
}

impl Options {
    /// Returns the usual settings for the program of this name: full durability, 100 connections, and a user and a
    /// database that are both called `postgres`.
    #[must_use]
    pub fn new(program: impl Into<String>, storage: Storage) -> Self {
        Self {
            program: program.into(),
            storage,
            bin_dir: None,
            durability: Durability::Full,
            max_connections: MAX_CONNECTIONS,
            user: POSTGRES.to_owned(),
            database: POSTGRES.to_owned(),
            terms: Terms::default(),
        }
    }

    /// Fails if a name has characters that a path, a URL or SQL would need escaped.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let names = [
            ("the program's name", &self.program),
            ("the user's name", &self.user),
            ("the database's name", &self.database),
        ];
        match names.into_iter().find(|(_, name)| !is_plain(name)) {
            None => Ok(()),
            Some((what, name)) => Err(Fault::Name { what, name: name.clone() }),
        }
    }
}

/// The directory of a program's data if none is given.
///
/// For a program `shop` as root: `/var/lib/shop`. For others: `$XDG_DATA_HOME/shop` or `~/.local/share/shop`, on macOS
/// `~/Library/Application Support/shop`.
#[must_use]
pub fn default_data_dir(program: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return of_root(program);
    }
    let data = match env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => {
            let shelf =
                if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
            env::home_dir().unwrap_or_default().join(shelf)
        }
    };
    data.join(program)
}

/// Where data of services is usually kept.
pub(crate) fn of_root(program: &str) -> PathBuf {
    Path::new("/var/lib").join(program)
}

/// Whether a name is a letter and then letters, digits, `_` and `-`.
fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_need_no_escaping() {
        for plain in ["shop", "Shop-2_b", &"x".repeat(LONGEST_NAME)] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in ["", "2shop", "a b", "a/b", "a'b", "a\"b", "é", "..", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(!is_plain(other), "{other}");
        }
        let options = Options::new("shop", Storage::Persistent(PathBuf::new()));
        assert!(options.check().is_ok());
        let refused = Options { user: "a b".to_owned(), ..options }.check();
        assert!(matches!(refused, Err(Fault::Name { what: "the user's name", .. })));
    }
}
