//! `customer_counts`.
//!
//! The statements are written by hand: diesel has no UNNEST.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, SmallInt, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use crate::customers::counts::Step;
use crate::customers::model::Customer;
use crate::db::TenantTx;
use crate::error::Result;

/// The bits of an id that choose its shard: the last four, which are random.
const SHARD_BITS: u128 = 0xF;

/// The number of customers that have a value.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Total {
    /// The word of a [`Dimension`](crate::customers::counts::Dimension).
    pub(crate) dimension: String,
    pub(crate) value: String,
    pub(crate) customers: i64,
}

/// Updates the counts of the values that a customer takes on and gives up.
pub(crate) async fn update(tx: &TenantTx, customer: &Customer, steps: &[Step]) -> Result<()> {
    if !steps.is_empty() {
        Count::new(tx, customer, steps).execute(&mut tx.connection()).await?;
    }
    Ok(())
}

/// Returns the number of customers that have each value. The values of each dimension with the largest numbers
/// are returned, up to `limit`.
pub(crate) async fn list(tx: &TenantTx, limit: i64) -> Result<Vec<Total>> {
    Ok(List { tenant: tx.tenant(), limit }.load(&mut tx.connection()).await?)
}

/// Counts the customers of all tenants again, as the owner. Changes of customers wait meanwhile, for about a
/// second per million.
pub(crate) async fn recount(owner: &mut AsyncPgConnection) -> QueryResult<()> {
    owner.batch_execute(RECOUNT).await
}

/// The statements of [`recount`]. A transaction that is not committed yet changes the counts after these
/// statements, and so adds to their result.
const RECOUNT: &str = "
    BEGIN;
    LOCK TABLE customer_counts IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM customer_counts;
    INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers)
    SELECT c.tenant_id, d.dimension, d.value, get_byte(uuid_send(c.id), 15) & 15, count(*)
    FROM customers c
    CROSS JOIN LATERAL (VALUES
        ('STATUS', c.status), ('INDUSTRY_CATEGORY', c.industry_category), ('SOURCE', c.source)
    ) AS d (dimension, value)
    WHERE c.deleted_at IS NULL
    GROUP BY 1, 2, 3, 4;
    COMMIT";

/// Returns a statement that inserts a customer, if it can, and then counts it. It is a single one, because a
/// statement costs more than these rows. It returns how many customers it inserted.
pub(super) fn counted<I>(tx: &TenantTx, insert: I, customer: &Customer, steps: &[Step]) -> Counted<I> {
    Counted { insert, count: Count::new(tx, customer, steps) }
}

/// The statement of [`counted`].
#[derive(QueryId)]
pub(super) struct Counted<I> {
    insert: I,
    count: Count,
}

impl<I> Query for Counted<I> {
    type SqlType = BigInt;
}

impl<I: QueryFragment<Pg>> QueryFragment<Pg> for Counted<I> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH created AS (");
        self.insert.walk_ast(out.reborrow())?;
        out.push_sql("), counted AS (");
        self.count.walk("created CROSS JOIN ", &mut out)?;
        out.push_sql(") SELECT count(*) FROM created");
        Ok(())
    }
}

/// The statement of [`update`].
#[derive(QueryId)]
struct Count {
    tenant: Uuid,
    shard: i16,
    now: DateTime<Utc>,
    dimensions: Vec<&'static str>,
    values: Vec<String>,
    taken: Vec<bool>,
}

impl Count {
    fn new(tx: &TenantTx, customer: &Customer, steps: &[Step]) -> Self {
        Self {
            tenant: tx.tenant(),
            shard: i16::try_from(customer.id.as_u128() & SHARD_BITS).unwrap_or_default(),
            now: customer.updated_at,
            dimensions: steps.iter().map(|step| step.dimension.word()).collect(),
            values: steps.iter().map(|step| step.value.clone()).collect(),
            taken: steps.iter().map(|step| step.taken).collect(),
        }
    }

    /// Rows are written in one order, so that two transactions never wait for each other. A value that is given
    /// up has a row, since it was counted: the proposed row, with 0 customers, only marks it. If the value was
    /// not counted, the number is wrong and stays 0: a wrong number refuses no change.
    fn walk<'b>(&'b self, from: &str, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO customer_counts AS c \
             (dimension, value, customers, tenant_id, shard, created_at, updated_at) \
             SELECT s.dimension, s.value, s.taken::int, ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(", ");
        out.push_bind_param::<SmallInt, _>(&self.shard)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(" FROM ");
        out.push_sql(from);
        out.push_sql("unnest(");
        out.push_bind_param::<Array<SqlText>, _>(&self.dimensions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.values)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Bool>, _>(&self.taken)?;
        out.push_sql(
            ") AS s (dimension, value, taken) ORDER BY s.dimension, s.value \
             ON CONFLICT (tenant_id, dimension, value, shard) DO UPDATE SET \
             customers = greatest(c.customers + CASE excluded.customers WHEN 0 THEN -1 ELSE 1 END, 0), \
             updated_at = excluded.updated_at, revision = c.revision + 1",
        );
        Ok(())
    }
}

impl QueryFragment<Pg> for Count {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.walk("", &mut out)
    }
}

/// The statement of [`list`].
#[derive(QueryId)]
struct List {
    tenant: Uuid,
    limit: i64,
}

impl Query for List {
    type SqlType = (SqlText, SqlText, BigInt);
}

impl QueryFragment<Pg> for List {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT dimension, value, customers FROM (SELECT dimension, value, \
             sum(customers)::bigint AS customers, row_number() OVER \
             (PARTITION BY dimension ORDER BY sum(customers) DESC, value) AS place \
             FROM customer_counts WHERE tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" GROUP BY dimension, value HAVING sum(customers) > 0) AS t WHERE place <= ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(" ORDER BY dimension, place");
        Ok(())
    }
}
