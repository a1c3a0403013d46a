//! The states of a question, and the steps between them.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::status;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, PendingQuestionStatus as Status};
use crate::questions::store::Question;
use crate::rpc::words::{Text, Word};

/// Where something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Source {
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) message_id: Option<Uuid>,
}

/// What happens to a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Ask { source: Source, cooldown: TimeDelta },
    Answer { source: Source, answer: String, confidence: Option<f64> },
    Verify { by: String },
    Skip { declined: bool, reason: String },
}

/// A step without what belongs to it: what the table of the contract is made of.
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

    /// What the contract calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Verify => "verify",
            Self::Skip => "skip",
            Self::Decline => "decline",
        }
    }

    /// The state to which the step leads, if it is allowed.
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

    /// Where it happened, if it happens in conversations.
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Ask { source, .. } | Self::Answer { source, .. } => *source,
            Self::Verify { .. } | Self::Skip { .. } => Source::default(),
        }
    }

    /// Whether the question has taken this very step already. Whoever sends it again has not heard the
    /// answer.
    pub(crate) fn is_repeated(&self, question: &Question) -> bool {
        match self {
            Self::Ask { source, .. } => {
                source.message_id.is_some() && source.message_id == question.asked_message_id
            }
            Self::Answer { source, answer, confidence } => {
                let answered = Source {
                    conversation_id: question.answered_conversation_id,
                    message_id: question.answered_message_id,
                };
                matches!(status(question), Status::Answered | Status::Verified)
                    && (answer, confidence, source) == (&question.answer, &question.confidence, &answered)
            }
            Self::Verify { by } => status(question) == Status::Verified && *by == question.verified_by,
            Self::Skip { declined, reason } => {
                let outcome = if *declined { Status::Declined } else { Status::Skipped };
                status(question) == outcome && (reason.is_empty() || *reason == question.skip_reason)
            }
        }
    }

    /// The question after the step.
    pub(crate) fn take(&self, question: &Question, now: DateTime<Utc>) -> Result<Question> {
        let to = self.kind().leads_from(status(question));
        let to = to.ok_or_else(|| not_allowed(question, self.kind().name()))?;
        let question = Question { status: Text(to), ..question.clone() };
        Ok(match self.clone() {
            Self::Ask { source, cooldown } => Question {
                attempts: question.attempts.saturating_add(1),
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

/// Whether a question waits to be asked or answered.
pub(crate) fn is_open(question: &Question) -> bool {
    matches!(status(question), Status::Pending | Status::Asked)
}

/// Whether nobody has dealt with a question until it expired.
pub(crate) fn is_expired(question: &Question) -> bool {
    status(question) == Status::Expired
}

/// The question as it reads at `now`: what nobody has dealt with until it expires has expired.
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
    if is_open(current) { Ok(()) } else { Err(not_allowed(current, "update")) }
}

fn not_allowed(question: &Question, step: &str) -> Error {
    let from = status(question);
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
            "{step} is not allowed: the question is {}; allowed from there: {allowed}",
            from.word()
        ),
        subject: format!("pending_question/{}", question.id),
    }
}

#[cfg(test)]
mod tests;
