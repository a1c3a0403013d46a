//! Parts of statements whose text differs from run to run. They are written by hand: their text is not known when
//! the service is compiled.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};

/// Fragments, one after the other, with a text between them; nothing if there are none.
#[derive(Debug)]
pub(crate) struct Joined<F> {
    between: &'static str,
    fragments: Vec<F>,
}

/// Returns these fragments with `between` between them. An `Option` is a list of fragments too.
pub(crate) fn joined<F>(between: &'static str, fragments: impl IntoIterator<Item = F>) -> Joined<F> {
    Joined { between, fragments: fragments.into_iter().collect() }
}

impl<F> QueryId for Joined<F> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<F: QueryFragment<Pg>> QueryFragment<Pg> for Joined<F> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (place, fragment) in self.fragments.iter().enumerate() {
            if place > 0 {
                out.push_sql(self.between);
            }
            fragment.walk_ast(out.reborrow())?;
        }
        Ok(())
    }
}

/// A piece of SQL without values that a statement chooses: the name of a column, or an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql(pub(crate) &'static str);

impl QueryId for Sql {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.0);
        Ok(())
    }
}

/// A number in the text of a statement: a part of a name, or a limit. A plan for any limit expects a tenth of the
/// rows, and reads all of them.
///
/// No connection keeps the statement: it would keep one for each number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(pub(crate) i64);

impl QueryId for Number {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Number {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql(&self.0.to_string());
        Ok(())
    }
}
