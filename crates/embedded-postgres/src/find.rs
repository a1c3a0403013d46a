//! Finds the binaries: by the setting, in PATH, in the usual places, among kept downloads, or by a new download.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::fault::{Fault, SUPPORTED};
use crate::fetch;
use crate::options::Options;
use crate::run;

/// Where packages put binaries that are not in PATH; a `*` stands for a directory with a version in its name.
const PLACES: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// Binaries that were tried and that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// The real directory of `postgres` and `initdb`: `share/` is found relative to it.
    pub(crate) bin_dir: PathBuf,
    /// The version as the binaries print it, such as `15.18`.
    pub(crate) version: String,
    /// The part of the version that decides whether they can read a data directory.
    pub(crate) major: u32,
}

/// Finds binaries that run as `account`. If `wanted` names a major version, they have that version.
///
/// The error's text lists what was tried.
pub(crate) fn find(
    account: &Account,
    options: &Options,
    wanted: Option<u32>,
) -> Result<Installation, Refusal> {
    let mut refused = Vec::new();
    if let Some(dir) = &options.bin_dir {
        // A directory that was asked for is never skipped for another one.
        return probe(account, dir, wanted).map_err(|why| Refusal::BinDir { why });
    }
    let mut seen = HashSet::new();
    for dir in candidates() {
        let Ok(dir) = fs::canonicalize(dir.join("postgres")) else {
            continue;
        };
        let Some(dir) = dir.parent().filter(|dir| seen.insert(dir.to_path_buf())) else {
            continue;
        };
        match probe(account, dir, wanted) {
            Ok(found) => return Ok(found),
            Err(why) => refused.push(format!("{}: {why}", dir.display())),
        }
    }
    for package in fetch::packages(wanted) {
        let tried = package.bin_dir(account, &options.program).and_then(|dir| probe(account, &dir, wanted));
        match tried {
            Ok(found) => return Ok(found),
            Err(why) => refused.push(format!("{package}: {why}")),
        }
    }
    if refused.is_empty() {
        refused.push("nothing in PATH or the usual places".to_owned());
    }
    Err(Refusal::Nothing { tried: refused.join("; ") })
}

/// Why there are no binaries. [`Refusal::into_fault`] adds the storage that needed them.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The directory of the setting cannot be used.
    BinDir {
        /// The reason.
        why: String,
    },
    /// Nothing was found and nothing was downloaded.
    Nothing {
        /// What was tried, and why each candidate was refused.
        tried: String,
    },
}

impl Refusal {
    /// Returns the fault for the storage at `path`, made by the major version `wanted` if it exists.
    pub(crate) fn into_fault(self, options: &Options, path: &Path, wanted: Option<u32>) -> Fault {
        match (self, wanted) {
            (Self::BinDir { why }, _) => {
                Fault::BinDir { path: options.bin_dir.as_deref().unwrap_or(path).to_owned(), why }
            }
            (Self::Nothing { tried }, Some(storage)) => {
                Fault::WrongMajor { path: path.to_owned(), storage, tried }
            }
            (Self::Nothing { tried }, None) => Fault::NoPostgres { tried },
        }
    }
}

/// The directories that may hold binaries, best first.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    in_path.into_iter().chain(PLACES.iter().flat_map(|place| expand(place)))
}

/// The directories that match a pattern with one `*`, newest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return Vec::new();
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let major = leading_number(name.strip_prefix(prefix)?)?;
            let dir = Path::new(parent).join(name).join(after.trim_start_matches('/'));
            Some((major, dir))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Runs `postgres --version` as the account that will run it. This also detects missing libraries and closed
/// directories.
fn probe(account: &Account, dir: &Path, wanted: Option<u32>) -> Result<Installation, String> {
    let bin_dir = fs::canonicalize(dir).map_err(|error| error.to_string())?;
    if !bin_dir.join("initdb").is_file() {
        return Err("there is no initdb beside postgres".to_owned());
    }
    let mut command = Command::new(bin_dir.join("postgres"));
    command.arg("--version");
    account.apply(&mut command);
    let done = run::run(command, None, run::PROBE_LIMIT)
        .map_err(|error| format!("postgres does not run: {error}"))?;
    if !done.ok {
        return Err(format!("postgres does not run: {}", done.tail()));
    }
    let (version, major) = parse_version(&done.output)
        .ok_or_else(|| format!("its version is not understood: {}", done.output.trim()))?;
    if !SUPPORTED.contains(&major) {
        return Err(format!("version {version} is not supported"));
    }
    if wanted.is_some_and(|wanted| wanted != major) {
        return Err(format!("is version {version}"));
    }
    Ok(Installation { bin_dir, version, major })
}

/// Takes `15.18` and `15` out of `postgres (PostgreSQL) 15.18 (Debian 15.18-0)`.
fn parse_version(output: &str) -> Option<(String, u32)> {
    let version =
        output.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    Some((version.to_owned(), leading_number(version)?))
}

/// The number that a text begins with.
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|found: char| !found.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Storage;

    #[test]
    fn versions_of_all_packagers_are_read() {
        let of = |text| parse_version(text).map(|(version, major)| format!("{version}/{major}"));
        assert_eq!(of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18/15"));
        assert_eq!(of("postgres (PostgreSQL) 18beta1").as_deref(), Some("18beta1/18"));
        assert_eq!(of("postgres (EnterpriseDB) 16.3.0").as_deref(), Some("16.3.0/16"));
        assert_eq!(of("postgres: not found"), None);
    }

    #[test]
    fn a_bin_dir_that_does_not_serve_is_refused_and_nothing_else_is_tried() {
        let storage = Storage::Ephemeral(env::temp_dir());
        let options = Options { bin_dir: Some("/nonexistent".into()), ..Options::new("shop", storage) };
        let refused = find(&Account::Own, &options, None);
        assert!(matches!(refused, Err(Refusal::BinDir { .. })));
    }

    #[test]
    fn newest_versions_come_first_and_by_number() {
        let root = env::temp_dir().join(format!("embedded-postgres-find-{}", uuid::Uuid::new_v4()));
        for name in ["9.6", "14", "16", "common"] {
            fs::create_dir_all(root.join(name).join("bin")).unwrap();
        }
        let found = expand(&format!("{}/*/bin", root.display()));
        fs::remove_dir_all(&root).unwrap();
        let names: Vec<_> =
            found.iter().map(|dir| dir.strip_prefix(&root).unwrap().display().to_string()).collect();
        assert_eq!(names, ["16/bin", "14/bin", "9.6/bin"]);
    }
}
