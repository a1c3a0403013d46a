//! Errors by what the client does next, and the only way from one to a `Status`.

mod postgres;
#[cfg(test)]
mod reasons;
mod status;

use std::error::Error as StdError;
use std::time::Duration;

use tonic::Code;
use tonic_types::QuotaViolation;

use crate::pb::ErrorReason;
use crate::rpc::validate::{MAX_VIOLATIONS, Violation};
use crate::rpc::words::Word;

pub use postgres::OnConstraint;
#[cfg(any(test, fuzzing))]
pub(crate) use postgres::without_values;
pub(crate) use status::status;
#[cfg(any(test, fuzzing))]
pub(crate) use status::{MAX_TRAILERS, trailers};

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "crm.v1";

/// When to come back after a refusal for want of something: long enough for a pool to move, short
/// enough that nobody waits for nothing.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The field `alarm` of the line in the log that somebody must be woken for: the database kept tenants
/// apart where the service did not.
const ALARM: &str = "isolation";

/// What a client reads of a fault: the cause is in the log.
const FAULT: &str = "a fault of the server, not of the request; report the request_id in the details of this \
                     error to those who run the server, whose log has the cause";

/// What a client reads of a deadline that has passed.
pub(crate) const TOO_LATE: &str = "the call took longer than it may, and may have had an effect; retry with the \
                                   same request_id or message_key, and with more time if its deadline was short";

/// A result of this service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn StdError + Send + Sync>;

/// What went wrong, by what the client does next.
///
/// `Display` is what the client reads: it never prints a cause, SQL or a value of another tenant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fix the request. For input that is wrong whatever the state of the data.
    #[error("{}", status::summary(.violations))]
    Invalid {
        /// Usually `FIELD_INVALID`.
        reason: ErrorReason,
        /// All that is wrong, at least one.
        violations: Vec<Violation>,
    },
    /// Say who is calling. For a missing credential or tenant.
    #[error("{message}")]
    Unauthenticated {
        /// Why.
        reason: ErrorReason,
        /// What to send.
        message: String,
    },
    /// Ask for the right. For what the caller's credential does not grant.
    #[error("{message}")]
    PermissionDenied {
        /// Why.
        reason: ErrorReason,
        /// What is not granted.
        message: String,
    },
    /// It is not there, or not this tenant's, which is the same.
    #[error("{}", not_found(*.reason, .kind, .name))]
    NotFound {
        /// Why.
        reason: ErrorReason,
        /// What is not there, e.g. `customer`.
        kind: &'static str,
        /// The id that the client sent.
        name: String,
    },
    /// It is there in this tenant, but not where the call looks: it is deleted, or another customer's.
    #[error("{message}")]
    Elsewhere {
        /// Why.
        reason: ErrorReason,
        /// Where it is, and what to do.
        message: String,
        /// What it is, e.g. `customer`.
        kind: &'static str,
        /// The id that the client sent.
        name: String,
    },
    /// It is there already.
    #[error("{message}")]
    AlreadyExists {
        /// Why.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// What is there already, e.g. `customer`.
        kind: &'static str,
        /// The name of what is there.
        name: String,
    },
    /// Bring it into another state first.
    #[error("{message}")]
    FailedPrecondition {
        /// Why.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// What is in the wrong state, e.g. `conversation/<id>`.
        subject: String,
    },
    /// A position lies beyond the end. For what may be right later.
    #[error("{field} {description}")]
    OutOfRange {
        /// Why.
        reason: ErrorReason,
        /// The path of the field.
        field: &'static str,
        /// What it may be.
        description: String,
    },
    /// The text of a message ends elsewhere. The client goes on from there.
    #[error("{field} must be {expected}, where the text ends; go on from there")]
    Offset {
        /// The path of the field.
        field: &'static str,
        /// The end of the text in bytes.
        expected: i64,
    },
    /// The text of a message is another one. The client goes on with it, or begins anew.
    #[error(
        "{field} is another text than what is there, from byte {from} on; send start to go on with what is there, or start with restart to begin anew"
    )]
    TextDiffers {
        /// The path of the field.
        field: &'static str,
        /// The first byte that differs.
        from: i64,
    },
    /// Somebody else is at it. For a hold that ends by itself.
    #[error(
        "another producer writes this message; send start again in {} s, when its lease ends",
        retry_after.as_secs() + 1
    )]
    Held {
        /// When the hold ends, if nothing happens.
        retry_after: Duration,
    },
    /// Slow down. For a limit that is reached, before the call had any effect.
    #[error("{message}")]
    ResourceExhausted {
        /// Why.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// What is at its limit: `server`, or `tenant/<id>`.
        subject: String,
        /// The limit.
        limit: Limit,
        /// When there may be room.
        retry_after: Duration,
    },
    /// Read again and retry.
    #[error("{message}")]
    Aborted {
        /// Why.
        reason: ErrorReason,
        /// What to do.
        message: &'static str,
    },
    /// Try later: a write may have happened, and a retry with the same key is safe.
    #[error("{message}")]
    Unavailable {
        /// Why.
        reason: ErrorReason,
        /// What to do.
        message: &'static str,
        /// What happened, for the log.
        #[source]
        cause: Option<Cause>,
    },
    /// It took too long: a write may have happened, and a retry with the same key is safe.
    #[error("{TOO_LATE}")]
    DeadlineExceeded,
    /// Fix the request, though no rule of the contract says how: Postgres refused a value that the rules
    /// let through. A hole in the rules, which the log tells.
    #[error(
        "the request has a value that cannot be stored, though no rule says so; change its values, or report \
         the request_id in the details of this error to those who run the server"
    )]
    Unstorable(#[source] Cause),
    /// Our fault, and the database kept it from doing harm: it refused what the service has no right to.
    /// The client reads what it reads of any fault, and the log raises an alarm.
    #[error("{FAULT}")]
    Forbidden(#[source] Cause),
    /// Our fault. The client reads a fixed text, and the log has the cause.
    #[error("{FAULT}")]
    Internal(#[source] Cause),
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: u32,
}

impl Error {
    /// One field is wrong.
    pub fn invalid(field: impl Into<String>, rule: &'static str, description: impl Into<String>) -> Self {
        Self::invalid_because(ErrorReason::FieldInvalid, field, rule, description)
    }

    /// One field is wrong for a reason of its own.
    pub fn invalid_because(
        reason: ErrorReason,
        field: impl Into<String>,
        rule: &'static str,
        description: impl Into<String>,
    ) -> Self {
        let violation = Violation { field: field.into(), rule, description: description.into() };
        Self::Invalid { reason, violations: vec![violation] }
    }

    /// The database does not answer, or cannot do it now.
    pub fn database_unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseUnavailable,
            message: "the database does not answer, or has no room; retry with the same request_id or message_key",
            cause: Some(cause.into()),
        }
    }

    /// The part of the database that has the rows of some tenants does not answer. Others have theirs elsewhere.
    pub(crate) fn part_unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseUnavailable,
            message: PART_UNAVAILABLE,
            cause: Some(cause.into()),
        }
    }

    /// There is no room for what was asked within the time that a client should wait for it. For a limit
    /// that is reached before the call had any effect, and that no setting of the tenant names.
    pub fn overloaded() -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseBusy,
            message: "the server is busy with other work of this tenant; retry with the same key",
            cause: None,
        }
    }

    /// A fault of the server that no client can do anything about.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// This error, and what another one says as well: the violations of both, where both have some. A field
    /// that this one names is not named again.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Invalid { reason, mut violations },
                Self::Invalid { reason: other_reason, violations: others },
            ) => {
                let room = MAX_VIOLATIONS.saturating_sub(violations.len());
                let new: Vec<_> = others
                    .into_iter()
                    .filter(|new| violations.iter().all(|known| !is_about(&known.field, &new.field)))
                    .take(room)
                    .collect();
                let same = reason == other_reason || new.is_empty();
                violations.extend(new);
                Self::Invalid { reason: if same { reason } else { ErrorReason::FieldInvalid }, violations }
            }
            (first, _) => first,
        }
    }

    /// The same error for the others of a batch, where none of them is to blame for it. Its cause is
    /// logged once, with the original.
    pub fn of_all(&self) -> Option<Self> {
        match self {
            Self::Unavailable { reason, message, cause: _ } => {
                Some(Self::Unavailable { reason: *reason, message, cause: None })
            }
            Self::DeadlineExceeded => Some(Self::DeadlineExceeded),
            _ => None,
        }
    }

    /// Whether only a part of the database is away: others of a batch may have their rows elsewhere.
    pub fn is_of_part(&self) -> bool {
        matches!(self, Self::Unavailable { message, .. } if *message == PART_UNAVAILABLE)
    }

    /// The code that the client branches on.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } | Self::Unstorable(_) => Code::InvalidArgument,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::NotFound { .. } | Self::Elsewhere { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::FailedPrecondition { .. } | Self::TextDiffers { .. } => Code::FailedPrecondition,
            Self::OutOfRange { .. } | Self::Offset { .. } => Code::OutOfRange,
            Self::ResourceExhausted { .. } => Code::ResourceExhausted,
            Self::Aborted { .. } | Self::Held { .. } => Code::Aborted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Forbidden(_) | Self::Internal(_) => Code::Internal,
        }
    }

    /// The reason that a program reads.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid { reason, .. }
            | Self::Unauthenticated { reason, .. }
            | Self::PermissionDenied { reason, .. }
            | Self::NotFound { reason, .. }
            | Self::Elsewhere { reason, .. }
            | Self::AlreadyExists { reason, .. }
            | Self::FailedPrecondition { reason, .. }
            | Self::OutOfRange { reason, .. }
            | Self::ResourceExhausted { reason, .. }
            | Self::Aborted { reason, .. }
            | Self::Unavailable { reason, .. } => *reason,
            Self::Offset { .. } => ErrorReason::OffsetOutOfRange,
            Self::TextDiffers { .. } => ErrorReason::TextDiffers,
            Self::Held { .. } => ErrorReason::MessageHeld,
            Self::DeadlineExceeded => ErrorReason::DeadlineExceeded,
            Self::Unstorable(_) => ErrorReason::FieldInvalid,
            Self::Forbidden(_) | Self::Internal(_) => ErrorReason::Internal,
        }
    }

    /// Writes what the client must not see into the log, once.
    fn log(&self) {
        match self {
            Self::Internal(cause) => tracing::error!(cause = chain(cause.as_ref()), "internal error"),
            Self::Forbidden(cause) => {
                tracing::error!(alarm = ALARM, cause = chain(cause.as_ref()), "Postgres refused a right");
            }
            Self::Unstorable(cause) => {
                tracing::warn!(cause = chain(cause.as_ref()), "Postgres refused what the contract allows");
            }
            Self::Unavailable { reason, cause: Some(cause), .. } => {
                tracing::warn!(reason = reason.word(), cause = chain(cause.as_ref()), "unavailable");
            }
            _ => {}
        }
    }
}

impl Limit {
    fn violation(self, subject: &str, description: &str) -> QuotaViolation {
        let mut violation = QuotaViolation::new(subject, description);
        violation.quota_id = self.name.to_owned();
        violation.quota_value = self.value.into();
        violation
    }
}

impl Error {
    /// The server is about to stop.
    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable {
            reason: ErrorReason::ShuttingDown,
            message: "the server is stopping; retry with the same request_id or message_key, and another \
                      replica answers",
            cause: None,
        }
    }

    fn newer_version() -> Self {
        Self::Unavailable {
            reason: ErrorReason::NewerVersion,
            message: "a newer version of the service has written there what this replica does not know, and would lose; \
                      nothing was changed; retry, and a replica of that version will answer",
            cause: None,
        }
    }

    pub(crate) fn conflict() -> Self {
        Self::Aborted {
            reason: ErrorReason::Conflict,
            message: "other calls changed the same rows several times; read again and retry",
        }
    }

    /// Whether the connection that it came from is to be given up: it is lost, or leads to a Postgres that
    /// does not serve us, as one that only reads.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Unavailable { reason: ErrorReason::DatabaseUnavailable, .. })
            && !self.is_of_part()
    }

    /// Whether the same transaction, run again, may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Aborted { reason: ErrorReason::Conflict, .. })
    }
}

/// What is said where only a part of the database is away.
const PART_UNAVAILABLE: &str =
    "a part of the database does not answer; retry with the same request_id or message_key";

/// What is not there, and how to find what is.
fn not_found(reason: ErrorReason, kind: &str, name: &str) -> String {
    let (place, list) = match reason {
        ErrorReason::CustomerNotFound => ("tenant", "ListCustomers"),
        ErrorReason::ConversationNotFound => ("tenant", "ListConversations"),
        ErrorReason::MessageNotFound => ("conversation", "ListMessages"),
        ErrorReason::ConversationAnalysisNotFound => ("conversation", "ListConversationAnalyses"),
        ErrorReason::PendingQuestionNotFound => ("tenant", "ListPendingQuestions"),
        ErrorReason::CustomerFaqNotFound => ("tenant", "ListCustomerFaqs"),
        ErrorReason::FaqObservationNotFound => ("tenant", "ListFaqObservations"),
        ErrorReason::CampaignNotFound => ("tenant", "ListCampaigns"),
        ErrorReason::CampaignEventNotFound => ("tenant", "ListCampaignEvents"),
        ErrorReason::InterestEventNotFound => ("tenant", "ListInterestEvents"),
        ErrorReason::PurchaseNotFound => ("tenant", "ListPurchases"),
        ErrorReason::AuditEventNotFound => ("tenant", "ListAuditEvents"),
        _ => ("tenant", ""),
    };
    let kind = kind.replace('_', " ");
    if list.is_empty() {
        return format!("there is no {kind} {name:?} in this {place}");
    }
    format!("there is no {kind} {name:?} in this {place}; {list} shows those that there are")
}

/// Whether two paths are of the same field, or of one and a part of it.
fn is_about(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// An error and its causes, joined by colons.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
