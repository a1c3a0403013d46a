//! `customer_external_ids`.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::customers::model::ExternalId;
use crate::db::TenantTx;
use crate::db::schema::customer_external_ids::dsl;
use crate::error::Result;

/// Inserts the ids of other systems of a customer. Returns how many of them it has now: ids that another
/// customer has are skipped.
pub(crate) async fn insert(tx: &TenantTx, customer_id: Uuid, ids: &[ExternalId]) -> Result<usize> {
    let row = |id: &ExternalId| {
        (
            dsl::tenant_id.eq(tx.tenant()),
            dsl::source.eq(id.source.clone()),
            dsl::external_id.eq(id.id.clone()),
            dsl::customer_id.eq(customer_id),
        )
    };
    let inserted = diesel::insert_into(dsl::customer_external_ids)
        .values(ids.iter().map(row).collect::<Vec<_>>())
        .on_conflict((dsl::tenant_id, dsl::source, dsl::external_id))
        .do_nothing()
        .execute(&mut tx.connection())
        .await?;
    Ok(inserted)
}

/// Returns the customer that has this id.
pub(crate) async fn find_holder(tx: &TenantTx, id: &ExternalId) -> Result<Option<Uuid>> {
    let holder = dsl::customer_external_ids
        .find((tx.tenant(), &id.source, &id.id))
        .select(dsl::customer_id)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(holder)
}

/// Deletes all ids of other systems of a customer.
pub(crate) async fn delete(tx: &TenantTx, customer_id: Uuid) -> Result<()> {
    diesel::delete(dsl::customer_external_ids)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(customer_id))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}
