//! The program as a child process, in a directory of its own. Both are removed when a test ends or fails.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use tempfile::TempDir;

/// Longer than any working step takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The time between two checks: long enough to cost nothing, short enough not to be noticed.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` is true, and fails if it is not within [`LIMIT`].
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(LIMIT, condition), "{what}: not after {} s", LIMIT.as_secs());
}

/// Whether `condition` becomes true.
#[expect(clippy::disallowed_methods, reason = "the thread of a test, which is no worker of a runtime")]
fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// How much free memory the databases of all parallel tests need.
const ROOM: u64 = 4 << 30;

/// The directory for temporary data of tests: that of `TMPDIR`, or memory, or the disk if memory is too small. A
/// database is a thousand small files, and a disk may take a millisecond to create each.
pub(crate) fn scratch_root() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    if std::env::var_os("TMPDIR").is_none() && room >= ROOM { memory.into() } else { std::env::temp_dir() }
}

/// The directories of one test: a data directory that does not exist yet, and one for temporary files.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        // If tests run as root, Postgres runs as another account, which must be able to reach it.
        let open = fs::Permissions::from_mode(0o755);
        let dir =
            tempfile::Builder::new().prefix("crm-process-").permissions(open).tempdir_in(scratch_root());
        let scratch = Self(dir.expect("a temporary directory"));
        fs::create_dir(scratch.temporary()).expect("a directory");
        scratch
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The value for `--data-dir`.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The child's directory for temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// Returns the temporary files that the child left.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary()).expect("the directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Returns the service's own Postgres on [`Scratch::data_dir`], from its pid file.
    pub(crate) fn postgres(&self) -> Postgres {
        Postgres::of(&self.data_dir()).expect("a running Postgres")
    }

    /// Returns the URL of that Postgres.
    pub(crate) fn postgres_url(&self) -> String {
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
        holds_within(LIMIT, || fs::remove_dir_all(self.0.path()).is_ok() || !self.0.path().exists());
    }
}

/// A Postgres that the service started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Postgres {
    pub(crate) pid: Pid,
    pub(crate) port: u16,
}

impl Postgres {
    fn of(storage: &Path) -> Option<Self> {
        let text = fs::read_to_string(storage.join("pgdata/postmaster.pid")).ok()?;
        let number = |line: usize| text.lines().nth(line)?.trim().parse::<i32>().ok();
        Some(Self { pid: Pid::from_raw(number(0)?)?, port: u16::try_from(number(3)?).ok()? })
    }

    pub(crate) fn kill(self) {
        kill_process(self.pid, Signal::KILL).expect("a process to kill");
    }

    /// Whether the process has ended, even if it was not reaped yet.
    pub(crate) fn is_gone(self) -> bool {
        if test_kill_process(self.pid).is_err() {
            return true;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_pid())).unwrap_or_default();
        // The state comes after the name, which is in brackets.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    }
}

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_crm-backend");

/// Returns the program with its arguments, in an environment without settings.
pub(crate) fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    command_of(Path::new(PROGRAM), scratch, arguments)
}

/// The same for the program of another version.
pub(crate) fn command_of(program: &Path, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("TMPDIR", scratch.temporary()).current_dir(scratch.0.path());
    for (name, _) in std::env::vars_os() {
        let starts = ["CRM_", "OTEL_"];
        let is_setting = name
            .to_str()
            .is_some_and(|name| name == "DATABASE_URL" || starts.iter().any(|start| name.starts_with(start)));
        if is_setting {
            command.env_remove(name);
        }
    }
    // As in a shell: Ctrl-C reaches the group, not only the process.
    command.process_group(0);
    command
}

/// Runs a command to its end.
pub(crate) fn run(scratch: &Scratch, arguments: &[&str]) -> Ended {
    Program::spawn(command(scratch, arguments)).wait()
}

/// How a program ended, and its output.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The time from the signal, or otherwise from the wait, to the end.
    pub(crate) took: Duration,
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.status.code(), Some(0), "{}\n{}", self.stdout, self.stderr);
    }

    /// Asserts a refusal whose text names all of `mentions`, and returns the text.
    #[track_caller]
    pub(crate) fn refused(&self, mentions: &[&str]) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}\n{}", self.stdout, self.stderr);
        let (_, words) = self.stderr.split_once("crm-backend: ").expect("the reason on standard error");
        for mention in mentions {
            assert!(words.contains(mention), "{mention:?} is not in: {words}");
        }
        assert!(!words.contains("panicked"), "{words}");
        words
    }
}

/// The program, killed and reaped when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Program {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = Output::of(child.stdout.take().expect("a pipe"));
        let stderr = Output::of(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the rest of the first line of standard output that begins with `prefix`.
    pub(crate) fn says(&mut self, prefix: &str) -> String {
        let mut found = None;
        eventually(prefix, || {
            let ended = self.child.try_wait().expect("a child").is_some();
            found = self.stdout.after(prefix);
            assert!(found.is_some() || !ended, "ended before {prefix:?}: {}", self.stderr.text());
            found.is_some()
        });
        found.expect("was just there")
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a running program");
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let began = Instant::now();
        let mut status = None;
        let ended = holds_within(LIMIT, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        assert!(ended, "does not end: {}", self.stderr.text());
        let took = began.elapsed();
        Ended {
            status: status.expect("has ended"),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            took,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child's output, read at once so that the pipe is never full.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                written.lock().expect("a lock").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("a lock").clone()
    }

    fn after(&self, prefix: &str) -> Option<String> {
        let text = self.text.lock().expect("a lock");
        text.lines().find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
    }

    /// Returns all of it, once the child has ended.
    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader");
        }
        self.text()
    }
}

/// A serving program.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts on the scratch's data directory.
    pub(crate) fn start(scratch: &Scratch) -> Self {
        let data_dir = scratch.data_dir();
        Self::start_with(scratch, &["--data-dir", data_dir.to_str().expect("a path of letters")])
    }

    /// Starts with these arguments, on a port of its own.
    pub(crate) fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        Self::of(Program::spawn(command(scratch, &arguments)))
    }

    /// Waits for its address.
    pub(crate) fn of(mut program: Program) -> Self {
        let greeting = program.says("crm-backend ");
        let (_version, address) = greeting.split_once(" listens on ").expect("a greeting");
        Self { program, address: address.parse().expect("an address") }
    }

    /// Returns the address of `GET /metrics`, which the program prints after its own address.
    pub(crate) fn metrics(&mut self) -> SocketAddr {
        let url = self.program.says("  metrics    ");
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
        address.and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) fn terminate(self) -> Ended {
        self.program.signal(Signal::TERM);
        self.program.wait()
    }

    /// Sends Ctrl-C as a terminal does, and waits for the end.
    pub(crate) fn interrupt(self) -> Ended {
        kill_process_group(self.program.pid(), Signal::INT).expect("a running program");
        self.program.wait()
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(self) {
        self.program.signal(Signal::KILL);
        let ended = self.program.wait();
        assert_eq!(ended.status.code(), None, "{}", ended.stderr);
    }
}
