//! `reindexing`.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::schema::reindexing::dsl;
use crate::error::Result;

/// The tenants with rows to make anew, as the owner: no tenant sees the others.
pub(super) async fn list_tenants(owner: &mut AsyncPgConnection) -> diesel::QueryResult<Vec<Uuid>> {
    dsl::reindexing.select(dsl::tenant_id).order(dsl::tenant_id).load(owner).await
}

/// Notes that nothing of the tenant is left to make anew.
pub(super) async fn delete(tx: &TenantTx) -> Result<()> {
    diesel::delete(dsl::reindexing.find(tx.tenant())).execute(&mut tx.connection()).await?;
    Ok(())
}
