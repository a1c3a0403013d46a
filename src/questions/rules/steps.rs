//! The states of a question, and the steps between them.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{differing, status};
use crate::contract::Word;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, PendingQuestionStatus as Status};
use crate::questions::store::Question;

/// The conversation and the message of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Source {
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) message_id: Option<Uuid>,
}

/// A step of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Ask { source: Source, cooldown: TimeDelta },
    Answer { source: Source, answer: String, confidence: Option<f64> },
    Verify { by: String },
    Skip { declined: bool, reason: String },
}

/// The kind of a step, without its data: the rows of the contract's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ask,
    Answer,
    Verify,
    Skip,
    Decline,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Ask, Self::Answer, Self::Verify, Self::Skip, Self::Decline];

    /// Returns its name in the contract.
    fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Verify => "verify",
            Self::Skip => "skip",
            Self::Decline => "decline",
        }
    }

    /// Returns the state to which the step leads; `None` if it is not allowed.
    fn leads_from(self, status: Status) -> Option<Status> {
        use Status::{Answered, Asked, Declined, Expired, Pending, Skipped, Verified};
        match (self, status) {
            (Self::Ask, Pending | Asked | Skipped) => Some(Asked),
            (Self::Answer, Pending | Asked | Skipped | Answered | Expired) => Some(Answered),
            (Self::Verify, Answered) => Some(Verified),
            (Self::Skip, Pending | Asked | Skipped) => Some(Skipped),
            (Self::Decline, Pending | Asked | Skipped) => Some(Declined),
            _ => None,
        }
    }
}

impl Step {
    fn kind(&self) -> Kind {
        match self {
            Self::Ask { .. } => Kind::Ask,
            Self::Answer { .. } => Kind::Answer,
            Self::Verify { .. } => Kind::Verify,
            Self::Skip { declined: false, .. } => Kind::Skip,
            Self::Skip { declined: true, .. } => Kind::Decline,
        }
    }

    /// Returns the source of the step, if it happens in conversations.
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Ask { source, .. } | Self::Answer { source, .. } => *source,
            Self::Verify { .. } | Self::Skip { .. } => Source::default(),
        }
    }

    /// Returns whether the question has taken this same step already: the caller has not received the response.
    ///
    /// # Errors
    ///
    /// `IDEMPOTENCY_KEY_REUSED` if the question was last asked with the message of the step, but with other
    /// content.
    pub(crate) fn is_repeated(&self, question: &Question) -> Result<bool> {
        let Some(differs) = self.differences(question) else { return Ok(false) };
        match self {
            Self::Ask { .. } if !differs.is_empty() => Err(asked_otherwise(question, &differs)),
            _ => Ok(differs.is_empty()),
        }
    }

    /// Returns the fields in which this step differs from the same step that the question has taken. `None` if
    /// the question has not taken it.
    fn differences(&self, question: &Question) -> Option<Vec<&'static str>> {
        let (taken, fields) = match self {
            Self::Ask { source, cooldown } => {
                let ends = question.asked_at.and_then(|at| at.checked_add_signed(*cooldown));
                (
                    source.message_id.is_some() && source.message_id == question.asked_message_id,
                    vec![
                        ("conversation_id", source.conversation_id == question.asked_conversation_id),
                        ("cooldown", ends == question.cooldown_until),
                    ],
                )
            }
            Self::Answer { source, answer, confidence } => (
                matches!(status(question), Status::Answered | Status::Verified),
                vec![
                    ("answer", *answer == question.answer),
                    ("confidence", *confidence == question.confidence),
                    ("conversation_id", source.conversation_id == question.answered_conversation_id),
                    ("message_id", source.message_id == question.answered_message_id),
                ],
            ),
            Self::Verify { by } => {
                (status(question) == Status::Verified, vec![("verified_by", *by == question.verified_by)])
            }
            Self::Skip { declined, reason } => (
                matches!(status(question), Status::Declined | Status::Skipped),
                vec![
                    ("declined", *declined == (status(question) == Status::Declined)),
                    ("reason", reason.is_empty() || *reason == question.skip_reason),
                ],
            ),
        };
        taken.then(|| differing(fields))
    }

    /// Returns the question after the step.
    pub(crate) fn take(&self, question: &Question, now: DateTime<Utc>) -> Result<Question> {
        let to = self.kind().leads_from(status(question));
        let to = to.ok_or_else(|| {
            let differs = self.differences(question).unwrap_or_default();
            not_allowed(question, self.kind().name(), &differs)
        })?;
        let question = Question { status: Text(to), ..question.clone() };
        Ok(match self.clone() {
            Self::Ask { source, cooldown } => Question {
                attempt_count: question.attempt_count.saturating_add(1),
                asked_at: Some(now),
                asked_conversation_id: source.conversation_id,
                asked_message_id: source.message_id,
                cooldown_until: now.checked_add_signed(cooldown),
                ..question
            },
            Self::Answer { source, answer, confidence } => Question {
                answer,
                confidence,
                answered_at: Some(now),
                answered_conversation_id: source.conversation_id,
                answered_message_id: source.message_id,
                written_at: None,
                ..question
            },
            Self::Verify { by } => Question { verified_by: by, verified_at: Some(now), ..question },
            Self::Skip { declined: _, reason } => {
                Question { skip_reason: reason, skipped_at: Some(now), ..question }
            }
        })
    }
}

/// Returns whether a question waits to be asked or answered.
pub(crate) fn is_open(question: &Question) -> bool {
    matches!(status(question), Status::Pending | Status::Asked)
}

/// Returns whether a question expired before it was answered or declined.
pub(crate) fn is_expired(question: &Question) -> bool {
    status(question) == Status::Expired
}

/// Returns the question in its state at `now`. A question that waits has expired from its time of expiry on.
pub(crate) fn as_of(question: Question, now: DateTime<Utc>) -> Question {
    let waits = matches!(status(&question), Status::Pending | Status::Asked | Status::Skipped);
    match question.expires_at {
        Some(expires_at) if waits && expires_at <= now => {
            Question { status: Text(Status::Expired), ..question }
        }
        _ => question,
    }
}

/// Refuses a change of a question that is not open.
pub(crate) fn check_update(current: &Question) -> Result<()> {
    if is_open(current) { Ok(()) } else { Err(not_allowed(current, "update", &[])) }
}

/// Returns the error for a question that was last asked with the message of the step, but with other content.
fn asked_otherwise(question: &Question, differs: &[&str]) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: format!(
            "the question was asked with this message_id and another {}; send the same content, or another message_id",
            differs.join(", ")
        ),
        kind: "pending_question",
        name: question.id.to_string(),
    }
}

/// Returns the error for a step that does not lead on from the state of the question. `differs` has the fields
/// in which it differs from the same step that the question has taken.
fn not_allowed(question: &Question, step: &str, differs: &[&str]) -> Error {
    let from = status(question);
    let recorded = match differs {
        [] => String::new(),
        fields => format!(" with another {}", fields.join(", ")),
    };
    let allowed = Kind::ALL.into_iter().filter(|kind| kind.leads_from(from).is_some());
    let mut allowed: Vec<_> = allowed.map(Kind::name).collect();
    if is_open(question) {
        allowed.push("update");
    }
    let allowed = match allowed.is_empty() {
        true => "none; create another question instead".to_owned(),
        false => allowed.join(", "),
    };
    Error::FailedPrecondition {
        reason: ErrorReason::PendingQuestionStepNotAllowed,
        message: format!(
            "{step} is not allowed: the question is {}{recorded}; allowed from there: {allowed}",
            from.word()
        ),
        subject: format!("pending_question/{}", question.id),
    }
}

#[cfg(test)]
mod tests;
