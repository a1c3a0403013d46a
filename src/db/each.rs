//! One lookup for each of many ids, in one statement.
//!
//! `id = ANY(…)` would find the same rows. But then the planner chooses how, and it reads all rows of a tenant if it
//! expects them to be few.
//!
//! The queries are written by hand, because any query of diesel can be in them.

use diesel::expression::{ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel::{AppearsOnTable, Expression, QueryResult, SelectableExpression};
use uuid::Uuid;

/// The current id, in the query that [`each`] runs for every id.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct Id;

/// Returns the rows that `query` finds for each of the ids.
pub fn each<Q>(ids: &[Uuid], query: Q) -> Each<Q> {
    Each { ids: ids.to_vec(), query }
}

/// As [`each`], with the rows in the order of the ids.
pub fn each_in_order<Q>(ids: &[Uuid], query: Q) -> EachInOrder<Q> {
    EachInOrder { ids: ids.to_vec(), query }
}

/// A query that runs for each of many ids.
#[derive(Debug, Clone, QueryId)]
pub struct Each<Q> {
    ids: Vec<Uuid>,
    query: Q,
}

/// A query that runs for each of many ids, in their order.
#[derive(Debug, Clone, QueryId)]
pub struct EachInOrder<Q> {
    ids: Vec<Uuid>,
    query: Q,
}

impl<Q: Query> Query for Each<Q> {
    type SqlType = Q::SqlType;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Each<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(") AS at_hand (id) CROSS JOIN LATERAL (");
        self.query.walk_ast(out.reborrow())?;
        // Without the OFFSET the planner could still turn this into a join.
        out.push_sql(" OFFSET 0) AS found");
        Ok(())
    }
}

impl<Q: Query> Query for EachInOrder<Q> {
    type SqlType = Q::SqlType;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for EachInOrder<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(") WITH ORDINALITY AS at_hand (id, place) CROSS JOIN LATERAL (");
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(" OFFSET 0) AS found ORDER BY at_hand.place");
        Ok(())
    }
}

impl Expression for Id {
    type SqlType = SqlUuid;
}

impl<T> SelectableExpression<T> for Id {}

impl<T> AppearsOnTable<T> for Id {}

impl<G> ValidGrouping<G> for Id {
    type IsAggregate = is_aggregate::Never;
}

impl QueryFragment<Pg> for Id {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("at_hand.id");
        Ok(())
    }
}
