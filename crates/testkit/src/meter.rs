//! The resource usage of a process, as Linux counts it; elsewhere nothing is measured.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

/// The ticks per second in `/proc/<pid>/stat`, the same on every Linux.
const TICKS: u64 = 100;

/// Returns the resident memory of the process in bytes.
pub fn memory(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the time that the process used processors.
pub fn busy(pid: Pid) -> Option<Duration> {
    /// The indexes of the times in user and in kernel mode, counted from the state on.
    const USER: usize = 11;
    const KERNEL: usize = 12;
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The state comes after the name, which is in brackets and may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields.get(USER)?.parse::<u64>().ok()? + fields.get(KERNEL)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Returns the running child processes of this process.
pub fn children(pid: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| parent(*number) == Some(pid.as_raw_pid())).filter_map(Pid::from_raw).collect()
}

/// Returns the state of a process as a letter: `T` if it is stopped.
pub fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The state comes after the name, which is in brackets and may contain anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Formats bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
