//! The statement that lists events. It is written by hand: the events of a page are found in an index alone,
//! and only these events are read. The index has all the columns of the conditions. So rare kinds are found
//! without reading the events of frequent kinds.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::campaigns::events::model::{Cursor, Event, Filter};
use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::Direction;
use crate::db::literal::push_of_tenant;
use crate::error::Result;
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// Returns one page of the events that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Event>> {
    let list = List {
        tenant: tx.tenant(),
        filter: filter.clone(),
        descending: direction == Direction::Descending,
        after: page.after,
        limit: page.limit(),
    };
    Ok(Rows::of(fitted(list, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// The statement of [`list`].
struct List {
    tenant: Uuid,
    filter: Filter,
    descending: bool,
    after: Option<Cursor>,
    limit: i64,
}

/// The SQL depends on the conditions that are set. A connection would keep a statement for each combination.
impl QueryId for List {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for List {
    type SqlType = (
        SqlUuid,
        SqlUuid,
        SqlText,
        SqlUuid,
        SqlText,
        Timestamptz,
        Nullable<SqlUuid>,
        Nullable<BigInt>,
        Timestamptz,
        Nullable<SqlText>,
        Nullable<SqlText>,
        SqlText,
        SqlText,
        Nullable<SqlText>,
    );
}

impl List {
    /// Writes the conditions on the events `p`.
    fn conditions<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Filter { campaign_id, customer_id, kinds, occurred_from, occurred_until } = &self.filter;
        out.push_sql(" WHERE p.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        if let Some(campaign_id) = campaign_id {
            out.push_sql(" AND p.campaign_id = ");
            out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        }
        if let Some(customer_id) = customer_id {
            out.push_sql(" AND p.customer_id = ");
            out.push_bind_param::<SqlUuid, _>(customer_id)?;
        }
        if !kinds.is_empty() {
            out.push_sql(" AND p.kind = ANY(");
            out.push_bind_param::<Array<SqlText>, _>(kinds)?;
            out.push_sql(")");
        }
        if let Some(from) = occurred_from {
            out.push_sql(" AND p.occurred_at >= ");
            out.push_bind_param::<Timestamptz, _>(from)?;
        }
        if let Some(until) = occurred_until {
            out.push_sql(" AND p.occurred_at < ");
            out.push_bind_param::<Timestamptz, _>(until)?;
        }
        if let Some(Cursor(time, id)) = &self.after {
            out.push_sql(if self.descending {
                " AND (p.occurred_at, p.id) < ("
            } else {
                " AND (p.occurred_at, p.id) > ("
            });
            out.push_bind_param::<Timestamptz, _>(time)?;
            out.push_sql(", ");
            out.push_bind_param::<SqlUuid, _>(id)?;
            out.push_sql(")");
        }
        Ok(())
    }
}

impl QueryFragment<Pg> for List {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let order = if self.descending {
            [" ORDER BY p.occurred_at DESC, p.id DESC", " ORDER BY page.occurred_at DESC, page.id DESC"]
        } else {
            [" ORDER BY p.occurred_at, p.id", " ORDER BY page.occurred_at, page.id"]
        };
        out.unsafe_to_cache_prepared();
        out.push_sql(
            "SELECT e.id, e.campaign_id, e.event_id, e.customer_id, e.kind, e.occurred_at, e.conversation_id, \
             e.cost_micros, e.created_at, e.channel, e.bounce_kind, e.detail, e.url, k.currency \
             FROM (SELECT p.id, p.occurred_at FROM campaign_events AS p",
        );
        self.conditions(&mut out)?;
        out.push_sql(order[0]);
        // The limit is text: a plan for any limit expects a tenth of the tenant's rows, and reads all of them.
        out.push_sql(&format!(" LIMIT {}", self.limit));
        let rest = ") AS page CROSS JOIN LATERAL (SELECT x.* FROM campaign_events AS x \
             WHERE x.tenant_id = {tenant} AND x.id = page.id OFFSET 0) AS e \
             CROSS JOIN LATERAL (SELECT x.currency FROM campaigns AS x \
             WHERE x.tenant_id = {tenant} AND x.id = e.campaign_id OFFSET 0) AS k";
        push_of_tenant(&mut out, rest, &self.tenant)?;
        out.push_sql(order[1]);
        Ok(())
    }
}
