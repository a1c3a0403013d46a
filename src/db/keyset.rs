//! "After this row", for pages. The condition is written by hand, because any columns can be in it.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Bool;
use diesel::{AppearsOnTable, Expression, QueryResult, SelectableExpression};

/// The direction of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// The direction that an `order_by` of the contract asks for. If it is empty, the largest comes first.
    pub fn of(order_by: &str) -> Self {
        if order_by.is_empty() || order_by.ends_with(" desc") { Self::Descending } else { Self::Ascending }
    }
}

/// `(key, id) > (…)`, or `<` if the list is descending.
///
/// It compares rows, because an index on (key, id) can then start where the previous page ended. The same condition
/// with AND and OR would read all rows before it.
#[derive(Debug, Clone, Copy)]
pub struct After<K, I, KeyValue, IdValue> {
    key: K,
    id: I,
    key_value: KeyValue,
    id_value: IdValue,
    descending: bool,
}

/// The rows that come after the one with this key and id.
pub fn after<K, I, KeyValue, IdValue>(
    direction: Direction,
    (key, id): (K, I),
    (key_value, id_value): (KeyValue, IdValue),
) -> After<K, I, KeyValue::Expression, IdValue::Expression>
where
    K: Expression,
    I: Expression,
    K::SqlType: diesel::sql_types::SqlType,
    I::SqlType: diesel::sql_types::SqlType,
    KeyValue: diesel::expression::AsExpression<K::SqlType>,
    IdValue: diesel::expression::AsExpression<I::SqlType>,
{
    After {
        key,
        id,
        key_value: key_value.as_expression(),
        id_value: id_value.as_expression(),
        descending: direction == Direction::Descending,
    }
}

/// The SQL depends on the direction, so the type alone does not identify the statement.
impl<K, I, KV, IV> QueryId for After<K, I, KV, IV> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<K, I, KV, IV> Expression for After<K, I, KV, IV>
where
    K: Expression,
    I: Expression,
    KV: Expression,
    IV: Expression,
{
    type SqlType = Bool;
}

impl<K, I, KV, IV, T> SelectableExpression<T> for After<K, I, KV, IV>
where
    K: SelectableExpression<T>,
    I: SelectableExpression<T>,
    KV: SelectableExpression<T>,
    IV: SelectableExpression<T>,
    Self: AppearsOnTable<T>,
{
}

impl<K, I, KV, IV, T> AppearsOnTable<T> for After<K, I, KV, IV>
where
    K: AppearsOnTable<T>,
    I: AppearsOnTable<T>,
    KV: AppearsOnTable<T>,
    IV: AppearsOnTable<T>,
{
}

impl<K, I, KV, IV, G> diesel::expression::ValidGrouping<G> for After<K, I, KV, IV> {
    type IsAggregate = diesel::expression::is_aggregate::No;
}

impl<K, I, KV, IV> QueryFragment<Pg> for After<K, I, KV, IV>
where
    K: QueryFragment<Pg>,
    I: QueryFragment<Pg>,
    KV: QueryFragment<Pg>,
    IV: QueryFragment<Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(");
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.id.walk_ast(out.reborrow())?;
        out.push_sql(if self.descending { ") < (" } else { ") > (" });
        self.key_value.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.id_value.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// Orders a boxed query by a key and then the id, and optionally starts it after a given row.
macro_rules! keyset {
    ($query:expr, $direction:expr, $key:expr, $id:expr, after ($key_value:expr, $id_value:expr)) => {
        $crate::db::keyset::keyset!(
            $query.filter($crate::db::keyset::after($direction, ($key, $id), ($key_value, $id_value))),
            $direction,
            $key,
            $id
        )
    };
    ($query:expr, $direction:expr, $key:expr, $id:expr) => {
        match $direction {
            $crate::db::keyset::Direction::Ascending => $query.order(($key.asc(), $id.asc())),
            $crate::db::keyset::Direction::Descending => $query.order(($key.desc(), $id.desc())),
        }
    };
}
pub(crate) use keyset;
