//! `purchases`.

pub(crate) mod refunds;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Jsonb};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::campaigns::touches::paid::PAID;
use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::json::Json;
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::literal::literal;
use crate::db::schema::purchases::{self, dsl};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ConversationOutcome, PurchaseStatus};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;

/// A row of `purchases`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = purchases, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Purchase {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) order_id: Option<String>,
    pub(crate) payment_id: Option<String>,
    pub(crate) currency: String,
    pub(crate) amount_micros: i64,
    pub(crate) refunded_micros: i64,
    pub(crate) status: Text<PurchaseStatus>,
    /// The status with which it was recorded.
    pub(crate) recorded_status: Text<PurchaseStatus>,
    pub(crate) items: Json<Vec<Item>>,
    pub(crate) purchased_at: DateTime<Utc>,
    /// Whether the client set the time.
    pub(crate) has_purchased_at: bool,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) outcome: Option<Text<ConversationOutcome>>,
    pub(crate) metadata: serde_json::Value,
    pub(crate) void_reason: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

impl Purchase {
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// An item of the column `items`. Amounts are whole numbers here too.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_micros: Option<i64>,
}

/// The columns of a purchase that a context uses.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Bought {
    pub(crate) id: Uuid,
    pub(crate) currency: String,
    pub(crate) amount_micros: i64,
    pub(crate) refunded_micros: i64,
    /// Its first items.
    pub(crate) items: Json<Vec<Item>>,
    /// The number of all its items.
    pub(crate) item_count: i32,
    pub(crate) purchased_at: DateTime<Utc>,
}

literal! {
    /// The first items of a purchase: as many as a context names.
    FirstItems: Jsonb = "jsonb_path_query_array(purchases.items, '$[0 to 4]')"
}

literal! {
    /// The number of items of a purchase.
    ItemCount: Integer = "jsonb_array_length(purchases.items)"
}

/// The purchases that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) order_id: Option<String>,
    pub(crate) statuses: Vec<Text<PurchaseStatus>>,
    pub(crate) currency: Option<String>,
    pub(crate) purchased_from: Option<DateTime<Utc>>,
    pub(crate) purchased_until: Option<DateTime<Utc>>,
}

/// The end of a page: the time of its last purchase, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `purchase`.
    pub(crate) fn at(purchase: &Purchase) -> Self {
        Self(purchase.purchased_at, purchase.id)
    }
}

/// Inserts a purchase, unless its order has one. Returns whether it was inserted.
pub(crate) async fn insert(tx: &TenantTx, purchase: &Purchase) -> Result<bool> {
    let inserted = diesel::insert_into(dsl::purchases)
        .values((dsl::tenant_id.eq(tx.tenant()), purchase))
        .on_conflict((dsl::tenant_id, dsl::order_id))
        .do_nothing()
        .execute(&mut tx.connection())
        .await?;
    Ok(inserted == 1)
}

/// Returns the purchase with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Purchase>> {
    let purchase = dsl::purchases
        .find((tx.tenant(), id))
        .select(Purchase::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(purchase)
}

/// Returns the purchase of this order.
pub(crate) async fn find_by_order(tx: &TenantTx, order_id: &str) -> Result<Option<Purchase>> {
    let purchase = dsl::purchases
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::order_id.eq(order_id))
        .select(Purchase::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(purchase)
}

/// Returns the purchase with this id, and locks it until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Purchase>> {
    let purchase = dsl::purchases
        .find((tx.tenant(), id))
        .select(Purchase::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(purchase)
}

/// Updates a purchase. The caller must have locked it, so that its refunds have not changed since.
pub(crate) async fn update(tx: &TenantTx, purchase: &Purchase) -> Result<()> {
    diesel::update(dsl::purchases.find((tx.tenant(), purchase.id)))
        .set(purchase)
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the last paid purchases of a customer, the newest first.
pub(crate) async fn list_newest(tx: &TenantTx, customer_id: Uuid, limit: i64) -> Result<Vec<Bought>> {
    let newest = dsl::purchases
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(customer_id))
        .filter(dsl::status.eq_any(PAID.map(Text)))
        .order((dsl::purchased_at.desc(), dsl::id.desc()))
        .limit(limit)
        .select((
            dsl::id,
            dsl::currency,
            dsl::amount_micros,
            dsl::refunded_micros,
            FirstItems,
            ItemCount,
            dsl::purchased_at,
        ))
        .load(&mut tx.connection())
        .await?;
    Ok(newest)
}

/// Returns one page of the purchases that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Purchase>> {
    let mut query = listing(
        dsl::purchases
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Purchase::as_select())
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    if let Some(conversation_id) = filter.conversation_id {
        query = query.filter(dsl::conversation_id.eq(conversation_id));
    }
    if let Some(campaign_id) = filter.campaign_id {
        query = query.filter(dsl::campaign_id.eq(campaign_id));
    }
    if let Some(order_id) = &filter.order_id {
        query = query.filter(dsl::order_id.eq(order_id));
    }
    query = among!(query, dsl::status, filter.statuses);
    if let Some(currency) = &filter.currency {
        query = query.filter(dsl::currency.eq(currency));
    }
    if let Some(from) = filter.purchased_from {
        query = query.filter(dsl::purchased_at.ge(from));
    }
    if let Some(until) = filter.purchased_until {
        query = query.filter(dsl::purchased_at.lt(until));
    }
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::purchased_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::purchased_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}
