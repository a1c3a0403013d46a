//! What the latest analyses of conversations say.

use std::future::ready;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Jsonb, Nullable, Text as SqlText};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::{Conversations, Scope};
use crate::dashboard::conversations::tally::{Analysis, Saying, Tally};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::error::Result;

/// The state of an objection that is not open.
const RESOLVED: &str = "RESOLVED";

/// What is said of conversations, of each kind what is said of most first.
pub(in crate::dashboard::conversations) async fn list_sayings(
    tx: &TenantTx,
    scope: &Scope,
) -> Result<Vec<Saying>> {
    let list = ListAnalyses { of: Conversations::new(tx, scope) };
    let rows = list.load_stream::<Row>(&mut tx.connection()).await?;
    let mut tally = Tally::default();
    rows.try_for_each(|row| {
        tally.add(row.into());
        ready(Ok(()))
    })
    .await?;
    let fold = Fold { texts: tally.texts().into_iter().map(str::to_owned).collect() };
    let folded: Vec<String> = fold.load(&mut tx.connection()).await?;
    Ok(tally.sayings(&folded))
}

/// The parts of an analysis that are counted, each null where it says nothing.
#[derive(Debug, Queryable)]
#[diesel(check_for_backend(Pg))]
struct Row {
    sentiment: Option<String>,
    topics: Option<Json<Vec<String>>>,
    questions: Option<Json<Vec<String>>>,
    objections: Option<Json<Vec<Objection>>>,
}

/// What is counted of an objection. Its words may be those of a newer replica.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Objection {
    kind: String,
    state: String,
}

impl From<Row> for Analysis {
    fn from(row: Row) -> Self {
        let Row { sentiment, topics, questions, objections } = row;
        let open = |Objection { kind, state }| (kind, state != RESOLVED);
        Self {
            sentiment,
            topics: topics.unwrap_or_default().0,
            questions: questions.unwrap_or_default().0,
            objections: objections.unwrap_or_default().0.into_iter().map(open).collect(),
        }
    }
}

/// The latest analysis of each conversation that has one.
#[derive(QueryId)]
struct ListAnalyses {
    of: Conversations,
}

impl Query for ListAnalyses {
    type SqlType = (Nullable<SqlText>, Nullable<Jsonb>, Nullable<Jsonb>, Nullable<Jsonb>);
}

impl QueryFragment<Pg> for ListAnalyses {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT c.latest_analysis -> 'sentiment' ->> 'label', c.latest_analysis -> 'topics', \
             c.latest_analysis -> 'questions', c.latest_analysis -> 'objections'",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE c.latest_analysis IS NOT NULL");
        Ok(())
    }
}

/// Each text in the form in which lists compare it.
#[derive(QueryId)]
struct Fold {
    texts: Vec<String>,
}

impl Query for Fold {
    type SqlType = SqlText;
}

impl QueryFragment<Pg> for Fold {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT lower(t.text) FROM unnest(");
        out.push_bind_param::<Array<SqlText>, _>(&self.texts)?;
        out.push_sql(") WITH ORDINALITY AS t (text, place) ORDER BY t.place");
        Ok(())
    }
}
