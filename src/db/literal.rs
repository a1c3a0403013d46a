//! SQL that diesel has no words for.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::Uuid as SqlUuid;
use uuid::Uuid;

/// The end of an `INSERT … SELECT` that would end without a word more. On Citus such a statement becomes a COPY,
/// which Postgres does not allow under a policy; one that returns something does not. Whoever executes it takes no
/// notice of what comes back.
pub(crate) const NO_COPY: &str = " RETURNING tenant_id";

/// Where [`push_of_tenant`] writes the tenant.
const TENANT: &str = "{tenant}";

/// Writes SQL that has the tenant as a parameter wherever it says `{tenant}`.
///
/// Each relation of a statement is asked for the tenant by a parameter of its own, and never by what another one
/// has: so a plan finds each by its key, and Citus knows that all of them are in one shard.
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
