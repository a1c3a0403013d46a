//! The directories of a test, and the Postgres that the service starts in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::patience::{LIMIT, holds_within};

/// How much free memory the databases of all parallel tests need.
const ROOM: u64 = 4 << 30;

/// The directory for temporary data of tests: that of `TMPDIR`, or memory, or the disk if memory is too small. A
/// database is a thousand small files, and a disk may take a millisecond to create each.
pub fn scratch_root() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    if std::env::var_os("TMPDIR").is_none() && room >= ROOM { memory.into() } else { std::env::temp_dir() }
}

/// The directories of one test, and the program that it runs there: a data directory that does not exist yet, and one
/// for temporary files. Removed when the test ends or fails.
pub struct Scratch {
    directory: TempDir,
    program: PathBuf,
}

impl Scratch {
    /// Creates directories for this program.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        // If tests run as root, Postgres runs as another account, which must be able to reach it.
        let open = fs::Permissions::from_mode(0o755);
        let dir =
            tempfile::Builder::new().prefix("crm-process-").permissions(open).tempdir_in(scratch_root());
        let scratch = Self { directory: dir.expect("a temporary directory"), program: program.into() };
        fs::create_dir(scratch.temporary()).expect("a directory");
        scratch
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The directory of the other ones.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The value for `--data-dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The child's directory for temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Returns the temporary files that the child left.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary()).expect("the directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Returns the service's own Postgres on [`Scratch::data_dir`], from its pid file.
    pub fn postgres(&self) -> Postgres {
        Postgres::of(&self.data_dir()).expect("a running Postgres")
    }

    /// Returns the URL of that Postgres.
    pub fn postgres_url(&self) -> String {
        let password = fs::read_to_string(self.data_dir().join("password")).expect("a password");
        format!("postgres://crm:{}@127.0.0.1:{}/crm", password.trim(), self.postgres().port)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failed test may leave a Postgres here, which would write while its files are removed.
        let storages = self.leftovers().into_iter().chain([self.data_dir()]);
        for postgres in storages.filter_map(|storage| Postgres::of(&storage)) {
            let _ = kill_process(postgres.pid, Signal::QUIT);
            holds_within(LIMIT, || postgres.is_gone());
        }
        holds_within(LIMIT, || fs::remove_dir_all(self.root()).is_ok() || !self.root().exists());
    }
}

/// A Postgres that the service started.
#[derive(Debug, Clone, Copy)]
pub struct Postgres {
    /// The process id of the postmaster.
    pub pid: Pid,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Postgres {
    fn of(storage: &Path) -> Option<Self> {
        let text = fs::read_to_string(storage.join("pgdata/postmaster.pid")).ok()?;
        let number = |line: usize| text.lines().nth(line)?.trim().parse::<i32>().ok();
        Some(Self { pid: Pid::from_raw(number(0)?)?, port: u16::try_from(number(3)?).ok()? })
    }

    /// Sends SIGKILL to the postmaster.
    pub fn kill(self) {
        kill_process(self.pid, Signal::KILL).expect("a process to kill");
    }

    /// Whether the process has ended, even if it was not reaped yet.
    pub fn is_gone(self) -> bool {
        if test_kill_process(self.pid).is_err() {
            return true;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_pid())).unwrap_or_default();
        // The state comes after the name, which is in brackets.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    }
}
