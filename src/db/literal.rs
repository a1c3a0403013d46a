//! SQL that diesel has no words for, as an expression.

/// Makes a type that stands for an expression in SQL.
///
/// `diesel::dsl::sql` would do the same, but a statement with it has no name, and is parsed and planned
/// anew each time that it runs.
macro_rules! literal {
    ($(#[$attribute:meta])* $name:ident: $type:ty = $sql:literal) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, diesel::query_builder::QueryId)]
        struct $name;

        impl diesel::Expression for $name {
            type SqlType = $type;
        }

        impl<T> diesel::SelectableExpression<T> for $name {}

        impl<T> diesel::AppearsOnTable<T> for $name {}

        impl<G> diesel::expression::ValidGrouping<G> for $name {
            type IsAggregate = diesel::expression::is_aggregate::No;
        }

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
