//! Recomputes the search keys of texts that an earlier version of the service computed.
//!
//! A migration that changes how texts are folded records which tenants have rows from before. At its start the
//! service goes through them while it serves: a few rows per transaction, acting for the tenant. Until then such a
//! row is found by its old keys. Several replicas may do it at once, or again after a crash: recomputing twice gives
//! the same result.

mod store;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::conversations::analyses;
use crate::customers;
use crate::db::{Db, Deadline, Target, TenantTx};
use crate::error::{Error, Result};
use crate::faqs;
use crate::identity::Caller;

/// The rows per transaction: some milliseconds of work, and some megabytes if all rows are large.
const BATCH: i64 = 32;

/// The pause after a transaction: most of the time is left to calls.
const PAUSE: Duration = Duration::from_millis(5);

/// The pause before a retry after an error.
const RETRY: Duration = Duration::from_secs(10);

/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kinds of rows that are recomputed.
#[derive(Debug, Clone, Copy)]
enum Rows {
    Customers,
    Faqs,
    Conversations,
}

/// Recomputes all recorded rows, until that is done or `stop`.
pub(crate) async fn run(target: Target, db: Db, stop: CancellationToken) {
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = all(&target, &db) => done,
        };
        match done {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "rows of an earlier version could not be made anew; trying again")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn all(target: &Target, db: &Db) -> Result<()> {
    let tenants = {
        let mut owner = target.open().await.map_err(Error::internal)?;
        owner.ask(PATIENCE, async |owner| store::list_tenants(owner).await).await.map_err(Error::internal)?
    };
    for tenant in tenants {
        let caller = Caller::caretaker(tenant);
        for rows in [Rows::Customers, Rows::Faqs, Rows::Conversations] {
            let mut after = Uuid::nil();
            while let Some(last) = next(db, &caller, rows, after).await? {
                after = last;
                tokio::time::sleep(PAUSE).await;
            }
        }
        db.write(&caller, Deadline::after(PATIENCE), async |tx: &TenantTx| store::delete(tx).await).await?;
        tracing::info!(%tenant, "rows of an earlier version were made anew");
    }
    Ok(())
}

/// Recomputes the next rows after this id, and returns the id of the last one.
async fn next(db: &Db, caller: &Caller, rows: Rows, after: Uuid) -> Result<Option<Uuid>> {
    let work = async |tx: &TenantTx| match rows {
        Rows::Customers => customers::actions::reindex(tx, after, BATCH).await,
        Rows::Faqs => faqs::actions::reindex(tx, after, BATCH).await,
        Rows::Conversations => analyses::actions::reindex(tx, after, BATCH).await,
    };
    db.write(caller, Deadline::after(PATIENCE), work).await
}
