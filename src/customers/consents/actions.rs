//! The reads of consents, within one transaction.

use super::store::{self, Consent, Cursor, Filter};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::error::Result;
use crate::rpc::Page;

/// Returns one page of consents, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, filter: &Filter, page: &Page<Cursor>) -> Result<Rows<Consent>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    store::list(tx, filter, page).await
}
