//! `purchase_refunds`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::each;
use crate::db::schema::purchase_refunds::{self, dsl};
use crate::error::Result;

/// A refund as it is stored.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = purchase_refunds, check_for_backend(Pg))]
pub(crate) struct Refund {
    pub(crate) id: Uuid,
    pub(crate) purchase_id: Uuid,
    pub(crate) amount_micros: i64,
    pub(crate) reason: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// Adds a refund.
pub(crate) async fn insert(tx: &TenantTx, refund: &Refund) -> Result<()> {
    diesel::insert_into(dsl::purchase_refunds)
        .values((dsl::tenant_id.eq(tx.tenant()), refund))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// The last refunds of each of these purchases, the newest of a purchase first.
pub(crate) async fn list_latest(tx: &TenantTx, purchase_ids: &[Uuid], limit: i64) -> Result<Vec<Refund>> {
    let latest = dsl::purchase_refunds
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::purchase_id.eq(each::Id))
        .order((dsl::created_at.desc(), dsl::id.desc()))
        .limit(limit)
        .select(Refund::as_select());
    Ok(each::each(purchase_ids, latest).load(&mut tx.connection()).await?)
}
