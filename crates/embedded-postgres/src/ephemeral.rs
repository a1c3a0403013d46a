//! Temporary storage: created at start, removed at stop, and swept later if its process was killed.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::account::Account;
use crate::error::Error;
use crate::fault::Fault;
use crate::options::Options;
use crate::orphan;
use crate::storage::Place;

/// What follows the program in the names of temporary directories; a random part follows.
const KIND: &str = "-ephemeral-";
/// A new directory can be lost only to a sweep at the very moment it is created. That does not happen twice in a row.
const TRIES: usize = 5;

/// Creates a new directory and holds it, after sweeping those of dead processes.
pub(crate) fn make(parent: &Path, options: &Options) -> Result<Place, Fault> {
    sweep(parent, options);
    let mut lost = None;
    for _ in 0..TRIES {
        let dir = parent.join(format!("{}{}", prefix(options), uuid::Uuid::new_v4().simple()));
        let account = Account::choose(&dir)?;
        fs::DirBuilder::new().mode(account.outer_mode()).create(&dir).map_err(Fault::storage(&dir))?;
        let opened = account
            .own_outer(&dir)
            .map_err(Fault::storage(&dir))
            .and_then(|()| Place::hold(&dir, account, true));
        match opened {
            Ok(place) if place.is_in_place() => return Ok(place),
            Ok(_) => {}
            Err(error) => {
                // After a refusal nothing is left behind. A sweeper that holds the directory removes it itself.
                if !matches!(error, Fault::Held { .. }) {
                    let _ = fs::remove_dir_all(&dir);
                    return Err(error);
                }
                lost = Some(error);
            }
        }
    }
    Err(lost.unwrap_or(Fault::NotWritable {
        path: parent.to_owned(),
        source: std::io::ErrorKind::ResourceBusy.into(),
    }))
}

/// Removes a directory whose lock is held. The lock file goes last, so that a sweep can finish what a kill
/// interrupted.
pub(crate) fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name() == "lock" {
            continue;
        }
        let path = entry.path();
        // What remains is left to the next sweep.
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(dir = %dir.display(), %error, "a temporary directory was not removed");
    }
}

/// Removes the directories of killed processes. They are recognized by name, owner and a free lock file.
fn sweep(parent: &Path, options: &Options) {
    let prefix = prefix(options);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            sweep_one(&entry.path(), options);
        }
    }
}

fn prefix(options: &Options) -> String {
    options.program.clone() + KIND
}

fn sweep_one(dir: &Path, options: &Options) {
    let us = rustix::process::geteuid().as_raw();
    let ours = |path: &Path| fs::symlink_metadata(path).ok().filter(|found| found.uid() == us);
    if !ours(dir).is_some_and(|found| found.is_dir()) {
        return;
    }
    if !ours(&dir.join("lock")).is_some_and(|found| found.is_file()) {
        return;
    }
    // A lock that is taken is the usual case: the directory is in use.
    let Ok(place) = Place::hold(dir, Account::Own, true) else {
        return;
    };
    if let Err(fault) = orphan::clear(&place.pgdata(), orphan::Haste::Throwaway) {
        let error = Error::new(fault, options);
        tracing::warn!(%error, "a temporary directory is still in use");
        return;
    }
    tracing::debug!(dir = %dir.display(), "removing what a killed process left");
    remove(dir);
}
