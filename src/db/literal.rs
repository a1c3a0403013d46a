//! Expressions of diesel's queries that are written as SQL. `db::statement` has whole statements.

/// The end of an `INSERT … SELECT` that needs no result. On Citus a statement without RETURNING becomes a COPY, which
/// Postgres does not allow under a policy. Code that executes the statement ignores the returned rows.
pub(crate) const NO_COPY: &str = " RETURNING tenant_id";

/// Defines a type that stands for an SQL expression.
///
/// `diesel::dsl::sql` would do the same, but a statement with it has no name, so it is parsed and planned anew on
/// every run. An expression with values is a [`fragment!`](super::statement) that is made an [`expression!`].
macro_rules! literal {
    ($(#[$attribute:meta])* $name:ident: $type:ty = $sql:literal) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, diesel::query_builder::QueryId)]
        struct $name;

        $crate::db::literal::expression!($name: $type);

        impl diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                out.push_sql($sql);
                Ok(())
            }
        }
    };
}
pub(crate) use literal;

/// Makes a type that writes SQL an expression of diesel's queries, of this SQL type.
macro_rules! expression {
    ($name:ident: $type:ty) => {
        impl diesel::Expression for $name {
            type SqlType = $type;
        }

        impl<T> diesel::SelectableExpression<T> for $name {}

        impl<T> diesel::AppearsOnTable<T> for $name {}

        impl<G> diesel::expression::ValidGrouping<G> for $name {
            type IsAggregate = diesel::expression::is_aggregate::No;
        }
    };
}
pub(crate) use expression;
