//! `conversation_analyses`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Limits, Rows, fitted};
use crate::db::json::Json;
use crate::db::schema::conversation_analyses::{self, dsl};
use crate::db::texts::Texts;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ObjectionKind, ObjectionStatus, SentimentLabel, SentimentTrend};
use crate::rpc::Page;
use crate::rpc::fold::fold;
use crate::rpc::page::MAX_PAGE_BYTES;

/// An analysis as it is stored: a row of its table, or a copy in its conversation.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, Serialize, Deserialize)]
#[diesel(table_name = conversation_analyses, check_for_backend(Pg))]
#[serde(into = "Shown")]
pub(crate) struct Analysis {
    pub(crate) id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) version: i32,
    pub(crate) model: String,
    pub(crate) covers_through_sequence: i64,
    pub(crate) topics: Texts,
    pub(crate) questions: Texts,
    pub(crate) objections: Json<Vec<Objection>>,
    pub(crate) sentiment: Option<Json<Sentiment>>,
    pub(crate) summary: String,
    #[serde(default)]
    pub(crate) change: i64,
    pub(crate) created_at: DateTime<Utc>,
}

/// The copy of an analysis that its conversation has. It adds the keys that lists find conversations by: the
/// texts in the form that `rpc::fold` returns.
#[derive(Serialize)]
struct Shown {
    id: Uuid,
    conversation_id: Uuid,
    version: i32,
    model: String,
    covers_through_sequence: i64,
    topics: Texts,
    topic_keys: Vec<String>,
    questions: Texts,
    question_keys: Vec<String>,
    objections: Json<Vec<Objection>>,
    sentiment: Option<Json<Sentiment>>,
    summary: String,
    change: i64,
    created_at: DateTime<Utc>,
}

impl From<Analysis> for Shown {
    fn from(analysis: Analysis) -> Self {
        let Analysis {
            id,
            conversation_id,
            version,
            model,
            covers_through_sequence,
            topics,
            questions,
            objections,
            sentiment,
            summary,
            change,
            created_at,
        } = analysis;
        let keys = |Texts(texts): &Texts| texts.iter().map(|text| fold(text)).collect();
        Self {
            id,
            conversation_id,
            version,
            model,
            covers_through_sequence,
            topic_keys: keys(&topics),
            topics,
            question_keys: keys(&questions),
            questions,
            objections,
            sentiment,
            summary,
            change,
            created_at,
        }
    }
}

/// An item of the column `objections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objection {
    pub(crate) kind: Text<ObjectionKind>,
    pub(crate) status: Text<ObjectionStatus>,
    #[serde(default)]
    pub(crate) evidence: String,
}

/// The column `sentiment`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sentiment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) magnitude: Option<f64>,
    pub(crate) label: Option<Text<SentimentLabel>>,
    pub(crate) trend: Option<Text<SentimentTrend>>,
}

/// Inserts a version.
pub(crate) async fn insert(tx: &TenantTx, analysis: &Analysis) -> Result<()> {
    diesel::insert_into(dsl::conversation_analyses)
        .values((dsl::tenant_id.eq(tx.tenant()), analysis))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the newest version of a conversation's analyses; 0 if there is no analysis.
pub(crate) async fn find_last_version(tx: &TenantTx, conversation_id: Uuid) -> Result<i32> {
    let version: Option<i32> = dsl::conversation_analyses
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .order(dsl::version.desc())
        .select(dsl::version)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(version.unwrap_or(0))
}

/// Returns one analysis of a conversation.
pub(crate) async fn find(tx: &TenantTx, conversation_id: Uuid, id: Uuid) -> Result<Option<Analysis>> {
    let analysis = dsl::conversation_analyses
        .find((tx.tenant(), id))
        .filter(dsl::conversation_id.eq(conversation_id))
        .select(Analysis::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(analysis)
}

/// Returns one page of a conversation's analyses, the newest first, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, conversation_id: Uuid, page: &Page<i32>) -> Result<Rows<Analysis>> {
    let analyses = dsl::conversation_analyses
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::version.lt(page.after.unwrap_or(i32::MAX)))
        .order(dsl::version.desc())
        .limit(page.limit())
        .select(Analysis::as_select());
    Ok(Rows::of(fitted(analyses, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// Returns the analyses that were recorded after a change of the conversation, in their order, within the
/// limits.
pub(crate) async fn list_changed(
    tx: &TenantTx,
    conversation_id: Uuid,
    after: i64,
    Limits { rows, bytes }: Limits,
) -> Result<Rows<Analysis>> {
    let analyses = dsl::conversation_analyses
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::change.gt(after))
        .order(dsl::change)
        .limit(rows)
        .select(Analysis::as_select());
    Ok(Rows::of(fitted(analyses, bytes).load(&mut tx.connection()).await?))
}
