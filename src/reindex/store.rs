//! `reindexing`.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::schema::reindexing::dsl;
use crate::error::Result;

/// Returns the tenants with rows to recompute, as the owner: a tenant cannot see other tenants.
pub(super) async fn list_tenants(owner: &mut AsyncPgConnection) -> diesel::QueryResult<Vec<Uuid>> {
    dsl::reindexing.select(dsl::tenant_id).order(dsl::tenant_id).load(owner).await
}

/// Records that no row of the tenant is left to recompute.
pub(super) async fn delete(tx: &TenantTx) -> Result<()> {
    diesel::delete(dsl::reindexing.find(tx.tenant())).execute(&mut tx.connection()).await?;
    Ok(())
}
