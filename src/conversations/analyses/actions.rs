//! The actions on analyses, each within one transaction.

use uuid::Uuid;

use super::store::{self, Analysis};
use crate::conversations::actions::check_size;
use crate::conversations::rules::not_found;
use crate::conversations::store::{self as conversations, Conversation};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::json::Json;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::Page;

/// Adds a version to the analyses of a conversation. The conversation shows it from then on, unless it shows
/// one that covers more. An analysis that does not say what it covers, covers the whole conversation.
pub(crate) async fn record(tx: &TenantTx, analysis: Analysis) -> Result<Analysis> {
    let id = analysis.conversation_id;
    let conversation = conversations::lock(tx, id).await?.ok_or_else(|| not_found(id))?;
    let covers_through_sequence = match analysis.covers_through_sequence {
        0 => conversation.last_sequence,
        covered => covered,
    };
    if covers_through_sequence > conversation.last_sequence {
        return Err(Error::OutOfRange {
            reason: ErrorReason::SequenceOutOfRange,
            field: "analysis.covers_through_sequence",
            description: format!(
                "must be at most {}, the sequence of the last message",
                conversation.last_sequence
            ),
        });
    }
    let version = store::find_last_version(tx, id).await? + 1;
    let change = conversation.change_count + 1;
    let analysis = Analysis { version, covers_through_sequence, change, ..analysis };
    store::insert(tx, &analysis).await?;
    conversations::update_change_count(tx, id, change).await?;
    let latest = conversation.latest_analysis.as_ref();
    let covered = latest.map_or(0, |latest| latest.0.covers_through_sequence);
    if covers_through_sequence >= covered {
        let latest_analysis = Some(Json(analysis.clone()));
        check_size(&conversation, &Conversation { latest_analysis, ..conversation.clone() })?;
        conversations::update_latest_analysis(tx, id, &analysis).await?;
    }
    Ok(analysis)
}

/// Writes the analyses of the next conversations after this id again, with the keys that lists find them by.
/// Returns the id of the last of these conversations.
pub(crate) async fn reindex(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Option<Uuid>> {
    let analyses = conversations::lock_analysed_after(tx, after, limit).await?;
    for (id, analysis) in &analyses {
        if let Some(Json(analysis)) = analysis {
            conversations::update_latest_analysis(tx, *id, analysis).await?;
        }
    }
    Ok(analyses.last().map(|(id, _)| *id))
}

/// Returns one analysis of a conversation.
pub(crate) async fn get(tx: &TenantTx, conversation_id: Uuid, id: Uuid) -> Result<Analysis> {
    if let Some(analysis) = store::find(tx, conversation_id, id).await? {
        return Ok(analysis);
    }
    if conversations::find_last_sequence(tx, conversation_id).await?.is_none() {
        return Err(not_found(conversation_id));
    }
    Err(analysis_not_found(id))
}

pub(crate) fn analysis_not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::ConversationAnalysisNotFound,
        kind: "conversation_analysis",
        name: id.to_string(),
    }
}

/// Returns one page of the analyses of a conversation, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, conversation_id: Uuid, page: &Page<i32>) -> Result<Rows<Analysis>> {
    let analyses = store::list(tx, conversation_id, page).await?;
    if analyses.rows.is_empty() && conversations::find_last_sequence(tx, conversation_id).await?.is_none() {
        return Err(not_found(conversation_id));
    }
    Ok(analyses)
}
