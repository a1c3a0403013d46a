//! A query that ends once it has read a given number of bytes.
//!
//! A limit in rows does not bound the size: a row may have a hundred bytes or a megabyte. So each row counts as a
//! number of units of one kibibyte, by the length of its values as uncompressed text, and `LIMIT` counts units.
//! Postgres stops there: further rows are neither sent nor decompressed.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Untyped};

use crate::numbers;

/// The bytes of a unit. Every row counts as at least one unit.
const UNIT: usize = 1 << 10;

/// The limits of a list: it ends with the first one that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The limit of rows.
    pub rows: i64,
    /// The limit of bytes. At least one row is returned.
    pub bytes: usize,
}

/// An SQL expression for the size of a row `p` in bytes.
pub trait Size: 'static {
    /// The expression.
    const SQL: &'static str;

    /// Whether the query is planned alone. A limit suggests few rows, for which the planner would prefer an index that
    /// starts cheaply to the index that has the rows. Where only one index has the order of the query, it costs a fifth
    /// less to plan all as one.
    const IS_PLANNED_ALONE: bool = true;
}

/// The whole row as text, for any columns. It is never smaller than the row's values.
#[derive(Debug, Clone, Copy)]
pub struct WholeRow;

impl Size for WholeRow {
    const SQL: &'static str = "octet_length(p::text)";
}

/// Defines the size of rows by their columns of text that may be long, none of them nullable. The others are together
/// smaller than the unit that the size is rounded up to. Postgres knows the length of a text without reading it; to write
/// the whole row as text takes it longer than to find the row.
macro_rules! size {
    ($(#[$attribute:meta])* $vis:vis struct $name:ident($first:ident $(, $more:ident)* $(,)?)) => {
        $(#[$attribute])*
        $vis struct $name;

        impl $crate::db::fitted::Size for $name {
            const SQL: &'static str = concat!(
                "octet_length(p.", stringify!($first), ")",
                $(" + octet_length(p.", stringify!($more), ")"),*
            );
        }
    };
}
pub(crate) use size;

/// Returns the first rows of a query that fit into `bytes`.
///
/// The query must have an order. Its result is the input of [`Rows::of`].
pub fn fitted<Q>(rows: Q, bytes: usize) -> Fitted<Q, WholeRow> {
    fitted_by(rows, bytes)
}

/// As [`fitted`], with another size, for queries in which [`WholeRow`] would take too long.
pub fn fitted_by<S: Size, Q>(rows: Q, bytes: usize) -> Fitted<Q, S> {
    // One unit more, so that a row after those that fill all of it is noticed.
    let units = numbers::count(bytes / UNIT) + 1;
    Fitted { rows, units, size: PhantomData }
}

/// As [`fitted`], for a statement whose rows are read by name. Its result is the input of [`Rows::of_named`].
pub fn fitted_by_name<Q>(rows: Q, bytes: usize) -> FittedByName<Q> {
    FittedByName(fitted(rows, bytes))
}

/// A query that ends once it has read a given number of bytes. It is written by hand, because any query can be in
/// it.
#[derive(Debug, Clone, Copy)]
pub struct Fitted<Q, S> {
    rows: Q,
    units: i64,
    size: PhantomData<fn() -> S>,
}

/// A [`Fitted`] statement whose rows are read by name.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct FittedByName<Q>(Fitted<Q, WholeRow>);

/// The rows of a query that fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// In the order of the query; at least one row if the query has one.
    pub rows: Vec<T>,
    /// Whether rows were left out because of their size. If the first row alone fills the room, it is not known
    /// whether there are more rows, and this is true.
    pub cut_short: bool,
}

/// A row as [`Fitted`] returns it: the row, its units, the number of this unit, and the limit in units.
type Row<T> = (T, i32, i32, i64);

/// A row as [`FittedByName`] returns it.
#[derive(Debug, QueryableByName)]
pub struct NamedRow<T> {
    #[diesel(embed)]
    values: T,
    #[diesel(sql_type = Integer)]
    units: i32,
    /// The number of this unit.
    #[diesel(sql_type = Integer)]
    unit: i32,
    /// The limit in units.
    #[diesel(sql_type = BigInt)]
    room: i64,
}

impl<T> Rows<T> {
    /// Rows that are complete.
    pub fn all(rows: Vec<T>) -> Self {
        Self { rows, cut_short: false }
    }

    /// The same rows, each changed by `change`.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Rows<U> {
        Rows { rows: self.rows.into_iter().map(change).collect(), cut_short: self.cut_short }
    }

    /// The rows that fit, from what a [`Fitted`] query found.
    pub fn of(found: Vec<Row<T>>) -> Self {
        let mut fit = Self::all(Vec::with_capacity(found.len()));
        let mut taken = 1;
        for (row, worth, _, units) in found {
            taken += i64::from(worth);
            fit.cut_short = taken > units;
            if fit.cut_short && !fit.rows.is_empty() {
                break;
            }
            fit.rows.push(row);
        }
        fit
    }

    /// The rows that fit, from what a [`FittedByName`] statement found.
    pub fn of_named(found: Vec<NamedRow<T>>) -> Self {
        Self::of(
            found
                .into_iter()
                .map(|NamedRow { values, units, unit, room }| (values, units, unit, room))
                .collect(),
        )
    }
}

impl<Q: QueryId, S: Size> QueryId for Fitted<Q, S> {
    type QueryId = Fitted<Q::QueryId, S>;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query, S> Query for Fitted<Q, S> {
    type SqlType = (Q::SqlType, Integer, Integer, BigInt);
}

impl<Q: QueryFragment<Pg>, S: Size> QueryFragment<Pg> for Fitted<Q, S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Lazily, row by row: nothing here sorts, so the order of the rows is that of `rows`.
        if S::IS_PLANNED_ALONE {
            out.push_sql("WITH fitted AS MATERIALIZED (");
            self.rows.walk_ast(out.reborrow())?;
            out.push_sql(") ");
        }
        out.push_sql("SELECT p.*, ");
        out.push_bind_param::<BigInt, _>(&self.units)?;
        out.push_sql(" AS room FROM (SELECT p.*, generate_series(1, p.units) AS unit FROM (SELECT p.*, (");
        out.push_sql(S::SQL);
        out.push_sql(") / 1024 + 1 AS units FROM ");
        if S::IS_PLANNED_ALONE {
            out.push_sql("fitted");
        } else {
            out.push_sql("(");
            self.rows.walk_ast(out.reborrow())?;
            out.push_sql(")");
        }
        out.push_sql(" AS p OFFSET 0) AS p LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.units)?;
        out.push_sql(") AS p WHERE unit = 1");
        Ok(())
    }
}

impl<Q> Query for FittedByName<Q> {
    type SqlType = Untyped;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for FittedByName<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Postgres sends for rows of these units.
    fn sent(worths: &[i32], units: i64) -> Vec<Row<usize>> {
        let mut before = 0;
        let mut sent = Vec::new();
        for (row, worth) in worths.iter().enumerate() {
            if before >= units {
                break;
            }
            sent.push((row, *worth, 1, units));
            before += i64::from(*worth);
        }
        sent
    }

    proptest! {
        #[test]
        fn what_fits_is_there_and_what_is_left_out_is_told(
            worths in proptest::collection::vec(1..9_i32, 0..20),
            bytes in 0..40_usize,
        ) {
            let Fitted { units, .. } = fitted((), bytes * UNIT);
            let Rows { rows, cut_short } = Rows::of(sent(&worths, units));
            prop_assert_eq!(&rows, &(0..rows.len()).collect::<Vec<_>>());
            let worth = |rows: usize| worths.iter().take(rows).sum::<i32>();
            let room = i32::try_from(bytes).expect("small");
            prop_assert!(rows.len() <= 1 || worth(rows.len()) <= room);
            if rows.len() < worths.len() {
                prop_assert!(cut_short);
                prop_assert!(worth(rows.len() + 1) > room);
            } else if worth(rows.len()) <= room {
                prop_assert!(!cut_short);
            }
        }
    }
}
