//! Decisions about conversations that need no database.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{Conversation, Filter};
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{ConversationStatus, ErrorReason};
use crate::rpc::together::Together;

/// The limit of how far a client's clock may be ahead of the server's. It admits any mistake with a time zone,
/// and refuses nonsense.
const MAX_AHEAD: TimeDelta = TimeDelta::days(1);

/// The longest period whose analyses a list looks through: no index covers their content.
const MAX_LOOKED_THROUGH: TimeDelta = TimeDelta::days(400);

/// The fields that [`end`] writes. A field that is not set stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    /// ENDED if it is not set.
    pub(crate) status: Option<Text<ConversationStatus>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) outcome: Option<Text<crate::pb::ConversationOutcome>>,
    pub(crate) outcome_notes: Option<String>,
    pub(crate) handoff_reason: Option<Text<crate::pb::HandoffReason>>,
    pub(crate) follow_up: Option<FollowUp>,
}

/// The follow-up after a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FollowUp {
    pub(crate) needed: bool,
    pub(crate) due_at: Option<DateTime<Utc>>,
    pub(crate) notes: String,
}

/// Returns whether a conversation with this status is over, so that nothing can be added.
pub(crate) fn is_over(status: Text<ConversationStatus>) -> bool {
    matches!(status.0, ConversationStatus::Ended | ConversationStatus::Abandoned)
}

/// Refuses a time that lies too far in the future.
pub(crate) fn check_not_ahead(field: &'static str, time: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
    if time.signed_duration_since(now) > MAX_AHEAD {
        return Err(Error::invalid(field, "timestamp.lt_now", "must not be more than a day ahead of now"));
    }
    Ok(())
}

/// Refuses a change of status that `UpdateConversation` must not make.
pub(crate) fn check_update(current: &Conversation, wanted: &Conversation) -> Result<()> {
    if wanted.status == current.status {
        return Ok(());
    }
    if is_over(current.status) {
        return Err(ended(current.id));
    }
    if is_over(wanted.status) {
        return Err(Error::invalid(
            "conversation.status",
            "enum.not_in",
            "must be OPEN, WAITING_ON_CUSTOMER, WAITING_ON_AGENT or SNOOZED; EndConversation ends a conversation",
        ));
    }
    Ok(())
}

/// Refuses a list by the content of analyses that has no bounds in time.
pub(crate) fn check_bounded(filter: &Filter) -> Result<()> {
    if !filter.analysed.is_set() {
        return Ok(());
    }
    let missing = |field: &'static str| {
        let description = "must be set with topic, question, objection_kinds or sentiments";
        Error::invalid(field, "required", description)
    };
    let from = filter.started_from.ok_or_else(|| missing("start_time_from"));
    let until = filter.started_until.ok_or_else(|| missing("start_time_until"));
    let (from, until) = (from, until).together()?;
    if until.signed_duration_since(from) > MAX_LOOKED_THROUGH {
        let description = "must be at most 400 days before start_time_until \
                           with topic, question, objection_kinds or sentiments";
        return Err(Error::invalid("start_time_from", "timestamp.within", description));
    }
    Ok(())
}

/// Returns the conversation after its end.
pub(crate) fn end(current: Conversation, ending: Ending, now: DateTime<Utc>) -> Result<Conversation> {
    let Ending { status, ended_at, outcome, outcome_notes, handoff_reason, follow_up } = ending;
    if let Some(ended_at) = ended_at {
        check_end("end_time", current.started_at, ended_at, now)?;
    }
    let follow_up = follow_up.unwrap_or(FollowUp {
        needed: current.follow_up_needed,
        due_at: current.follow_up_due_at,
        notes: current.follow_up_notes,
    });
    Ok(Conversation {
        status: status.unwrap_or(Text(ConversationStatus::Ended)),
        ended_at: Some(ended_at.unwrap_or(now).max(current.started_at)),
        outcome: outcome.or(current.outcome),
        outcome_notes: outcome_notes.unwrap_or(current.outcome_notes),
        handoff_reason: handoff_reason.or(current.handoff_reason),
        follow_up_needed: follow_up.needed,
        follow_up_due_at: follow_up.due_at,
        follow_up_notes: follow_up.notes,
        ..current
    })
}

/// Checks that another ending of an ended conversation agrees with the first one. It may be the same, or say
/// less.
pub(crate) fn check_ended_so(current: &Conversation, ending: &Ending) -> Result<()> {
    let Ending { status, ended_at, outcome, outcome_notes, handoff_reason, follow_up } = ending;
    let due = follow_up.as_ref().map(|follow_up| {
        follow_up.needed == current.follow_up_needed
            && follow_up.due_at == current.follow_up_due_at
            && follow_up.notes == current.follow_up_notes
    });
    let same = [
        ("status", status.is_none_or(|status| status == current.status)),
        ("end_time", ended_at.is_none_or(|ended_at| Some(ended_at) == current.ended_at)),
        ("outcome", outcome.is_none_or(|outcome| Some(outcome) == current.outcome)),
        ("outcome_notes", outcome_notes.as_ref().is_none_or(|notes| *notes == current.outcome_notes)),
        ("handoff_reason", handoff_reason.is_none_or(|reason| Some(reason) == current.handoff_reason)),
        ("follow_up", due.unwrap_or(true)),
    ];
    let differing: Vec<&str> = same.iter().filter(|(_, same)| !same).map(|(field, _)| *field).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::FailedPrecondition {
        reason: ErrorReason::ConversationEnded,
        message: format!(
            "the conversation has ended already, and differs from this request in: {}; change its outcome with \
             UpdateConversation, or reopen it with ReopenConversation",
            differing.join(", ")
        ),
        subject: format!("conversation/{}", current.id),
    })
}

/// Returns when a new conversation ended: at the time that the client says, or else now. `None` if it has not
/// ended.
pub(crate) fn end_of_new(
    status: Text<ConversationStatus>,
    started_at: DateTime<Utc>,
    said: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    const FIELD: &str = "conversation.end_time";
    match said {
        Some(said) if is_over(status) => check_end(FIELD, started_at, said, now).map(|()| Some(said)),
        Some(_) => {
            let description = "must be unset unless the status is ENDED or ABANDONED";
            Err(Error::invalid(FIELD, "conversation.end_time", description))
        }
        None => Ok(is_over(status).then_some(now.max(started_at))),
    }
}

/// Refuses an end that is before the start or too far in the future.
fn check_end(
    field: &'static str,
    started_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    if ended_at < started_at {
        return Err(Error::invalid(field, "timestamp.gte", "must not be before the start_time"));
    }
    check_not_ahead(field, ended_at, now)
}

/// Refuses to reuse the conversation of a session without an id.
pub(crate) fn check_reuse(reuse_open: bool, session_id: &str) -> Result<()> {
    if reuse_open && session_id.is_empty() {
        return Err(Error::invalid("conversation.session_id", "required", "is required with reuse_open"));
    }
    Ok(())
}

/// Returns the conversation after it was reopened. Its outcome stays.
pub(crate) fn reopen(current: Conversation) -> Conversation {
    Conversation { status: Text(ConversationStatus::Open), ended_at: None, ..current }
}

/// Returns the error for a session whose conversation `other` has not ended.
pub(crate) fn session_taken(other: Uuid) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::SessionIdTaken,
        message: format!(
            "the session_id has a conversation that has not ended: {other}; go on with it, end it, or use another session_id"
        ),
        kind: "conversation",
        name: other.to_string(),
    }
}

/// Returns the error for a conversation that has ended. It takes no message and no new status.
pub(crate) fn ended(id: Uuid) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::ConversationEnded,
        message: "the conversation has ended; reopen it with ReopenConversation, or start a new one with CreateConversation".to_owned(),
        subject: format!("conversation/{id}"),
    }
}

/// Checks that a conversation that a call refers to is this customer's. `found` is its customer, if it exists.
pub(crate) fn check_of(id: Uuid, found: Option<&Uuid>, customer_id: Uuid) -> Result<()> {
    match found {
        Some(found) if *found == customer_id => Ok(()),
        Some(_) => Err(not_of(id, customer_id)),
        None => Err(not_found(id)),
    }
}

/// Returns the error for a conversation with another customer of this tenant.
fn not_of(id: Uuid, customer_id: Uuid) -> Error {
    Error::Elsewhere {
        reason: ErrorReason::ConversationNotFound,
        message: format!(
            "the conversation {id} is not with the customer {customer_id} but with another one; name a \
             conversation of this customer, or the customer of this conversation"
        ),
        kind: "conversation",
        name: id.to_string(),
    }
}

/// Returns the error for a conversation that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::ConversationNotFound, kind: "conversation", name: id.to_string() }
}
