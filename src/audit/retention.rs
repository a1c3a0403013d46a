//! Deletes events whose retention is over.
//!
//! `crm_app` cannot, so this is done by the owner, on a connection of its own, tenant by tenant and in
//! small transactions. Several replicas may do it at once: what one holds the others pass over.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::{rules, store};
use crate::db::Target;

/// The time between two rounds: an event is gone so much later than its retention says.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The time to the first round, so that a service that starts again and again gets to it, and one that
/// starts has other things to do.
const FIRST: Duration = Duration::from_secs(10 * 60);

/// Events of a transaction: some milliseconds of work.
const BATCH: i64 = 1_000;

/// How many times as long as a transaction took the pause after it is: most of the time is left to those who serve,
/// and a round through many tenants, of which each has little to delete, does not take hours.
const PAUSE: u32 = 4;

/// How long to wait after a round that failed: less than between two, since there is more to do.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Deletes what is older than `retention` again and again, until `stop`.
pub(crate) async fn run(target: Target, retention: Duration, stop: CancellationToken) {
    let mut pause = FIRST.min(retention);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // What is kept for less than an hour, as in a test, is not kept for an hour more.
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

/// Deletes all that is older than `retention` now, and says how much that was.
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
            // What another replica holds it deletes.
            if i64::try_from(count).is_ok_and(|count| count < BATCH) {
                break;
            }
        }
    }
}
