//! What the latest analyses of conversations say.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Text as SqlText};
use diesel_async::RunQueryDsl;

use super::{Conversations, Scope};
use crate::db::TenantTx;
use crate::error::Result;

/// Topics and questions at most, of each: what a person takes in.
const MAX_TEXTS: i64 = 20;

/// What analyses say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Said {
    Sentiment = 1,
    Topic = 2,
    Question = 3,
    Objection = 4,
}

/// How many conversations something is said of.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(in crate::dashboard) struct Saying {
    said: i32,
    /// Of texts that differ by case only, one that was said.
    pub(in crate::dashboard) value: String,
    pub(in crate::dashboard) conversations: i64,
    /// Of an objection, how many have one that is not resolved.
    pub(in crate::dashboard) unresolved: i64,
}

impl Saying {
    /// Whether it is such a saying.
    pub(in crate::dashboard) fn is(&self, said: Said) -> bool {
        self.said == said as i32
    }
}

/// What is said of conversations, of each kind what is said of most first.
pub(in crate::dashboard::conversations) async fn list_sayings(
    tx: &TenantTx,
    scope: &Scope,
) -> Result<Vec<Saying>> {
    let list = ListSayings { of: Conversations::new(tx, scope), limit: MAX_TEXTS };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`list_sayings`]. An analysis is unpacked once, for all that is read of it.
#[derive(QueryId)]
struct ListSayings {
    of: Conversations,
    limit: i64,
}

impl Query for ListSayings {
    type SqlType = (Integer, SqlText, BigInt, BigInt);
}

impl QueryFragment<Pg> for ListSayings {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH a AS MATERIALIZED (SELECT l.sentiment ->> 'label' AS sentiment, l.topics, l.questions, \
             l.objections",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(
            " CROSS JOIN LATERAL jsonb_to_record(c.latest_analysis) \
             AS l (sentiment jsonb, topics jsonb, questions jsonb, objections jsonb) \
             WHERE c.latest_analysis IS NOT NULL) \
             SELECT said, value, conversations, unresolved FROM (\
             SELECT 1 AS said, sentiment AS value, count(*) AS conversations, 0::bigint AS unresolved \
             FROM a WHERE sentiment IS NOT NULL GROUP BY sentiment UNION ALL (",
        );
        self.walk_texts("2", "topics", &mut out)?;
        out.push_sql(") UNION ALL (");
        self.walk_texts("3", "questions", &mut out)?;
        out.push_sql(
            ") UNION ALL SELECT 4, o.kind, count(*), count(*) FILTER (WHERE o.unresolved) \
             FROM a CROSS JOIN LATERAL (SELECT o ->> 'kind' AS kind, \
             bool_or(o ->> 'state' <> 'RESOLVED') AS unresolved \
             FROM jsonb_array_elements(a.objections) AS o GROUP BY 1) AS o GROUP BY o.kind) AS s \
             ORDER BY said, conversations DESC, value COLLATE \"C\"",
        );
        Ok(())
    }
}

impl ListSayings {
    /// The texts of a list that most conversations have, whatever their case.
    fn walk_texts<'b>(&'b self, said: &str, list: &str, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&format!(
            "SELECT {said}, min(t.text), count(*), 0::bigint FROM a CROSS JOIN LATERAL (\
             SELECT lower(text) AS folded, min(text COLLATE \"C\") AS text \
             FROM jsonb_array_elements_text(a.{list}) AS text GROUP BY 1) AS t \
             GROUP BY t.folded ORDER BY count(*) DESC, min(t.text) LIMIT "
        ));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}
