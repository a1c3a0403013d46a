//! Deletes events whose retention is over.
//!
//! `crm_app` must not delete, so the owner does it, on a connection of its own, tenant by tenant and in small
//! transactions. Several replicas may do it at once: each skips the rows that another one has locked.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::{rules, store};
use crate::db::Target;

/// The time between two rounds. An event is deleted at most this much later than its retention says.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The time to the first round. A service that restarts often still gets to it, and a service that starts has
/// other work first.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// The number of events in a transaction: some milliseconds of work.
const BATCH: i64 = 1_000;

/// The pause after a transaction, as a multiple of its duration. Most of the time is left to calls. A round
/// through many tenants with little to delete does not take hours.
const PAUSE: u32 = 4;

/// The pause after a round that failed: shorter than between two rounds, since there is more to do.
const AGAIN: Duration = Duration::from_secs(60);

/// The limit of a transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// Deletes events older than `retention` again and again, until `stop`.
pub(crate) async fn run(target: Target, retention: Duration, stop: CancellationToken) {
    let mut pause = FIRST.min(retention);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // With a retention of less than an hour, as in a test, events are not kept for an hour more.
        pause = INTERVAL.min(retention);
        let swept = tokio::select! {
            () = stop.cancelled() => return,
            swept = sweep(&target, retention) => swept,
        };
        match swept {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "audit events were deleted: their retention is over"),
            Err(error) => {
                pause = AGAIN.min(pause);
                tracing::warn!(error, "old audit events could not be deleted");
            }
        }
    }
}

/// Deletes all events older than `retention` now. Returns their number.
async fn sweep(target: &Target, retention: Duration) -> Result<usize, String> {
    let retention = TimeDelta::from_std(retention).map_err(|error| error.to_string())?;
    let Some(oldest) = Utc::now().checked_sub_signed(retention) else { return Ok(0) };
    let mut owner = target.open().await.map_err(|error| error.to_string())?;
    let (mut tenant, mut deleted) = (None, 0);
    loop {
        let next = owner.ask(PATIENCE, async |owner| store::find_next_tenant(owner, tenant).await);
        let Some(next) = next.await.map_err(|error| error.to_string())? else { return Ok(deleted) };
        tenant = Some(next);
        let oldest = rules::first_id(oldest);
        loop {
            let began = Instant::now();
            let delete =
                owner.ask(PATIENCE, async |owner| store::delete_before(owner, next, oldest, BATCH).await);
            let count = delete.await.map_err(|error| error.to_string())?;
            deleted += count;
            if count > 0 {
                tokio::time::sleep(began.elapsed() * PAUSE).await;
            }
            // The rows that another replica has locked, that replica deletes.
            if i64::try_from(count).is_ok_and(|count| count < BATCH) {
                break;
            }
        }
    }
}
