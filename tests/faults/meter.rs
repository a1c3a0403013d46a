//! What a process uses, as Linux counts it; elsewhere nothing is measured.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

/// Ticks of a second in `/proc/<pid>/stat`, the same on every Linux.
const TICKS: u64 = 100;

/// Memory that is there for the process now, in bytes.
pub(crate) fn memory(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Time that the process spent on processors.
pub(crate) fn busy(pid: Pid) -> Option<Duration> {
    /// Places of the times in user and in kernel mode, counted from the state on.
    const USER: usize = 11;
    const KERNEL: usize = 12;
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The state comes after the name, which is in brackets and may have anything in it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields.get(USER)?.parse::<u64>().ok()? + fields.get(KERNEL)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The processes that this one started, and that have not ended.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| parent(*number) == Some(pid.as_raw_pid())).filter_map(Pid::from_raw).collect()
}

/// What a process does, as one letter: `T` where it is stopped.
pub(crate) fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The state comes after the name, which is in brackets and may have anything in it.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Bytes as people read them.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
