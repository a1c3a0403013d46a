//! The content of the latest analyses of conversations.

use std::future::ready;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Jsonb, Nullable, Text as SqlText};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::{Conversations, Scope};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::error::{Error, Result};
use crate::rpc::fold::fold;

/// The content of the latest analysis of a conversation.
#[derive(Debug)]
pub(in crate::dashboard::conversations) struct Analysis {
    /// The word of its label.
    pub(in crate::dashboard::conversations) sentiment: Option<String>,
    pub(in crate::dashboard::conversations) topics: Vec<Compared>,
    pub(in crate::dashboard::conversations) questions: Vec<Compared>,
    pub(in crate::dashboard::conversations) objections: Vec<Objection>,
}

/// A text, and the form in which lists compare it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dashboard::conversations) struct Compared {
    pub(in crate::dashboard::conversations) form: String,
    pub(in crate::dashboard::conversations) text: String,
}

/// The words of an objection. A newer replica may have written words that this one does not know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::dashboard::conversations) struct Objection {
    pub(in crate::dashboard::conversations) kind: String,
    pub(in crate::dashboard::conversations) status: String,
}

/// Calls `take` with the latest analysis of each conversation that has one, while the rows arrive.
pub(in crate::dashboard::conversations) async fn for_each(
    tx: &TenantTx,
    scope: &Scope,
    mut take: impl FnMut(Analysis) -> Result<()>,
) -> Result<()> {
    let list = ListAnalyses { of: Conversations::new(tx, scope) };
    let rows = list.load_stream::<Row>(&mut tx.connection()).await?.map_err(Error::from);
    rows.try_for_each(|row| ready(take(row.into()))).await
}

/// The parts of an analysis; null for a part that is not set.
#[derive(Debug, Queryable)]
#[diesel(check_for_backend(Pg))]
struct Row {
    sentiment: Option<String>,
    topics: Option<Json<Vec<String>>>,
    questions: Option<Json<Vec<String>>>,
    objections: Option<Json<Vec<Objection>>>,
}

impl From<Row> for Analysis {
    fn from(row: Row) -> Self {
        let Row { sentiment, topics, questions, objections } = row;
        Self {
            sentiment,
            topics: compared(topics),
            questions: compared(questions),
            objections: objections.unwrap_or_default().0,
        }
    }
}

fn compared(texts: Option<Json<Vec<String>>>) -> Vec<Compared> {
    let texts = texts.unwrap_or_default().0.into_iter();
    texts.map(|text| Compared { form: fold(&text), text }).collect()
}

/// The statement of [`for_each`].
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
            "SELECT c.latest_analysis -> 'sentiment' ->> 'label', \
             c.latest_analysis -> 'topics', c.latest_analysis -> 'questions', \
             c.latest_analysis -> 'objections'",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE c.latest_analysis IS NOT NULL");
        Ok(())
    }
}
