//! `customers`.

pub(crate) mod counts;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Bool, Text as SqlText};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::counts::Step;
use crate::db::TenantTx;
use crate::db::each;
use crate::db::json::Json;
use crate::db::keyset::{Direction, keyset};
use crate::db::schema::customers::{self, dsl};
use crate::db::schema::sql_types::Tsvector;
use crate::db::texts::Texts;
use crate::error::{Error, OnConstraint, Result};
use crate::pb::CustomerStatus;
use crate::rpc::Page;
use crate::rpc::words::Text;

diesel::table! {
    /// The view through which customers are listed: a policy would keep `@@` from using an index.
    customer_list (tenant_id, id) {
        tenant_id -> Uuid,
        id -> Uuid,
        business_name -> Text,
        sort_name -> Text,
        slug -> Text,
        contact_name -> Text,
        email -> Text,
        phone -> Text,
        website -> Text,
        address -> Jsonb,
        industry_category -> Text,
        size -> Text,
        status -> Text,
        source -> Text,
        owner -> Text,
        tags -> Array<Nullable<Text>>,
        external_ref -> Text,
        business_context -> Jsonb,
        brand_voice -> Jsonb,
        content_preferences -> Jsonb,
        custom_attributes -> Jsonb,
        search_vector -> crate::db::schema::sql_types::Tsvector,
        deleted_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        revision -> Int8,
    }
}

diesel::define_sql_function! {
    /// A tsvector of exactly these lexemes.
    fn array_to_tsvector(lexemes: Array<SqlText>) -> Tsvector;
}

/// A customer as it is stored.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = customers, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Customer {
    pub(crate) id: Uuid,
    pub(crate) business_name: String,
    pub(crate) sort_name: String,
    pub(crate) slug: String,
    pub(crate) contact_name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) website: String,
    pub(crate) address: Json<Address>,
    pub(crate) industry_category: String,
    pub(crate) size: String,
    pub(crate) status: Text<CustomerStatus>,
    pub(crate) source: String,
    pub(crate) owner: String,
    pub(crate) tags: Texts,
    pub(crate) external_ref: String,
    pub(crate) business_context: Json<BusinessContext>,
    pub(crate) brand_voice: Json<BrandVoice>,
    pub(crate) content_preferences: Json<ContentPreferences>,
    pub(crate) custom_attributes: serde_json::Value,
    pub(crate) deleted_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

/// The column `address`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) city: String,
    pub(crate) region: String,
    pub(crate) postal_code: String,
    pub(crate) country_code: String,
}

/// The column `business_context`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BusinessContext {
    pub(crate) description: String,
    pub(crate) products_and_services: Vec<String>,
    pub(crate) target_audience: String,
    pub(crate) value_proposition: String,
    pub(crate) competitors: Vec<String>,
    pub(crate) goals: Vec<String>,
    pub(crate) challenges: Vec<String>,
}

/// The column `brand_voice`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BrandVoice {
    pub(crate) tone: String,
    pub(crate) style: String,
    pub(crate) vocabulary: Vec<String>,
    pub(crate) dos: Vec<String>,
    pub(crate) donts: Vec<String>,
    pub(crate) sample_texts: Vec<String>,
}

/// The column `content_preferences`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContentPreferences {
    pub(crate) topics: Vec<String>,
    pub(crate) formats: Vec<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) languages: Vec<String>,
    pub(crate) frequency: String,
    pub(crate) avoid: Vec<String>,
}

/// Which customers a list shows. All that is set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    /// The text of a tsquery.
    pub(crate) search: Option<String>,
    pub(crate) statuses: Vec<Text<CustomerStatus>>,
    pub(crate) industry_category: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) external_ref: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
    pub(crate) updated_from: Option<DateTime<Utc>>,
    pub(crate) updated_until: Option<DateTime<Utc>>,
    pub(crate) show_deleted: bool,
}

/// What a list is ordered by; the id decides between equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKey {
    CreatedAt,
    UpdatedAt,
    SortName,
}

/// Where a page ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cursor {
    Time(DateTime<Utc>, Uuid),
    Name(String, Uuid),
}

impl Cursor {
    /// Where a page that is ordered by `key` ends when `customer` is its last.
    pub(crate) fn at(key: OrderKey, customer: &Customer) -> Self {
        match key {
            OrderKey::CreatedAt => Self::Time(customer.created_at, customer.id),
            OrderKey::UpdatedAt => Self::Time(customer.updated_at, customer.id),
            OrderKey::SortName => Self::Name(customer.sort_name.clone(), customer.id),
        }
    }
}

/// Adds a customer and counts it, unless its slug is taken.
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
    let inserted: i64 = counts::counted(tx, insert, customer, steps).get_result(&mut tx.connection()).await?;
    Ok(inserted == 1)
}

/// Which of these slugs are taken.
pub(crate) async fn list_taken_slugs(tx: &TenantTx, slugs: &[String]) -> Result<Vec<String>> {
    let taken = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::slug.eq_any(slugs))
        .select(dsl::slug)
        .load(&mut tx.connection())
        .await?;
    Ok(taken)
}

/// The customers with these ids, deleted or not, as far as there are any.
pub(crate) async fn find_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Customer>> {
    let customer = dsl::customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Customer::as_select());
    Ok(each::each(ids, customer).load(&mut tx.connection()).await?)
}

/// Which of these ids are those of customers, deleted or not.
pub(crate) async fn find_ids(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let id =
        dsl::customers.filter(dsl::tenant_id.eq(tx.tenant())).filter(dsl::id.eq(each::Id)).select(dsl::id);
    Ok(each::each(ids, id).load(&mut tx.connection()).await?)
}

/// The customer with this slug, deleted or not.
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

/// The customer with this id, deleted or not, held until the transaction ends.
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

/// Keeps the customer with this id from being deleted until the transaction ends; false where there
/// is none, or it is deleted.
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

/// What content the customer with this id wants, and when it was deleted.
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

/// Writes a customer anew.
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

/// How many customers, deleted ones included, have the words of a tsquery; no more than `limit` are
/// counted.
pub(crate) async fn count_found(tx: &TenantTx, tsquery: &str, limit: i64) -> Result<i64> {
    use customer_list as c;
    let found: Vec<Uuid> = c::table
        .filter(c::tenant_id.eq(tx.tenant()))
        .filter(Matches { vector: c::search_vector, tsquery: tsquery.to_owned() })
        .select(c::id)
        .limit(limit)
        .load(&mut tx.connection())
        .await?;
    Ok(i64::try_from(found.len()).unwrap_or(i64::MAX))
}

/// One page of the customers that `filter` lets through, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    (key, direction): (OrderKey, Direction),
    page: &Page<Cursor>,
) -> Result<Vec<Customer>> {
    use customer_list as c;
    let query = c::table
        .filter(c::tenant_id.eq(tx.tenant()))
        .select((
            c::id,
            c::business_name,
            c::sort_name,
            c::slug,
            c::contact_name,
            c::email,
            c::phone,
            c::website,
            c::address,
            c::industry_category,
            c::size,
            c::status,
            c::source,
            c::owner,
            c::tags,
            c::external_ref,
            c::business_context,
            c::brand_voice,
            c::content_preferences,
            c::custom_attributes,
            c::deleted_at,
            c::created_at,
            c::updated_at,
            c::revision,
        ))
        .limit(page.limit())
        .into_boxed();
    let query = filtered(query, filter);
    let query = match (key, &page.after) {
        (OrderKey::CreatedAt, Some(Cursor::Time(time, id))) => {
            keyset!(query, direction, c::created_at, c::id, after(time, id))
        }
        (OrderKey::UpdatedAt, Some(Cursor::Time(time, id))) => {
            keyset!(query, direction, c::updated_at, c::id, after(time, id))
        }
        (OrderKey::SortName, Some(Cursor::Name(name, id))) => {
            keyset!(query, direction, c::sort_name, c::id, after(name, id))
        }
        (OrderKey::CreatedAt, _) => keyset!(query, direction, c::created_at, c::id),
        (OrderKey::UpdatedAt, _) => keyset!(query, direction, c::updated_at, c::id),
        (OrderKey::SortName, _) => keyset!(query, direction, c::sort_name, c::id),
    };
    Ok(query.load(&mut tx.connection()).await?)
}

/// The ids of the customers that `filter` lets through, in no order; no more than `limit`.
pub(crate) async fn list_ids(tx: &TenantTx, filter: &Filter, limit: i64) -> Result<Vec<Uuid>> {
    use customer_list as c;
    let query = c::table.filter(c::tenant_id.eq(tx.tenant())).select(c::id).limit(limit).into_boxed();
    Ok(filtered(query, filter).load(&mut tx.connection()).await?)
}

/// A query of the rows that `filter` lets through.
fn filtered<'q, ST>(
    mut query: customer_list::BoxedQuery<'q, Pg, ST>,
    filter: &'q Filter,
) -> customer_list::BoxedQuery<'q, Pg, ST> {
    use customer_list as c;
    if !filter.show_deleted {
        query = query.filter(c::deleted_at.is_null());
    }
    if let Some(search) = &filter.search {
        query = query.filter(Matches { vector: c::search_vector, tsquery: search.clone() });
    }
    // One word is asked for with `=`, which an index that goes on with the list's order can answer.
    if let [status] = filter.statuses.as_slice() {
        query = query.filter(c::status.eq(status));
    } else if !filter.statuses.is_empty() {
        query = query.filter(c::status.eq_any(&filter.statuses));
    }
    if let Some(industry_category) = &filter.industry_category {
        query = query.filter(c::industry_category.eq(industry_category));
    }
    if let Some(owner) = &filter.owner {
        query = query.filter(c::owner.eq(owner));
    }
    if let Some(external_ref) = &filter.external_ref {
        // The second condition is the index's own.
        query = query.filter(c::external_ref.eq(external_ref)).filter(c::external_ref.ne(""));
    }
    if let Some(source) = &filter.source {
        query = query.filter(c::source.eq(source));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(c::created_at.ge(from));
    }
    if let Some(until) = filter.created_until {
        query = query.filter(c::created_at.lt(until));
    }
    if let Some(from) = filter.updated_from {
        query = query.filter(c::updated_at.ge(from));
    }
    if let Some(until) = filter.updated_until {
        query = query.filter(c::updated_at.lt(until));
    }
    query
}

/// `… @@ …`: the vector has what the query asks for.
#[derive(Debug, Clone)]
struct Matches<C> {
    vector: C,
    tsquery: String,
}

impl<C: 'static> QueryId for Matches<C> {
    type QueryId = Matches<C>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<C: Expression> Expression for Matches<C> {
    type SqlType = Bool;
}

impl<C: SelectableExpression<T>, T> SelectableExpression<T> for Matches<C> {}

impl<C: AppearsOnTable<T>, T> AppearsOnTable<T> for Matches<C> {}

impl<C, G> diesel::expression::ValidGrouping<G> for Matches<C> {
    type IsAggregate = diesel::expression::is_aggregate::No;
}

impl<C: QueryFragment<Pg>> QueryFragment<Pg> for Matches<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.vector.walk_ast(out.reborrow())?;
        out.push_sql(" @@ ");
        out.push_bind_param::<SqlText, _>(&self.tsquery)?;
        out.push_sql("::tsquery");
        Ok(())
    }
}
