//! Checks at the start that statements reach Postgres in the order in which they are first polled.
//!
//! Flights rely on it (see [`BatchTx`](super::BatchTx)): a statement that was sent late would run as another tenant,
//! or after COMMIT as no tenant. diesel-async keeps this order for prepared statements, but does not promise it.

use std::future::ready;
use std::time::Duration;

use diesel::sql_types::{Nullable, Text};
use diesel_async::RunQueryDsl;
use futures_util::future::try_join;
use uuid::Uuid;

use super::literal::literal;
use super::{Db, Deadline, Statements, TenantTx, Whose};
use crate::error::Result;
use crate::identity::Caller;

/// The time limit of the check.
const PATIENCE: Duration = Duration::from_secs(10);

literal! {
    /// The tenant that the transaction names.
    NamedTenant: Nullable<Text> = "current_setting('app.tenant_id', true)"
}

/// Returns whether each statement of a flight ran as its tenant, within the transaction.
///
/// # Errors
///
/// If there is no connection, or Postgres does not answer.
pub async fn is_kept(db: &Db) -> Result<bool> {
    is_kept_after(db, || ready(())).await
}

/// As [`is_kept`], with statements that first wait for something.
///
/// # Errors
///
/// As [`is_kept`].
pub async fn is_kept_after<W>(db: &Db, wait: impl Fn() -> W + Send + Sync) -> Result<bool>
where
    W: Future<Output = ()> + Send,
{
    let callers = [1, 2].map(|number| Caller::caretaker(Uuid::from_u128(number)));
    let [one, other] = &callers;
    let run = async |tx: &TenantTx| named_tenant(tx).await.map(drop);
    let statements = Statements { name: "order", run };
    let tx = db.batch(one, Whose::Many, Duration::ZERO, Deadline::after(PATIENCE), statements).await?;
    let flight = || {
        let named = async |tx: &TenantTx| {
            wait().await;
            Ok(named_tenant(tx).await? == Some(tx.tenant().to_string()))
        };
        // On the heap, as it is moved through several layers.
        Box::pin(try_join(tx.as_tenant(one, named), tx.as_tenant(other, named)))
    };
    let first = tx.begin(flight()).await?;
    let last = tx.commit(flight()).await?;
    Ok((first, last) == ((true, true), (true, true)))
}

async fn named_tenant(tx: &TenantTx) -> Result<Option<String>> {
    Ok(diesel::select(NamedTenant).get_result(&mut tx.connection()).await?)
}
