//! The resource usage of processes and of the machine, as Linux counts it; elsewhere nothing is measured.

use std::collections::HashMap;
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
    Stat::read(pid.as_raw_pid()).map(|stat| ticks(stat.own))
}

/// Returns the time that the process and its descendants used processors.
///
/// A descendant that has ended counts once its parent has waited for it, so the time never becomes less.
pub fn busy_in_all(pid: Pid) -> Option<Duration> {
    let processes: HashMap<i32, Stat> =
        numbers().filter_map(|number| Some((number, Stat::read(number)?))).collect();
    in_all(&processes, pid.as_raw_pid()).map(ticks)
}

/// Adds up the ticks of a process and its descendants.
fn in_all(processes: &HashMap<i32, Stat>, pid: i32) -> Option<u64> {
    let root = processes.get(&pid)?;
    let mut sum = root.own + root.ended;
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (child, stat) in processes.iter().filter(|(_, stat)| stat.parent == parent) {
            sum += stat.own + stat.ended;
            parents.push(*child);
        }
    }
    Some(sum)
}

/// What all processors of the machine did since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processors {
    /// The time in which they ran programs or the kernel.
    pub busy: Duration,
    /// The time that a hypervisor gave to other machines.
    pub stolen: Duration,
}

/// Returns what all processors did.
pub fn processors() -> Option<Processors> {
    Processors::parse(&fs::read_to_string("/proc/stat").ok()?)
}

impl Processors {
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line.split_whitespace().map_while(|time| time.parse().ok()).collect();
        // Guests are in the first two already; idle times do not count.
        let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen] =
            *times.first_chunk()?;
        let busy = user + nice + system + interrupts + soft_interrupts;
        Some(Self { busy: ticks(busy), stolen: ticks(stolen) })
    }
}

/// Returns how many processes ran or waited for a processor, on average over the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Returns the running child processes of this process.
pub fn children(pid: Pid) -> Vec<Pid> {
    let ours = |number: &i32| Stat::read(*number).is_some_and(|stat| stat.parent == pid.as_raw_pid());
    numbers().filter(ours).filter_map(Pid::from_raw).collect()
}

/// Returns the process that started this one.
pub fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(Stat::read(pid.as_raw_pid())?.parent)
}

/// Returns the state of a process as a letter: `T` if it is stopped.
pub fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The state comes after the name, which is in brackets and may contain anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// What `/proc/<pid>/stat` says of a process. Times are in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    own: u64,
    /// The time of children that ended, with their own children.
    ended: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The indexes are counted from the state on. It comes after the name, which is in brackets and may contain
        // anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let time = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // Each in user and in kernel mode.
        let (own, ended) = (time(11)? + time(12)?, time(13)? + time(14)?);
        Some(Self { parent: fields.get(1)?.parse().ok()?, own, ended })
    }
}

/// Returns the numbers of all processes.
fn numbers() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS)
}

/// Formats bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_contain_anything() {
        let stat = "7 (a) R 1 (b) S 3 7 7 0 -1 4194304 10 20 0 0 5 6 70 80 20 0 1 0";
        assert_eq!(Stat::parse(stat), Some(Stat { parent: 3, own: 11, ended: 150 }));
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn all_that_a_process_started_counts_and_nothing_else() {
        let stat = |parent, own, ended| Stat { parent, own, ended };
        let processes = HashMap::from([
            (1, stat(0, 1, 2)),
            (2, stat(1, 10, 20)),
            (3, stat(2, 100, 200)),
            (4, stat(1, 1000, 0)),
        ]);
        assert_eq!(in_all(&processes, 2), Some(330));
        assert_eq!(in_all(&processes, 1), Some(1_333));
        assert_eq!(in_all(&processes, 5), None);
    }

    #[test]
    fn idle_processors_are_not_busy() {
        let stat = "cpu  100 200 300 4000 5000 6 7 80 90 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        let (busy, stolen) = (Duration::from_millis(6_130), Duration::from_millis(800));
        assert_eq!(Processors::parse(stat), Some(Processors { busy, stolen }));
        assert_eq!(Processors::parse("cpu  1 2 3\n"), None);
    }
}
