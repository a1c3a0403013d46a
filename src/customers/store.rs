//! `customers`.

pub(crate) mod counts;
pub(crate) mod external_ids;
mod list;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Text as SqlText};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub(crate) use list::{Cursor, Filter, OrderKey, View, count_found, list, list_ids};

use super::counts::Step;
use super::model::{ContentPreferences, Customer};
use crate::db::TenantTx;
use crate::db::each;
use crate::db::json::Json;
use crate::db::schema::customers::dsl;
use crate::db::schema::sql_types::Tsvector;
use crate::error::{Error, OnConstraint, Result};

diesel::define_sql_function! {
    /// Returns a tsvector of exactly these lexemes.
    fn array_to_tsvector(lexemes: Array<SqlText>) -> Tsvector;
}

/// Inserts a customer and counts it, unless its slug is taken.
pub(crate) async fn insert(
    tx: &TenantTx,
    customer: &Customer,
    lexemes: &[String],
    steps: &[Step],
) -> Result<bool> {
    let insert = diesel::insert_into(dsl::customers)
        .values((dsl::tenant_id.eq(tx.tenant()), customer, dsl::search_vector.eq(array_to_tsvector(lexemes))))
        .on_conflict((dsl::tenant_id, dsl::slug))
        .do_nothing()
        .returning(dsl::id);
    let created: counts::Created =
        counts::counted(tx, insert, customer, steps).get_result(&mut tx.connection()).await?;
    Ok(created.customers == 1)
}

/// Returns which of these slugs are taken.
pub(crate) async fn list_taken_slugs(tx: &TenantTx, slugs: &[String]) -> Result<Vec<String>> {
    let taken = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::slug.eq_any(slugs))
        .select(dsl::slug)
        .load(&mut tx.connection())
        .await?;
    Ok(taken)
}

/// Returns the existing customers with these ids, deleted or not.
pub(crate) async fn find_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Customer>> {
    let customer = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Customer::as_select());
    Ok(each::each(ids, customer).load(&mut tx.connection()).await?)
}

/// Returns which of these ids are those of customers, deleted or not.
pub(crate) async fn find_ids(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let id =
        dsl::customers.filter(dsl::tenant_id.eq(tx.tenant())).filter(dsl::id.eq(each::Id)).select(dsl::id);
    Ok(each::each(ids, id).load(&mut tx.connection()).await?)
}

/// Returns the customer with this slug, deleted or not.
pub(crate) async fn find_by_slug(tx: &TenantTx, slug: &str) -> Result<Option<Customer>> {
    let customer = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::slug.eq(slug))
        .select(Customer::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(customer)
}

/// Returns the customer with this id, deleted or not, and locks it until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Customer>> {
    let customer = dsl::customers
        .find((tx.tenant(), id))
        .select(Customer::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(customer)
}

/// Returns the customers after this id, deleted or not, by their ids, and locks them until the transaction
/// ends.
pub(crate) async fn lock_after(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Vec<Customer>> {
    let customers = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.gt(after))
        .order(dsl::id)
        .limit(limit)
        .select(Customer::as_select())
        .for_no_key_update()
        .load(&mut tx.connection())
        .await?;
    Ok(customers)
}

/// Keeps the customer with this id from being deleted until the transaction ends. Returns false if it does not
/// exist or is deleted.
pub(crate) async fn hold(tx: &TenantTx, id: Uuid) -> Result<bool> {
    let held: Option<Uuid> = dsl::customers
        .find((tx.tenant(), id))
        .filter(dsl::deleted_at.is_null())
        .select(dsl::id)
        .for_share()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(held.is_some())
}

/// Returns the content preferences of the customer with this id, and the time at which it was deleted.
pub(crate) async fn find_preferences(
    tx: &TenantTx,
    id: Uuid,
) -> Result<Option<(ContentPreferences, Option<DateTime<Utc>>)>> {
    let found: Option<(Json<ContentPreferences>, Option<DateTime<Utc>>)> = dsl::customers
        .find((tx.tenant(), id))
        .select((dsl::content_preferences, dsl::deleted_at))
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(found.map(|(Json(preferences), deleted_at)| (preferences, deleted_at)))
}

/// Updates the columns by which a customer is found and ordered. This is not a change of the customer.
pub(crate) async fn update_derived(tx: &TenantTx, customer: &Customer, lexemes: &[String]) -> Result<()> {
    diesel::update(dsl::customers.find((tx.tenant(), customer.id)))
        .set((
            dsl::sort_name.eq(&customer.sort_name),
            dsl::phone_e164.eq(&customer.phone_e164),
            dsl::search_vector.eq(array_to_tsvector(lexemes)),
        ))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Updates a customer.
pub(crate) async fn update(
    tx: &TenantTx,
    customer: &Customer,
    lexemes: &[String],
    slug_taken: impl FnOnce() -> Error,
) -> Result<()> {
    diesel::update(dsl::customers.find((tx.tenant(), customer.id)))
        .set((customer, dsl::search_vector.eq(array_to_tsvector(lexemes))))
        .execute(&mut tx.connection())
        .await
        .on_constraint("customers_tenant_id_slug_key", slug_taken)?;
    Ok(())
}
