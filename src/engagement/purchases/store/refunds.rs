//! `purchase_refunds`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::each;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::listing;
use crate::db::schema::purchase_refunds::{self, dsl};
use crate::error::Result;
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// A row of `purchase_refunds`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = purchase_refunds, check_for_backend(Pg))]
pub(crate) struct Refund {
    pub(crate) id: Uuid,
    pub(crate) purchase_id: Uuid,
    pub(crate) refund_id: Option<String>,
    pub(crate) amount_micros: i64,
    pub(crate) reason: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// The end of a page: the time at which its last refund was recorded, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `refund`.
    pub(crate) fn at(refund: &Refund) -> Self {
        Self(refund.created_at, refund.id)
    }
}

/// Inserts a refund.
pub(crate) async fn insert(tx: &TenantTx, refund: &Refund) -> Result<()> {
    diesel::insert_into(dsl::purchase_refunds)
        .values((dsl::tenant_id.eq(tx.tenant()), refund))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the refund of a purchase with this id of the payment provider.
pub(crate) async fn find_by_refund_id(
    tx: &TenantTx,
    purchase_id: Uuid,
    refund_id: &str,
) -> Result<Option<Refund>> {
    let refund = dsl::purchase_refunds
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::purchase_id.eq(purchase_id))
        .filter(dsl::refund_id.eq(refund_id))
        .select(Refund::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(refund)
}

/// Returns one page of the refunds of a purchase in their order, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, purchase_id: Uuid, page: &Page<Cursor>) -> Result<Rows<Refund>> {
    let query = listing(
        dsl::purchase_refunds
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .filter(dsl::purchase_id.eq(purchase_id))
            .select(Refund::as_select())
            .limit(page.limit()),
    );
    let direction = Direction::Ascending;
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::created_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::created_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// Returns the last refunds of each of these purchases, the newest of a purchase first.
pub(crate) async fn list_latest(tx: &TenantTx, purchase_ids: &[Uuid], limit: i64) -> Result<Vec<Refund>> {
    let latest = dsl::purchase_refunds
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::purchase_id.eq(each::Id))
        .order((dsl::created_at.desc(), dsl::id.desc()))
        .limit(limit)
        .select(Refund::as_select());
    Ok(each::each(purchase_ids, latest).load(&mut tx.connection()).await?)
}
