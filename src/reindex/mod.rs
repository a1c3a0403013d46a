//! Makes anew what texts are found and recognised by, where an earlier version of the service made it.
//!
//! A migration that changes how texts are folded says which tenants have rows from before it. The service goes
//! through them when it starts: a few rows a transaction, in the tenant's name, while it serves. Until then such
//! a row is found by what it was found by before. Several replicas may do it at once, or again after a crash: what
//! is made anew twice is the same.

mod store;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::auth::Caller;
use crate::conversations::analyses;
use crate::customers;
use crate::db::{Db, Deadline, Target, TenantTx};
use crate::error::{Error, Result};
use crate::faqs;

/// Rows of a transaction: some milliseconds of work, and some megabytes where all of them are large.
const BATCH: i64 = 32;

/// The pause after a transaction: most of the time is left to those who are served.
const PAUSE: Duration = Duration::from_millis(5);

/// The pause before it tries again what failed.
const RETRY: Duration = Duration::from_secs(10);

/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is made anew.
#[derive(Debug, Clone, Copy)]
enum Rows {
    Customers,
    Faqs,
    Conversations,
}

/// Makes anew what there is to make anew, until that is done or `stop`.
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

/// Makes the next rows after this id anew, and gives the last of them.
async fn next(db: &Db, caller: &Caller, rows: Rows, after: Uuid) -> Result<Option<Uuid>> {
    let work = async |tx: &TenantTx| match rows {
        Rows::Customers => customers::actions::reindex(tx, after, BATCH).await,
        Rows::Faqs => faqs::actions::reindex(tx, after, BATCH).await,
        Rows::Conversations => analyses::actions::reindex(tx, after, BATCH).await,
    };
    db.write(caller, Deadline::after(PATIENCE), work).await
}
