//! The time of processors that a piece of work takes: of the service, which is a process of its own, and of Postgres.
//! That of the benchmark's clients is not in it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crm_testkit::meter;
use rustix::process::Pid;
use serde_json::{Value, json};

use crate::report::Figure;

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A message on one of the many streams of `append`.
    Appended,
    /// A call of `create_message_8`.
    Created,
    /// A page of `list_messages`.
    Listed,
    /// A delta of a message in progress, from its writer to its watcher.
    Delta,
    /// A watcher who is told of a message, with its share of the work to append that message.
    Told,
}

impl Work {
    const ALL: [Self; 5] = [Self::Appended, Self::Created, Self::Listed, Self::Delta, Self::Told];

    fn name(self) -> &'static str {
        match self {
            Self::Appended => "message appended",
            Self::Created => "message created",
            Self::Listed => "page listed",
            Self::Delta => "delta",
            Self::Told => "watcher told",
        }
    }
}

/// The processes that are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes {
    /// The service.
    pub(crate) service: Pid,
    /// The first process of Postgres, which starts all others.
    pub(crate) postgres: Pid,
}

impl Processes {
    /// Returns the time that they used until now.
    fn used(self) -> Option<Used> {
        let (service, postgres) = (meter::busy(self.service)?, meter::busy_in_all(self.postgres)?);
        Some(Used { service, postgres })
    }
}

/// The time of processors that was used.
#[derive(Debug, Clone, Copy)]
struct Used {
    service: Duration,
    postgres: Duration,
}

/// The costs of all work that was measured so far.
pub(crate) struct Costs {
    processes: Processes,
    rounds: Mutex<Vec<Round>>,
}

/// The microseconds of a piece of work in a round.
#[derive(Debug, Clone, Copy)]
struct Round {
    work: Work,
    service: f64,
    postgres: f64,
}

impl Costs {
    pub(crate) fn new(processes: Processes) -> Self {
        Self { processes, rounds: Mutex::default() }
    }

    /// Begins to measure a round.
    pub(crate) fn begin(&self, work: Work) -> Running<'_> {
        Running { costs: self, work, before: self.processes.used() }
    }

    /// Returns what was measured.
    pub(crate) fn list(&self) -> Vec<Cost> {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |work| {
            let (service, postgres): (Vec<_>, Vec<_>) = rounds
                .iter()
                .filter(|round| round.work == work)
                .map(|round| (round.service, round.postgres))
                .unzip();
            Some(Cost { work, service: Figure::of(&service).ok()?, postgres: Figure::of(&postgres).ok()? })
        };
        Work::ALL.into_iter().filter_map(of).collect()
    }
}

/// A round that is measured.
pub(crate) struct Running<'c> {
    costs: &'c Costs,
    work: Work,
    before: Option<Used>,
}

impl Running<'_> {
    /// Ends the round, in which so many pieces of work were done. Nothing is measured where the system does not count.
    pub(crate) fn end(self, done: u64) {
        let Self { costs, work, before } = self;
        let (Some(before), Some(after)) = (before, costs.processes.used()) else { return };
        let each =
            |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e6 / done.max(1) as f64;
        let service = each(before.service, after.service);
        let postgres = each(before.postgres, after.postgres);
        costs.rounds.lock().unwrap_or_else(PoisonError::into_inner).push(Round { work, service, postgres });
    }
}

/// The microseconds of a piece of work.
pub(crate) struct Cost {
    work: Work,
    service: Figure,
    postgres: Figure,
}

impl Cost {
    /// The titles of the columns.
    pub(crate) const HEADER: &str =
        "cpu_per_message        service, µs  min–max        Postgres, µs  min–max";

    pub(crate) fn name(&self) -> &'static str {
        self.work.name()
    }

    /// Returns the figures of the service and of Postgres.
    pub(crate) fn figures(&self) -> [(&'static str, Figure); 2] {
        [("service", self.service), ("postgres", self.postgres)]
    }

    pub(crate) fn json(&self) -> Value {
        let Self { work, service, postgres } = self;
        json!({ "work": work.name(), "service": service.json(), "postgres": postgres.json() })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, service, postgres } = self;
        write!(
            out,
            "per {:<19}{:>11.1}  {:<15}{:>12.1}  {}",
            work.name(),
            service.value,
            service.spread(),
            postgres.value,
            postgres.spread()
        )
    }
}
