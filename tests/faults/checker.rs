//! Compares the logs of clients with the database and with the events of watchers.
//!
//! No I/O: the same logs give the same verdict.

mod sent;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::log::{Copy, Log, Watched};

/// The messages of each conversation, in the order in which they were read.
pub(crate) type Stored = BTreeMap<Arc<str>, Vec<Copy>>;

/// A broken promise. The text says where it was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A message was acked, and is missing or differs from its ack.
    Lost,
    /// One key had two effects.
    Twice,
    /// The sequences are not 1, 2, 3 ….
    Hole,
    /// A message is stored that was never sent, or that was refused.
    Unsent,
    /// The text differs from what was sent.
    Text,
    /// Answers do not come in the order of the requests.
    Order,
    /// A watcher missed an event.
    Skipped,
    /// A watcher got an event again.
    Repeated,
    /// A watcher's pieces do not fit together.
    Pieces,
    /// A client saw something that the contract forbids.
    Client,
}

/// The numbers of what was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) sent: usize,
    pub(crate) acked: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: usize,
    pub(crate) stored: usize,
    pub(crate) told: usize,
    pub(crate) resumed: usize,
    /// Why requests have an unknown outcome, if the service said so.
    pub(crate) excuses: BTreeMap<String, usize>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acked, unknown, refused, stored, told, resumed, excuses } = self;
        write!(f, "sent {sent}, acked {acked}, unknown {unknown}, refused {refused}, stored {stored}, ")?;
        write!(f, "told {told}, watches resumed {resumed}, lost 0, twice 0")?;
        let mut codes = BTreeMap::<&str, usize>::new();
        for (excuse, count) in excuses {
            *codes.entry(excuse.split(':').next().unwrap_or_default()).or_default() += count;
        }
        for (code, count) in codes {
            write!(f, "; {count} times {code}")?;
        }
        Ok(())
    }
}

/// Checks acked ⊆ stored ⊆ acked ∪ unknown, one row for each key, sequences 1..n, texts, and that
/// every watcher got every event once and in order.
pub(crate) fn check(logs: &[Log], stored: &Stored, watched: &[Watched]) -> Result<Figures, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut figures = Figures::default();
    sent::check(logs, stored, &mut figures, &mut faults);
    let meant = sent::meant(logs);
    for watch in watched {
        told::check(watch, stored, &meant, &mut figures, &mut faults);
    }
    if faults.is_empty() { Ok(figures) } else { Err(faults) }
}

/// Returns the first faults, and the number of each kind.
pub(crate) fn describe(faults: &[Fault]) -> String {
    /// Enough to see the cause.
    const FIRST: usize = 12;
    let mut counts = BTreeMap::<Kind, usize>::new();
    for fault in faults {
        *counts.entry(fault.kind).or_default() += 1;
    }
    let first: Vec<String> =
        faults.iter().take(FIRST).map(|fault| format!("  {:?}: {}", fault.kind, fault.text)).collect();
    format!("{counts:?}\n{}", first.join("\n"))
}
