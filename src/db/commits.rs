//! Detects COMMITs that Postgres does not answer although it answers everything else. The usual cause is a
//! synchronous standby that is lost.
//!
//! Each such COMMIT holds its connection and the Postgres session behind it, so in the end none would be left.
//! Therefore, once a COMMIT is late, every write is refused at once, and reads keep the connections. The database
//! knows which COMMITs wait: the health task asks every second, and lets writes through again when none waits.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};

/// When a COMMIT counts as late: a healthy disk and a healthy standby need milliseconds. It is one second more than
/// the wait after which the health check sees a COMMIT, so that the check does not miss this one.
const LATE: Duration = Duration::from_secs(3);

/// What all connections of a pool know about their COMMITs.
#[derive(Debug, Clone)]
pub(super) struct Commits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether a COMMIT was late, and no health check has found since that none waits.
    late: AtomicBool,
    /// The time after which a COMMIT is late.
    limit: Duration,
}

impl Default for Commits {
    fn default() -> Self {
        Self::with_limit(LATE)
    }
}

/// Why writes are refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing is written while a COMMIT is late: Postgres may wait for a synchronous standby that is lost"
)]
struct Late;

impl Commits {
    fn with_limit(limit: Duration) -> Self {
        Self(Arc::new(Shared { late: AtomicBool::new(false), limit }))
    }

    /// Awaits a COMMIT, and records it if it is late.
    pub(super) async fn watch<R>(&self, commit: impl Future<Output = R>) -> R {
        let mut commit = pin!(commit);
        tokio::select! {
            biased;
            committed = &mut commit => return committed,
            () = tokio::time::sleep(self.0.limit) => {}
        }
        if !self.0.late.swap(true, Ordering::Relaxed) {
            tracing::warn!("a COMMIT is late: until it is known why, nothing is written");
        }
        commit.await
    }

    /// Checks that writes are allowed now.
    ///
    /// # Errors
    ///
    /// UNAVAILABLE if a COMMIT is late.
    pub(super) fn check(&self) -> Result<()> {
        if self.are_late() { Err(Error::database_unavailable(Late)) } else { Ok(()) }
    }

    /// Whether a COMMIT was late, and no health check has found since that none waits.
    pub(super) fn are_late(&self) -> bool {
        self.0.late.load(Ordering::Relaxed)
    }

    /// Lets writes through again.
    pub(super) fn go_on(&self) {
        if self.0.late.swap(false, Ordering::Relaxed) {
            tracing::info!("no COMMIT waits for a standby: what writes goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_late_commit_keeps_others_from_writing_until_it_is_known_that_none_waits() {
        let commits = Commits::with_limit(LIMIT);
        assert_eq!(commits.watch(ready(1)).await, 1);
        assert!(commits.check().is_ok());
        commits.watch(tokio::time::sleep(LIMIT * 2)).await;
        assert!(commits.check().is_err(), "that one came does not say that others do");
        commits.go_on();
        assert!(commits.check().is_ok());
    }
}
