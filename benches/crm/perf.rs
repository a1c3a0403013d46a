//! Profiles of the service and Postgres by `perf`, while a row is measured: not while tables are filled, and not while
//! pgbench runs.

mod flames;
mod stacks;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crm_testkit::meter;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::costs::Processes;
use crate::{Result, report};

/// The samples per second of each processor: a prime, so that they do not keep step with anything.
const FREQUENCY: &str = "--freq=499";

/// How stacks are found, and the bytes of each that are kept: there are no frame pointers in a release build.
const STACKS: &str = "--call-graph=dwarf,16384";

/// How long `perf` may take to write what it has.
const LIMIT: Duration = Duration::from_secs(60);

/// The message if there is no perf.
const MISSING: &str = "There is no perf in PATH, so no row can be profiled. On Debian it comes with `apt install linux-perf`, \
     on Ubuntu with linux-tools-generic.";

/// The profile that this run makes, if any.
static PROFILE: OnceLock<Profile> = OnceLock::new();

/// A profile of a row.
struct Profile {
    row: String,
    processes: Processes,
    directory: PathBuf,
    /// The recordings: one for each round.
    recorded: Mutex<Vec<PathBuf>>,
}

/// Prepares the profile of a row. Fails if there is no perf.
pub(crate) async fn prepare(row: &str, processes: Processes) -> Result<()> {
    let version = Command::new("perf").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.await.is_ok_and(|status| status.success()) {
        return Err(MISSING.into());
    }
    let directory = report::directory()?;
    let profile = Profile { row: row.to_owned(), processes, directory, recorded: Mutex::default() };
    PROFILE.set(profile).map_err(|_| "there is a profile already".into())
}

/// Begins to record a round, if this run makes a profile.
pub(crate) async fn begin() -> Result<Option<Recording>> {
    match PROFILE.get() {
        Some(profile) => profile.begin().await.map(Some),
        None => Ok(None),
    }
}

/// Ends a recording, if there is one.
pub(crate) async fn end(recording: Option<Recording>) -> Result<()> {
    match recording {
        Some(recording) => recording.end().await,
        None => Ok(()),
    }
}

/// Draws the profile, if this run made one, and returns the path.
pub(crate) async fn draw() -> Result<Option<PathBuf>> {
    match PROFILE.get() {
        Some(profile) => profile.draw().await.map(Some),
        None => Ok(None),
    }
}

/// A round that is recorded.
pub(crate) struct Recording {
    perf: Child,
    path: PathBuf,
    profile: &'static Profile,
}

impl Profile {
    async fn begin(&'static self) -> Result<Recording> {
        let Processes { service, postgres } = self.processes;
        let pids = [service, postgres].into_iter().chain(meter::children(postgres));
        let pids: Vec<_> = pids.map(|pid| pid.as_raw_pid().to_string()).collect();
        let number = self.recorded.lock().unwrap_or_else(PoisonError::into_inner).len();
        let path = self.directory.join(format!("perf-{}-{number}.data", self.row));
        let mut command = Command::new("perf");
        command.args(["record", "--quiet", FREQUENCY, STACKS, "--pid", &pids.join(",")]);
        command.arg("--output").arg(&path);
        // A Ctrl-C must reach only the benchmark.
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).process_group(0);
        Ok(Recording { perf: command.spawn()?, path, profile: self })
    }

    async fn draw(&self) -> Result<PathBuf> {
        let paths = self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if paths.is_empty() {
            return Err(format!("nothing of {} was recorded", self.row).into());
        }
        let service = self.processes.service.as_raw_pid();
        let mut root = stacks::Frame::default();
        for path in paths {
            let mut command = Command::new("perf");
            // Without inlined functions, which take minutes to find.
            command.args(["script", "--no-inline", "--fields", "comm,pid,ip,sym,dso", "--input"]).arg(&path);
            let output =
                command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output().await?;
            if !output.status.success() {
                return Err(format!("perf cannot read {}", path.display()).into());
            }
            stacks::add(&mut root, &String::from_utf8_lossy(&output.stdout), service);
            std::fs::remove_file(&path)?;
        }
        let path = self.directory.join(format!("perf-{}.svg", self.row));
        std::fs::write(&path, flames::svg(&self.row, &root))?;
        Ok(path)
    }
}

impl Recording {
    async fn end(self) -> Result<()> {
        let Self { mut perf, path, profile } = self;
        if let Some(status) = perf.try_wait()? {
            return Err(format!("perf recorded nothing, and ended early: {status}").into());
        }
        let pid = perf.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("perf ended")?;
        kill_process(pid, Signal::INT)?;
        tokio::time::timeout(LIMIT, perf.wait()).await.map_err(|_| "perf did not end in time")??;
        profile.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        Ok(())
    }
}
