//! Decisions about pending questions that need no database: which steps lead where, and what to ask
//! next.

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

/// The field of the customer that a question fills, if it says one. `at` is the path of the field of the
/// request that says it.
pub(crate) fn target(at: &'static str, path: &str) -> Result<Option<Field>> {
    if path.is_empty() {
        return Ok(None);
    }
    Field::parse(path).map(Some).map_err(|wrong| Error::invalid(at, "question.target_field", wrong))
}

/// Refuses a question that is to be asked at a time, and says none. `at` is the path of that time.
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

/// Another open question of the customer has the target field.
pub(crate) fn target_taken(question: &Question, other: Uuid) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::PendingQuestionStepNotAllowed,
        message: format!(
            "the customer has another open question for {}: {other}; go on with that one",
            question.target_field
        ),
        subject: format!("pending_question/{}", question.id),
    }
}

/// There is no such question in this tenant.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::PendingQuestionNotFound,
        kind: "pending_question",
        name: id.to_string(),
    }
}

/// The state of a question, which is a word that is stored.
pub(crate) fn status(question: &Question) -> Status {
    question.status.0
}
