//! The process, as the kernel sees it, by the names that Prometheus's client libraries share.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::families::set_seconds;
use crate::numbers;

/// The indexes of fields of `/proc/self/stat` after the process's name, which is in brackets: the first is the state.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// The series of the process. Without `/proc` they stay unchanged.
#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    started: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let process = Self {
            cpu: Counter::default(),
            resident: Gauge::default(),
            virtual_memory: Gauge::default(),
            open_files: Gauge::default(),
            max_files: Gauge::default(),
            started: Gauge::default(),
        };
        let cpu = process.cpu.clone();
        registry.register_with_unit(
            "process_cpu",
            "Time on cores, of the process and for it",
            Unit::Seconds,
            cpu,
        );
        let resident = process.resident.clone();
        registry.register_with_unit("process_resident_memory", "Memory that it has", Unit::Bytes, resident);
        let virtual_memory = process.virtual_memory.clone();
        registry.register_with_unit(
            "process_virtual_memory",
            "Addresses that it has",
            Unit::Bytes,
            virtual_memory,
        );
        registry.register(
            "process_open_fds",
            "Files that it has open, connections included",
            process.open_files.clone(),
        );
        registry.register("process_max_fds", "Files that it may have open", process.max_files.clone());
        let started = process.started.clone();
        registry.register_with_unit(
            "process_start_time",
            "When it started, since 1970",
            Unit::Seconds,
            started,
        );
        process
    }

    /// Updates the series.
    pub(super) fn look(&self) {
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            self.read(&stat);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory itself, which is open for this count.
            self.open_files.set(numbers::count(files.count()) - 1);
        }
        if let Some(max) = getrlimit(Resource::Nofile).current {
            self.max_files.set(i64::try_from(max).unwrap_or(i64::MAX));
        }
    }

    fn read(&self, stat: &str) {
        let Some((_, fields)) = stat.rsplit_once(") ") else { return };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let second = seconds(clock_ticks_per_second());
        if let (Some(user), Some(system)) = (number(USER_TICKS), number(SYSTEM_TICKS)) {
            set_seconds(&self.cpu, seconds(user + system) / second);
        }
        if let Some(pages) = number(RESIDENT_PAGES) {
            let bytes = pages.saturating_mul(page_size() as u64);
            self.resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if let Some(bytes) = number(VIRTUAL_BYTES) {
            self.virtual_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if let (Some(ticks), Some(boot)) = (number(START_TICKS), boot_time()) {
            self.started.set(boot + seconds(ticks) / second);
        }
    }
}

/// Returns when the machine was started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a hundredth of a second: exact for millions of years"
)]
fn seconds(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_is_read() {
        let process = Process::register(&mut Registry::default());
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 4 0 100 8192 3 184467 1";
        process.read(stat);
        let ticks = seconds(clock_ticks_per_second());
        assert!((process.cpu.get() - 300.0 / ticks).abs() < 1e-9, "{:?}", process.cpu);
        assert_eq!(process.virtual_memory.get(), 8192);
        assert_eq!(process.resident.get(), 3 * i64::try_from(page_size()).expect("a size"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen() {
        let process = Process::register(&mut Registry::default());
        process.look();
        assert!(process.resident.get() > 1 << 20 && process.open_files.get() >= 3, "{process:?}");
        assert!(
            process.max_files.get() >= process.open_files.get() && process.started.get() > 1e9,
            "{process:?}"
        );
    }
}
