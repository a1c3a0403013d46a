//! The reads of consents, within one transaction.

use super::store::{self, Consent, Cursor, Filter};
use crate::db::TenantTx;
use crate::error::Result;
use crate::rpc::Page;

/// Returns one page of consents, and where the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    page: &Page<Cursor>,
) -> Result<(Vec<Consent>, Option<Cursor>)> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let (consents, more) = page.cut(store::list(tx, filter, page).await?);
    let next = consents.last().filter(|_| more).map(Cursor::at);
    Ok((consents, next))
}
