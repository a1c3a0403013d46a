//! The program as a child process, which is killed when its test ends or fails.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::{LIMIT, eventually, holds_within};
use crate::scratch::Scratch;

/// Returns the program of `scratch` with its arguments, in an environment without settings.
pub fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    command_of(scratch.program(), scratch, arguments)
}

/// The same for the program of another version.
pub fn command_of(program: &Path, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("TMPDIR", scratch.temporary()).current_dir(scratch.root());
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

/// Runs the program of `scratch` to its end.
pub fn run(scratch: &Scratch, arguments: &[&str]) -> Ended {
    Program::spawn(command(scratch, arguments)).wait()
}

/// How a program ended, and its output.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// The time from the signal, or otherwise from the wait, to the end.
    pub took: Duration,
}

impl Ended {
    /// Asserts that it ended well.
    #[track_caller]
    pub fn succeeded(&self) {
        assert_eq!(self.status.code(), Some(0), "{}\n{}", self.stdout, self.stderr);
    }

    /// Asserts a refusal whose text names all of `mentions`, and returns the text.
    #[track_caller]
    pub fn refused(&self, mentions: &[&str]) -> &str {
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
pub struct Program {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Program {
    /// Starts a command, whose standard output and error are pipes.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = Output::of(child.stdout.take().expect("a pipe"));
        let stderr = Output::of(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the rest of the first line of standard output that begins with `prefix`.
    pub fn says(&mut self, prefix: &str) -> String {
        let mut found = None;
        eventually(prefix, || {
            let ended = self.child.try_wait().expect("a child").is_some();
            found = self.stdout.after(prefix);
            assert!(found.is_some() || !ended, "ended before {prefix:?}: {}", self.stderr.text());
            found.is_some()
        });
        found.expect("was just there")
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a running program");
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Ended {
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
