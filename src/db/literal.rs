//! SQL that diesel cannot express.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::Uuid as SqlUuid;
use uuid::Uuid;

/// The end of an `INSERT … SELECT` that needs no result. On Citus a statement without RETURNING becomes a COPY, which
/// Postgres does not allow under a policy. Code that executes the statement ignores the returned rows.
pub(crate) const NO_COPY: &str = " RETURNING tenant_id";

/// The placeholder that [`push_of_tenant`] replaces by the tenant.
const TENANT: &str = "{tenant}";

/// Writes SQL that has the tenant as a parameter at every `{tenant}`.
///
/// Each relation of a statement gets the tenant by a parameter of its own, never by a comparison with another
/// relation. So a plan finds each relation's rows by key, and Citus knows that all of them are in one shard.
pub(crate) fn push_of_tenant<'b>(
    out: &mut AstPass<'_, 'b, Pg>,
    sql: &str,
    tenant: &'b Uuid,
) -> QueryResult<()> {
    for (place, part) in sql.split(TENANT).enumerate() {
        if place > 0 {
            out.push_bind_param::<SqlUuid, _>(tenant)?;
        }
        out.push_sql(part);
    }
    Ok(())
}

/// Defines a type that stands for an SQL expression.
///
/// `diesel::dsl::sql` would do the same, but a statement with it has no name, so it is parsed and planned anew on
/// every run.
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
