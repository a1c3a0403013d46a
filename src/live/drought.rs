//! Measures how long no connection has been free.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A period in which batches of writes or reads find no free connection.
///
/// A caller in line behind such a batch waits for a connection too. This wait counts, so that the caller is
/// refused within the limit, and not after twice as long. The wait for batches that were merely busy does not
/// count: no caller is refused only because of load.
#[derive(Debug, Default)]
pub struct Drought(Mutex<Option<Instant>>);

impl Drought {
    /// Returns how long a caller that asked at `asked` has waited for a connection, before a batch asks for one
    /// now.
    pub fn endured(&self, asked: Instant) -> Duration {
        self.with(|began| began.map_or(Duration::ZERO, |began| began.max(asked).elapsed()))
    }

    /// Notes whether a batch that has asked since `began` found a connection.
    pub fn note(&self, found: bool, began: Instant) {
        self.with(|drought| *drought = (!found).then(|| drought.unwrap_or(began)));
    }

    fn with<R>(&self, change: impl FnOnce(&mut Option<Instant>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn only_the_time_without_a_connection_counts() {
        let drought = Drought::default();
        let long_ago = Instant::now().checked_sub(HOUR).expect("an hour of uptime");
        assert_eq!(drought.endured(long_ago), Duration::ZERO, "nobody was without one");

        let began = Instant::now();
        drought.note(false, began);
        drought.note(false, Instant::now());
        assert!(drought.endured(long_ago) >= began.elapsed().saturating_sub(Duration::from_millis(1)));
        assert!(drought.endured(long_ago) < HOUR, "it was merely busy before");
        assert!(drought.endured(Instant::now()) <= began.elapsed(), "who came later waited less");

        drought.note(true, Instant::now());
        assert_eq!(drought.endured(long_ago), Duration::ZERO);
    }
}
