//! Lists, counts and ids of customers.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Jsonb, Text as SqlText};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::customers::model::{Customer, ExternalId, columns};
use crate::customers::words::Search;
use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{Listing, among, listing};
use crate::db::literal::{expression, literal};
use crate::db::schema::{customer_external_ids, customer_list};
use crate::db::statement::fragment;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::CustomerStatus;
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

// Customers are listed through a view: a policy would keep `@@` from using an index.
diesel::allow_tables_to_appear_in_same_query!(customer_list, customer_external_ids);

/// The customers that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) search: Option<Search>,
    pub(crate) statuses: Vec<Text<CustomerStatus>>,
    pub(crate) industry_category: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) external_id: Option<ExternalId>,
    pub(crate) source: Option<String>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
    pub(crate) updated_from: Option<DateTime<Utc>>,
    pub(crate) updated_until: Option<DateTime<Utc>>,
    pub(crate) show_deleted: bool,
}

/// The order of a list. The id decides between equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKey {
    CreatedAt,
    UpdatedAt,
    SortName,
}

/// The end of a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cursor {
    Time(DateTime<Utc>, Uuid),
    Name(String, Uuid),
}

impl Cursor {
    /// Returns the end of a page that is ordered by `key` and whose last row is `customer`.
    pub(crate) fn at(key: OrderKey, customer: &Customer) -> Self {
        match key {
            OrderKey::CreatedAt => Self::Time(customer.created_at, customer.id),
            OrderKey::UpdatedAt => Self::Time(customer.updated_at, customer.id),
            OrderKey::SortName => Self::Name(customer.sort_name.clone(), customer.id),
        }
    }
}

/// Returns how many customers, with deleted ones, match a tsquery. No more than `limit` are counted.
pub(crate) async fn count_found(tx: &TenantTx, tsquery: &str, limit: i64) -> Result<i64> {
    use customer_list as c;
    let found: Vec<Uuid> = c::table
        .filter(c::tenant_id.eq(tx.tenant()))
        .filter(Matches { tsquery: tsquery.to_owned() })
        .select(c::id)
        .limit(limit)
        .load(&mut tx.connection())
        .await?;
    Ok(i64::try_from(found.len()).unwrap_or(i64::MAX))
}

/// The columns of each customer that a list reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Without the columns that can be large: they are empty.
    Basic,
    Full,
}

/// Returns one page of the customers that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    view: View,
    (key, direction): (OrderKey, Direction),
    page: &Page<Cursor>,
) -> Result<Rows<Customer>> {
    use customer_list as c;
    let tenant = tx.tenant();
    let customers = c::table.filter(c::tenant_id.eq(tenant)).limit(page.limit());
    let query = match view {
        View::Basic => listing(customers.select(columns!(basic))),
        View::Full => listing(customers.select(columns!(c))),
    };
    let query = filtered(query, tenant, filter);
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
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// Returns the ids of the customers that match `filter`, in no order, and no more than `limit`.
pub(crate) async fn list_ids(tx: &TenantTx, filter: &Filter, limit: i64) -> Result<Vec<Uuid>> {
    use customer_list as c;
    let query = c::table.filter(c::tenant_id.eq(tx.tenant())).select(c::id).limit(limit);
    Ok(filtered(listing(query), tx.tenant(), filter).load(&mut tx.connection()).await?)
}

/// Returns a query of the rows that match `filter`.
fn filtered<'q, ST>(
    mut query: Listing<customer_list::BoxedQuery<'q, Pg, ST>>,
    tenant: Uuid,
    filter: &'q Filter,
) -> Listing<customer_list::BoxedQuery<'q, Pg, ST>> {
    use customer_list as c;
    if !filter.show_deleted {
        query = query.filter(c::deleted_at.is_null());
    }
    if let Some(Search { tsquery, .. }) = &filter.search {
        query = query.filter(Matches { tsquery: tsquery.clone() });
    }
    query = among!(query, c::status, filter.statuses);
    if let Some(industry_category) = &filter.industry_category {
        query = query.filter(c::industry_category.eq(industry_category));
    }
    if let Some(owner) = &filter.owner {
        query = query.filter(c::owner.eq(owner));
    }
    if let Some(ExternalId { source, id }) = &filter.external_id {
        use customer_external_ids as e;
        let holder = e::table
            .filter(e::tenant_id.eq(tenant))
            .filter(e::source.eq(source))
            .filter(e::external_id.eq(id))
            .select(e::customer_id);
        query = query.filter(c::id.eq_any(holder));
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

/// The columns of the view, but for those that can be large: they are empty.
mod basic {
    pub(super) use super::{
        NoBrandVoice as brand_voice, NoBusinessContext as business_context,
        NoContentPreferences as content_preferences, NoCustomAttributes as custom_attributes,
    };
    pub(super) use crate::db::schema::customer_list::*;
}

literal! {
    /// An empty object in place of the column, which is not read.
    NoBusinessContext: Jsonb = "'{}'::jsonb AS business_context"
}

literal! {
    /// An empty object in place of the column, which is not read.
    NoBrandVoice: Jsonb = "'{}'::jsonb AS brand_voice"
}

literal! {
    /// An empty object in place of the column, which is not read.
    NoContentPreferences: Jsonb = "'{}'::jsonb AS content_preferences"
}

literal! {
    /// An empty object in place of the column, which is not read.
    NoCustomAttributes: Jsonb = "'{}'::jsonb AS custom_attributes"
}

fragment! {
    /// The condition that a customer matches a tsquery.
    struct Matches {
        tsquery: String as SqlText,
    }
    r#""customer_list"."search_vector" @@ :tsquery::tsquery"#
}

expression!(Matches: Bool);
