//! Decisions about pending questions that need no database: where steps lead, and what to ask next.

mod ranking;
mod steps;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Question;
use crate::customers::field::Field;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, PendingQuestionStatus as Status, QuestionTiming};

pub(crate) use ranking::{Candidates, LeftOut, Next, Ranking, Situation, rank};
pub(crate) use steps::{Source, Step, as_of, check_update, is_expired, is_open};

/// Returns the field of the customer that a question fills; `None` if it names none. `at` is the path of the
/// request's field that names it.
pub(crate) fn target(at: &'static str, path: &str) -> Result<Option<Field>> {
    if path.is_empty() {
        return Ok(None);
    }
    Field::parse(path).map(Some).map_err(|wrong| Error::invalid(at, "question.target_field", wrong))
}

/// Refuses a question that is to be asked at a time, but has no time. `at` is the path of that time.
pub(crate) fn check_schedule(
    at: &'static str,
    timing: QuestionTiming,
    scheduled_at: Option<DateTime<Utc>>,
) -> Result<()> {
    if timing == QuestionTiming::Scheduled && scheduled_at.is_none() {
        return Err(Error::invalid(at, "required", "must be set when timing is SCHEDULED"));
    }
    Ok(())
}

/// Returns the error for a target field that another open question of the customer has. `differs` has the
/// fields in which that question differs from the one to create; empty if no question was to be created.
pub(crate) fn target_taken(target_field: &str, other: Uuid, differs: &[&str]) -> Error {
    let how = match differs {
        [] => String::new(),
        fields => format!(", which has another {}", fields.join(", ")),
    };
    Error::AlreadyExists {
        reason: ErrorReason::TargetFieldTaken,
        message: format!(
            "the customer has an open question for {target_field}: {other}{how}; use that question, or change it \
             with UpdatePendingQuestion"
        ),
        kind: "pending_question",
        name: other.to_string(),
    }
}

/// Returns the client's fields in which two questions for one field differ.
pub(crate) fn differences(known: &Question, sent: &Question) -> Vec<&'static str> {
    let fields = [
        ("question", known.question == sent.question),
        ("purpose", known.purpose == sent.purpose),
        ("priority", known.priority == sent.priority),
        ("timing", known.timing == sent.timing),
        ("schedule_time", known.scheduled_at == sent.scheduled_at),
        ("expire_time", known.expires_at == sent.expires_at),
        ("source_conversation_id", known.source_conversation_id == sent.source_conversation_id),
    ];
    differing(fields)
}

/// Returns the names of the fields that differ.
fn differing(fields: impl IntoIterator<Item = (&'static str, bool)>) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// Returns the error for a question that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::PendingQuestionNotFound,
        kind: "pending_question",
        name: id.to_string(),
    }
}

/// Returns the status of a question.
pub(crate) fn status(question: &Question) -> Status {
    question.status.0
}
