//! Columns that a view of a resource leaves out. They are written by hand, because any column can be one.

use diesel::QueryResult;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::query_source::Column;
use diesel::sql_types::{Bool, Jsonb};

/// A selected column that is read if `read` is set, and is the expression `otherwise` if not.
///
/// One statement serves both cases, and Postgres does not read a column that is not shown.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct Shown<C> {
    column: C,
    read: bool,
    otherwise: &'static str,
}

/// The column if `read` is set; otherwise null.
pub fn shown<C>(column: C, read: bool) -> Shown<C>
where
    C: Column<SqlType = diesel::sql_types::Nullable<Jsonb>>,
{
    Shown { column, read, otherwise: "NULL" }
}

/// The column if `read` is set; otherwise this JSON, which no client can send.
pub fn shown_or<C: Column<SqlType = Jsonb>>(column: C, read: bool, json: &'static str) -> Shown<C> {
    Shown { column, read, otherwise: json }
}

impl<C: Expression> Expression for Shown<C> {
    type SqlType = C::SqlType;
}

impl<C, QS> AppearsOnTable<QS> for Shown<C>
where
    C: AppearsOnTable<QS>,
    Self: Expression,
{
}

impl<C, QS> SelectableExpression<QS> for Shown<C>
where
    C: SelectableExpression<QS>,
    Self: AppearsOnTable<QS>,
{
}

impl<C: ValidGrouping<G>, G> ValidGrouping<G> for Shown<C> {
    type IsAggregate = C::IsAggregate;
}

impl<C: Column + QueryFragment<Pg>> QueryFragment<Pg> for Shown<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("CASE WHEN ");
        out.push_bind_param::<Bool, _>(&self.read)?;
        out.push_sql(" THEN ");
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" ELSE ");
        out.push_sql(self.otherwise);
        out.push_sql(" END AS ");
        out.push_identifier(C::NAME)
    }
}
