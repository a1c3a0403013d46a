//! Statements that are written as SQL: one text, with a name at each place of a value.
//!
//! A statement is a type, and its type is its name: a connection prepares it once, and finds it again without
//! rendering its text. Its rows are read by name (`#[derive(QueryableByName)]`), so the order of its columns and the
//! order of a struct's fields need not agree.
//!
//! `diesel::sql_query` has no such name. It renders and looks up the whole text on every run, and numbers its
//! parameters by hand.

mod parts;
mod varying;

pub(crate) use parts::{Part, count, parts};
pub(crate) use varying::{Joined, Number, Sql, joined};

/// Defines a statement: a struct of its values, each with its SQL type, and its SQL.
///
/// In the SQL, `:field` stands for the value of that field, as a variable does in psql. It may stand there several
/// times, and is a parameter of its own each time. The build fails if the SQL names a field that the struct does not
/// have, or leaves one out. A field without an SQL type is a part of the statement, from [`fragment!`] or of another
/// type that writes SQL; its SQL stands at its place. Statements may share pieces of SQL: a list of texts is joined.
///
/// A relation with a tenant is compared with `:tenant`, and never with the tenant of another relation. So a plan
/// finds each relation's rows by key, and Citus knows that all of them are in one shard.
///
/// A statement is found again by its type, unless a fragment's text differs from run to run.
///
/// ```text
/// statement! {
///     /// Puts messages in progress again.
///     struct Reopen {
///         tenant: Uuid as SqlUuid,
///         now: DateTime<Utc> as Timestamptz,
///         ids: Vec<Uuid> as Array<SqlUuid>,
///     }
///     "UPDATE conversation_messages AS m
///      SET status = 'IN_PROGRESS', updated_at = :now
///      FROM unnest(:ids) AS r (id)
///      WHERE m.id = r.id AND m.tenant_id = :tenant"
/// }
/// ```
macro_rules! statement {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? { $($fields:tt)* }
        $($sql:tt)+
    ) => {
        $crate::db::statement::fragment! {
            $(#[$attribute])*
            $vis struct $name $(<$life>)? { $($fields)* }
            $($sql)+
        }

        impl $(<$life>)? diesel::query_builder::Query for $name $(<$life>)? {
            type SqlType = diesel::sql_types::Untyped;
        }
    };
}
pub(crate) use statement;

/// Defines a part of statements: a struct, in the form of [`statement!`], or an enum of alternatives.
///
/// A statement with an enum is not found by its type, because its text depends on the value. Each variant has the
/// form of a struct, and one text:
///
/// ```text
/// fragment! {
///     /// A condition on the events `e`.
///     enum Condition<'f> {
///         Kinds { kinds: &'f [Text<CampaignEventKind>] as Array<SqlText> } => "AND e.kind = ANY (:kinds)",
///         IsOfCampaign => "AND e.campaign_id IS NOT NULL",
///     }
/// }
/// ```
macro_rules! fragment {
    (@push $out:ident, $value:expr, $sql_type:ty) => {
        $out.push_bind_param::<$sql_type, _>($value)?
    };
    (@push $out:ident, $fragment:expr) => {
        diesel::query_builder::QueryFragment::<diesel::pg::Pg>::walk_ast($fragment, $out.reborrow())?
    };
    (@walk $out:ident, [$($sql:expr),+], $(($field:ident = $value:expr $(, $sql_type:ty)?))*) => {
        const SQL: &[&str] = &[$($sql),+];
        const FIELDS: &[&str] = &[$(stringify!($field)),*];
        static PARTS: [$crate::db::statement::Part; $crate::db::statement::count(SQL)] =
            $crate::db::statement::parts(SQL, FIELDS);
        for part in &PARTS {
            match *part {
                $crate::db::statement::Part::Sql(sql) => $out.push_sql(sql),
                $($crate::db::statement::Part::Value(field) if field == stringify!($field) => {
                    $crate::db::statement::fragment!(@push $out, $value $(, $sql_type)?);
                })*
                $crate::db::statement::Part::Value(_) => {}
            }
        }
    };
    (@is_static $value:ty, $sql_type:ty) => { true };
    (@is_static $fragment:ty) => { <$fragment as diesel::query_builder::QueryId>::HAS_STATIC_QUERY_ID };
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $($(#[$about:meta])* $field_vis:vis $field:ident: $value:ty $(as $sql_type:ty)?),* $(,)?
        }
        $($sql:expr),+ $(,)?
    ) => {
        $(#[$attribute])*
        #[derive(Debug)]
        $vis struct $name $(<$life>)? { $($(#[$about])* $field_vis $field: $value,)* }

        const _: () = {
            /// The statement's name.
            #[derive(Debug)]
            pub(crate) struct Id;

            impl $(<$life>)? diesel::query_builder::QueryId for $name $(<$life>)? {
                type QueryId = Id;
                const HAS_STATIC_QUERY_ID: bool =
                    true $(&& $crate::db::statement::fragment!(@is_static $value $(, $sql_type)?))*;
            }
        };

        impl $(<$life>)? diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name $(<$life>)? {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                $crate::db::statement::fragment!(
                    @walk out, [$($sql),+], $(($field = &self.$field $(, $sql_type)?))*
                );
                Ok(())
            }
        }
    };
    (
        $(#[$attribute:meta])*
        $vis:vis enum $name:ident $(<$life:lifetime>)? {
            $(
                $(#[$about:meta])*
                $variant:ident $({ $($field:ident: $value:ty $(as $sql_type:ty)?),* $(,)? })? => $sql:expr
            ),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug)]
        $vis enum $name $(<$life>)? { $($(#[$about])* $variant $({ $($field: $value),* })?,)+ }

        /// Each variant has another text.
        impl $(<$life>)? diesel::query_builder::QueryId for $name $(<$life>)? {
            type QueryId = ();
            const HAS_STATIC_QUERY_ID: bool = false;
        }

        impl $(<$life>)? diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name $(<$life>)? {
            fn walk_ast<'b>(
                &'b self,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::QueryResult<()> {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        $crate::db::statement::fragment!(
                            @walk out, [$sql], $($(($field = $field $(, $sql_type)?))*)?
                        );
                    })+
                }
                Ok(())
            }
        }
    };
}
pub(crate) use fragment;

#[cfg(test)]
mod tests;
