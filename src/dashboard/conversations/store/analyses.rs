//! The content of the latest analyses of conversations.

use std::future::ready;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Jsonb, Nullable, Text as SqlText};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::{Conversations, Scope};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::statement::statement;
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
    let list = ListAnalyses { conversations: Conversations::new(tx, scope) };
    let rows = list.load_stream::<Row>(&mut tx.connection()).await?.map_err(Error::from);
    rows.try_for_each(|row| ready(take(row.into()))).await
}

/// The parts of an analysis; null for a part that is not set.
#[derive(Debug, QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct Row {
    #[diesel(sql_type = Nullable<SqlText>)]
    sentiment: Option<String>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    topics: Option<Json<Vec<String>>>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    questions: Option<Json<Vec<String>>>,
    #[diesel(sql_type = Nullable<Jsonb>)]
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

statement! {
    /// The statement of [`for_each`].
    struct ListAnalyses<'s> {
        conversations: Conversations<'s>,
    }
    "SELECT
         c.latest_analysis -> 'sentiment' ->> 'label' AS sentiment,
         c.latest_analysis -> 'topics' AS topics,
         c.latest_analysis -> 'questions' AS questions,
         c.latest_analysis -> 'objections' AS objections
     FROM :conversations AS c
     WHERE c.latest_analysis IS NOT NULL"
}
