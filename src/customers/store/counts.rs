//! `customer_counts`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Bool, SmallInt, Text as SqlText, Timestamptz, Untyped, Uuid as SqlUuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use crate::customers::counts::Step;
use crate::customers::model::Customer;
use crate::db::TenantTx;
use crate::db::schema::customer_counts;
use crate::db::statement::{fragment, statement};
use crate::error::Result;

/// The bits of an id that choose its shard: the last four, which are random.
const SHARD_BITS: u128 = 0xF;

/// The number of customers that have a value.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = customer_counts, check_for_backend(Pg))]
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
/// statement costs more than these rows. Its row is [`Created`].
pub(super) fn counted<I>(tx: &TenantTx, insert: I, customer: &Customer, steps: &[Step]) -> Counted<I> {
    Counted { insert, count: Count::new(tx, customer, steps) }
}

/// The row of [`counted`].
#[derive(Debug, QueryableByName)]
pub(super) struct Created {
    /// The number of customers that were inserted.
    #[diesel(sql_type = BigInt)]
    pub(super) customers: i64,
}

/// The statement of [`counted`]. It is written by hand, because it has a statement of diesel in it.
#[derive(QueryId)]
pub(super) struct Counted<I> {
    insert: I,
    count: Count,
}

impl<I> Query for Counted<I> {
    type SqlType = Untyped;
}

impl<I: QueryFragment<Pg>> QueryFragment<Pg> for Counted<I> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { insert, count: Count { counts, steps } } = self;
        out.push_sql("WITH created AS (");
        insert.walk_ast(out.reborrow())?;
        out.push_sql("), counted AS (");
        counts.walk_ast(out.reborrow())?;
        out.push_sql(" FROM created CROSS JOIN ");
        steps.walk_ast(out.reborrow())?;
        out.push_sql(") SELECT count(*) AS customers FROM created");
        Ok(())
    }
}

statement! {
    /// The statement of [`update`].
    struct Count {
        counts: Counts,
        steps: Steps,
    }
    ":counts FROM :steps"
}

fragment! {
    /// The counts that the steps `s` change.
    struct Counts {
        tenant: Uuid as SqlUuid,
        shard: i16 as SmallInt,
        now: DateTime<Utc> as Timestamptz,
    }
    "INSERT INTO customer_counts AS c (dimension, value, customers, tenant_id, shard, created_at, updated_at)
     SELECT s.dimension, s.value, s.taken::int, :tenant, :shard, :now, :now"
}

fragment! {
    /// The steps `s`, and how a count that exists changes.
    ///
    /// Rows are written in one order, so that two transactions never wait for each other. A value that is given up
    /// has a row, since it was counted: the proposed row, with 0 customers, only marks it. If the value was not
    /// counted, the number is wrong and stays 0: a wrong number refuses no change.
    struct Steps {
        dimensions: Vec<&'static str> as Array<SqlText>,
        values: Vec<String> as Array<SqlText>,
        taken: Vec<bool> as Array<Bool>,
    }
    "unnest(:dimensions, :values, :taken) AS s (dimension, value, taken)
     ORDER BY s.dimension, s.value
     ON CONFLICT (tenant_id, dimension, value, shard) DO UPDATE
     SET customers = greatest(c.customers + CASE excluded.customers WHEN 0 THEN -1 ELSE 1 END, 0),
         updated_at = excluded.updated_at, revision = c.revision + 1"
}

impl Count {
    fn new(tx: &TenantTx, customer: &Customer, steps: &[Step]) -> Self {
        let counts = Counts {
            tenant: tx.tenant(),
            shard: i16::try_from(customer.id.as_u128() & SHARD_BITS).unwrap_or_default(),
            now: customer.updated_at,
        };
        let steps = Steps {
            dimensions: steps.iter().map(|step| step.dimension.word()).collect(),
            values: steps.iter().map(|step| step.value.clone()).collect(),
            taken: steps.iter().map(|step| step.taken).collect(),
        };
        Self { counts, steps }
    }
}

statement! {
    /// The statement of [`list`].
    struct List {
        tenant: Uuid as SqlUuid,
        limit: i64 as BigInt,
    }
    "SELECT dimension, value, customers
     FROM (
         SELECT
             dimension, value, sum(customers)::bigint AS customers,
             row_number() OVER (PARTITION BY dimension ORDER BY sum(customers) DESC, value) AS place
         FROM customer_counts
         WHERE tenant_id = :tenant
         GROUP BY dimension, value
         HAVING sum(customers) > 0
     ) AS t
     WHERE place <= :limit
     ORDER BY dimension, place"
}
