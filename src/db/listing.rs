//! Queries of lists, whose SQL depends on which filters are set.
//!
//! A connection keeps each statement that it prepares, and Postgres keeps some 50 KB for it, as long as the
//! connection lives. A list has up to hundreds of thousands of different statements, one for each combination of
//! filters. So none of them is kept: each is prepared, run once, and closed.
//!
//! The query is written by hand, because any boxed query of diesel can be in it.

use diesel::QueryResult;
use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::{BoxedDsl, FilterDsl, OrderDsl};

/// A query to which filters can be added one by one. No connection keeps its statement.
///
/// This is the only way to a boxed query: `into_boxed` is disallowed elsewhere.
pub fn listing<'q, Q: BoxedDsl<'q, Pg>>(query: Q) -> Listing<Q::Output> {
    Listing(query.internal_into_boxed())
}

/// See [`listing`].
#[derive(Debug, Clone)]
pub struct Listing<Q>(Q);

impl<Q> Listing<Q> {
    /// Keeps only the rows for which `predicate` holds.
    #[must_use]
    pub fn filter<P>(self, predicate: P) -> Self
    where
        Q: FilterDsl<P, Output = Q>,
    {
        Self(self.0.filter(predicate))
    }

    /// Sorts the rows in this order.
    #[must_use]
    pub fn order<E: Expression>(self, order: E) -> Self
    where
        Q: OrderDsl<E, Output = Q>,
    {
        Self(self.0.order(order))
    }
}

/// Keeps only the rows whose column has one of the values; all rows if there is no value. A single value is compared
/// with `=`. An index that continues in the list's order can then answer.
macro_rules! among {
    ($query:expr, $column:expr, $values:expr) => {
        match $values.as_slice() {
            [] => $query,
            [value] => $query.filter($column.eq(value)),
            values => $query.filter($column.eq_any(values)),
        }
    };
}
pub(crate) use among;

impl<Q: Query> Query for Listing<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for Listing<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Listing<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        self.0.walk_ast(out)
    }
}
