//! Finds, verifies and stops a Postgres that an earlier run left on a data directory.
//!
//! The caller holds the storage's lock, so no living process of ours serves this directory.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fault::Fault;

/// A fast shutdown writes a checkpoint, which may take this long on a slow disk.
const FAST_LIMIT: Duration = Duration::from_secs(20);
/// An immediate shutdown writes nothing; after this the process is killed.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
/// The kernel removes a killed process as soon as it can.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// Short enough not to be noticed, long enough for a scan of all processes each time.
const POLL: Duration = Duration::from_millis(10);

/// Whether the data is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// The data will be used: end with a checkpoint.
    Keep,
    /// The data will be removed: end at once.
    Throwaway,
}

/// Stops every Postgres process on `pgdata`, and removes a `postmaster.pid` that would prevent a new start.
pub(crate) fn clear(pgdata: &Path, haste: Haste) -> Result<(), Fault> {
    let pid_file = pgdata.join("postmaster.pid");
    // A clean end removes the file, so without it no process is left.
    let Ok(text) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    let postmaster = text.lines().next().and_then(|line| line.trim().parse().ok());
    let postmaster = postmaster.and_then(Pid::from_raw);
    let steps = [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT), (Signal::KILL, KILL_LIMIT)];
    let first = usize::from(haste == Haste::Throwaway);
    for (signal, limit) in &steps[first..] {
        let users = users(pgdata, postmaster);
        if users.is_empty() {
            break;
        }
        tracing::warn!(dir = %pgdata.display(), ?signal, "stopping a Postgres that an earlier run left");
        for pid in &users {
            // The helpers end with their postmaster. If it is gone, they get the signal themselves. A process that
            // has ended meanwhile is fine.
            if postmaster.is_none_or(|main| *pid == main || !users.contains(&main)) {
                let _ = kill_process(*pid, *signal);
            }
        }
        wait_gone(pgdata, postmaster, *limit);
    }
    if let Some(pid) = users(pgdata, postmaster).first() {
        return Err(Fault::Orphan { path: pgdata.to_owned(), pid: pid.as_raw_pid().cast_unsigned() });
    }
    match postmaster {
        Some(pid) => remove_misleading(&pid_file, pid),
        None => Ok(()),
    }
}

/// Removes the pid file if its number now belongs to another process, which is common in containers. Otherwise
/// Postgres would believe that it runs already.
fn remove_misleading(pid_file: &Path, pid: Pid) -> Result<(), Fault> {
    if test_kill_process(pid).is_err() {
        return Ok(());
    }
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::io("remove a stale file", pid_file)(error))
        }
        _ => Ok(()),
    }
}

fn wait_gone(pgdata: &Path, postmaster: Option<Pid>, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !users(pgdata, postmaster).is_empty() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

/// Returns the Postgres processes on a data directory: each has that name, and the directory as its working
/// directory.
#[cfg(target_os = "linux")]
fn users(pgdata: &Path, _postmaster: Option<Pid>) -> Vec<Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let dir = fs::read_link(entry.path().join("cwd")).ok()?;
            (name.trim_end() == "postgres" && dir == pgdata).then_some(pid)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// Without /proc only the postmaster is found, by its command line, which names the directory.
#[cfg(not(target_os = "linux"))]
fn users(pgdata: &Path, postmaster: Option<Pid>) -> Vec<Pid> {
    let is_ours = |pid: &Pid| {
        let mut ps = std::process::Command::new("ps");
        ps.args(["-ww", "-o", "command=", "-p", &pid.as_raw_pid().to_string()]);
        crate::run::run(ps, None, crate::run::PROBE_LIMIT).is_ok_and(|done| {
            let dir = pgdata.display().to_string();
            done.output.contains("postgres") && done.output.contains(&dir)
        })
    };
    postmaster.into_iter().filter(is_ours).collect()
}
