//! Runs helper programs to their end, with a limit, and ties child processes to this process's life.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// `postgres --version` takes milliseconds; a program that hangs must not hang the start.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// Half a second on a laptop, much more on a loaded machine with a slow disk.
pub(crate) const INIT_LIMIT: Duration = Duration::from_mins(3);
/// 23 to 55 MB over a slow line, and the client's own retries.
pub(crate) const FETCH_LIMIT: Duration = Duration::from_mins(10);
/// How often a running helper is checked: much shorter than its own time.
const POLL: Duration = Duration::from_millis(3);
/// The number of output lines that an error carries: enough for the cause, few enough to read.
const TAIL_LINES: usize = 20;

/// The result of a helper.
#[derive(Debug)]
pub(crate) struct Done {
    /// Whether it ended with success and within its limit.
    pub(crate) ok: bool,
    /// Its output and errors, in the order they were written.
    pub(crate) output: String,
}

impl Done {
    /// The last lines of the output.
    pub(crate) fn tail(&self) -> String {
        tail(&self.output)
    }
}

/// The last lines of a text, for an error.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Runs a command to its end, or kills it and its children at the limit.
pub(crate) fn run(mut command: Command, input: Option<&str>, limit: Duration) -> io::Result<Done> {
    // A file and not a pipe: it need not be read while the program runs, and a full pipe would block the program.
    let mut output = scratch_file()?;
    command
        .stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    end_with_us(&mut command, Signal::KILL);
    let mut child = command.spawn()?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // If the program died early, its status says so; the broken pipe adds nothing.
        let _ = stdin.write_all(text.as_bytes());
    }
    let status = wait(&mut child, limit)?;
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_none() {
        text = format!("{text}\nstopped after {} s without an end", limit.as_secs());
    }
    Ok(Done { ok: status.is_some_and(|status| status.success()), output: text })
}

/// Opens a temporary file, and removes its name from the directory at once.
fn scratch_file() -> io::Result<fs::File> {
    let path = std::env::temp_dir().join(format!("embedded-postgres-{}", uuid::Uuid::new_v4()));
    let file = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Returns the status, or `None` if the limit passed and the program was killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            // It leads its own process group, so this ends its children as well.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Puts a command in its own process group, and makes the kernel send it `signal` when the spawning thread ends.
///
/// Because of its own group, a Ctrl-C in the terminal does not reach it before we have drained. The signal is for a
/// death without time to clean up, such as `kill -9`. Only Linux has it; elsewhere the next start stops what was
/// left.
pub(crate) fn end_with_us(command: &mut Command, signal: Signal) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    set_death_signal(command, signal);
    #[cfg(not(target_os = "linux"))]
    let _ = signal;
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the death signal belongs to the child and is lost when its user changes, so it can only be set between that and exec"
)]
fn set_death_signal(command: &mut Command, signal: Signal) {
    let parent = std::process::id();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have died before the call above, and then no signal would ever come.
        let alive =
            rustix::process::getppid().is_some_and(|found| found.as_raw_pid().cast_unsigned() == parent);
        if alive { Ok(()) } else { Err(io::Error::from(io::ErrorKind::Interrupted)) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two
    // system calls and compares integers; it allocates nothing (an `ErrorKind` is stored inline)
    // and takes no lock.
    unsafe {
        command.pre_exec(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo out; echo err >&2; exit 3"]);
        let done = run(command, Some("in\n"), PROBE_LIMIT).unwrap();
        assert!(!done.ok);
        assert_eq!(done.output, "in\nout\nerr\n");
    }

    #[test]
    fn what_hangs_is_killed_at_the_limit() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60; true"]);
        let began = Instant::now();
        let done = run(command, None, Duration::from_millis(50)).unwrap();
        assert!(!done.ok && done.output.contains("without an end"));
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let text = (0..50).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        assert!(tail(&text).starts_with("30\n") && tail(&text).ends_with("\n49"));
        assert_eq!(tail("one\n"), "one");
    }
}
