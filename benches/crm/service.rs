//! The processes that are measured: Postgres, and the service on it. Both are ended and removed at the end.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crm_backend::auth::api_keys::{self, NewKey, Secret};
use crm_backend::db::{Target, own};
use crm_backend::identity::{Scopes, Tenants};
use crm_backend::pb::AccessScope;
use embedded_postgres::{Embedded, Storage};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::Result;
use crate::options::Options;

/// The program that is measured.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_crm-backend");

/// The maximum number of connections to Postgres: those of the service, 32 of pgbench, and some for inspection.
const MAX_CONNECTIONS: u16 = 100;

/// How long the service may take until its first output: migrations take part of a second.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the service may take to end: it gives its calls 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The service's output before its address, once it serves.
const GREETING: &str = concat!("crm-backend ", env!("CARGO_PKG_VERSION"), " listens on ");

/// A Postgres as the service starts it for itself, with enough connections for pgbench too, in a directory that is
/// removed at the end.
pub(crate) struct Database {
    // Postgres ends before its files are removed.
    embedded: Embedded,
    place: TempDir,
}

impl Database {
    /// Starts it. This blocks, so it must not run on a worker thread of the runtime.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        // If root starts it, Postgres runs as another account, which must be able to reach its data.
        let open = Permissions::from_mode(0o755);
        let place = tempfile::Builder::new()
            .prefix("crm-benchmark-")
            .permissions(open)
            .tempdir_in(&options.directory)
            .map_err(|error| {
                format!("there is no place for a database in {}: {error}", options.directory.display())
            })?;
        let embedded = Embedded::start(&embedded_postgres::Options {
            bin_dir: options.postgres_bin_dir.clone(),
            max_connections: MAX_CONNECTIONS,
            ..own::options(Storage::Persistent(place.path().join("data")))
        })?;
        eprintln!("Postgres {} of {}", embedded.version(), embedded.bin_dir().display());
        Ok(Self { embedded, place })
    }

    /// The directory of Postgres's programs.
    pub(crate) fn bin_dir(&self) -> &Path {
        self.embedded.bin_dir()
    }

    /// A directory for files of the benchmark.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        let directory = self.place.path().join("benchmark");
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Returns the settings for a connection as superuser.
    pub(crate) fn config(&self) -> Result<tokio_postgres::Config> {
        Ok(self.embedded.url().parse()?)
    }

    /// Creates an API key for all tenants, after the service has created the tables.
    pub(crate) async fn key(&self) -> Result<Secret> {
        let mut connection = Target::parse(self.embedded.url())?.open_bare().await?;
        let scopes = Scopes::of([AccessScope::Read, AccessScope::Write]);
        let new = NewKey { name: "benchmark".to_owned(), tenants: Tenants::All, scopes, lifetime: None };
        Ok(api_keys::create(&mut connection, &new).await?.1)
    }

    /// Stops it, and removes its files.
    pub(crate) fn stop(self) {
        let Self { embedded, place } = self;
        embedded.stop();
        if let Err(error) = place.close() {
            eprintln!("benchmark: the database is left behind: {error}");
        }
    }
}

/// The service; killed when dropped.
pub(crate) struct Service {
    child: Child,
    pid: Pid,
    stdout: Mutex<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts it on a port of its own, with this mode of authentication.
    pub(crate) fn start(database: &Database, auth: &str) -> Result<Self> {
        Self::start_with(database, auth, &[])
    }

    /// As [`Service::start`], with more arguments.
    pub(crate) fn start_with(database: &Database, auth: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CRM_") || name.starts_with("OTEL_")) {
                command.env_remove(name);
            }
        }
        // A password must not be among the arguments, which every user can see.
        command.env("DATABASE_URL", database.embedded.url());
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--auth", auth]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C must reach only the benchmark, which stops its clients first.
        command.process_group(0);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("the service ended")?;
        let stdout = child.stdout.take().ok_or("the service has no output")?;
        Ok(Self { child, pid, stdout: Mutex::new(BufReader::new(stdout)) })
    }

    /// Waits until the service prints its address.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        Ok(self.says(GREETING).await?.parse()?)
    }

    /// Returns the rest of the next output line that begins with `prefix`.
    pub(crate) async fn says(&self, prefix: &str) -> Result<String> {
        let mut stdout = self.stdout.lock().await;
        let said = async {
            let mut line = String::new();
            while stdout.read_line(&mut line).await? > 0 {
                if let Some(rest) = line.trim_end().strip_prefix(prefix) {
                    return Ok(rest.to_owned());
                }
                line.clear();
            }
            Err("the service did not start".into())
        };
        tokio::time::timeout(START_LIMIT, said).await.map_err(|_| "the service is not ready in time")?
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Err("the service ended by itself".into());
        }
        kill_process(self.pid, Signal::TERM)?;
        // A pipe that is not read could block its last output; closing it gives an error instead.
        drop(self.stdout);
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(()),
            Ok(status) => Err(format!("the service did not end well: {}", status?).into()),
            Err(_) => {
                self.child.kill().await?;
                Err("the service did not end, and was killed".into())
            }
        }
    }
}
