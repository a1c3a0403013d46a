//! Analyses: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::{Analysis, Objection, Sentiment};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::db::words::{stored, wire};
use crate::error::Result;
use crate::numbers;
use crate::pb;
use crate::rpc;
use crate::times;

impl From<Analysis> for pb::ConversationAnalysis {
    fn from(row: Analysis) -> Self {
        let Analysis {
            id,
            conversation_id,
            version,
            model,
            covers_through_sequence,
            topics: Texts(topics),
            questions: Texts(questions),
            objections: Json(objections),
            sentiment,
            summary,
            change: _,
            created_at,
        } = row;
        Self {
            id: id.to_string(),
            conversation_id: conversation_id.to_string(),
            version,
            model,
            covers_through_sequence: numbers::int32(covers_through_sequence),
            topics,
            questions,
            objections: objections.into_iter().map(Into::into).collect(),
            sentiment: sentiment.map(|Json(sentiment)| sentiment.into()),
            summary,
            create_time: Some(times::to_wire(created_at)),
        }
    }
}

impl From<Objection> for pb::Objection {
    fn from(row: Objection) -> Self {
        let Objection { kind, status, evidence } = row;
        Self { kind: wire(Some(kind)), status: wire(Some(status)), evidence }
    }
}

impl From<Sentiment> for pb::Sentiment {
    fn from(row: Sentiment) -> Self {
        let Sentiment { score, magnitude, label, trend } = row;
        Self { score, magnitude, label: wire(label), trend: wire(trend) }
    }
}

impl From<pb::Sentiment> for Sentiment {
    fn from(message: pb::Sentiment) -> Self {
        let pb::Sentiment { score, magnitude, label, trend } = message;
        Self { score, magnitude, label: stored(label), trend: stored(trend) }
    }
}

/// Returns an objection. The rules of the contract require its kind and its status.
fn objection(message: pb::Objection) -> Option<Objection> {
    let pb::Objection { kind, status, evidence } = message;
    Some(Objection { kind: stored(kind)?, status: stored(status)?, evidence })
}

/// Returns a new analysis, before it has its version. Fields that the server sets are not taken from the
/// client.
pub(crate) fn record(analysis: pb::ConversationAnalysis, id: Uuid, now: DateTime<Utc>) -> Result<Analysis> {
    let pb::ConversationAnalysis {
        id: _,
        conversation_id,
        version: _,
        model,
        covers_through_sequence,
        topics,
        questions,
        objections,
        sentiment,
        summary,
        create_time: _,
    } = analysis;
    Ok(Analysis {
        id,
        conversation_id: rpc::id("analysis.conversation_id", &conversation_id)?,
        version: 0,
        model,
        covers_through_sequence: covers_through_sequence.into(),
        topics: Texts(topics),
        questions: Texts(questions),
        objections: Json(objections.into_iter().filter_map(objection).collect()),
        sentiment: sentiment.map(|sentiment| Json(sentiment.into())),
        summary,
        change: 0,
        created_at: now,
    })
}
