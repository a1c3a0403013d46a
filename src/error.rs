//! Errors, classified by what the client does next, and the only conversion of them to a `Status`.

mod postgres;
mod status;

use std::error::Error as StdError;
use std::time::Duration;

use tonic::Code;
use tonic_types::QuotaViolation;

use crate::contract::Word;
use crate::contract::validate::{MAX_VIOLATIONS, Violation};
use crate::pb::ErrorReason;

pub use crate::contract::ERROR_DOMAIN as DOMAIN;
pub use postgres::OnConstraint;
pub(crate) use postgres::UNKNOWN_WORD;
#[cfg(any(test, fuzzing))]
pub(crate) use postgres::without_values;
pub(crate) use status::status;
#[cfg(any(test, fuzzing))]
pub(crate) use status::{MAX_TRAILERS, trailers};

/// When to retry after a refusal for lack of a resource: long enough for a pool to change, and short enough not to
/// waste the client's time.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The field `alarm` of the log line for which an operator must be woken: the database kept tenants apart where the
/// service did not.
const ALARM: &str = "isolation";

/// The text that a client gets for a fault of the server. The cause is in the log.
const FAULT: &str = "a fault of the server, not of the request; report the request_id in the details of this \
                     error to those who run the server, whose log has the cause";

/// The text that a client gets when its deadline has passed.
pub(crate) const TOO_LATE: &str = "the call took longer than it may, and may have had an effect; retry with the \
                                   same request_id or message_key, and with more time if its deadline was short";

/// A result of this service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn StdError + Send + Sync>;

/// An error, classified by what the client does next.
///
/// `Display` is the text that the client reads. It never contains a cause, SQL or a value of another tenant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fix the request. For input that is invalid in every state of the data.
    #[error("{}", status::summary(.violations))]
    Invalid {
        /// Usually `FIELD_INVALID`.
        reason: ErrorReason,
        /// All violations, at least one.
        violations: Vec<Violation>,
    },
    /// Identify the caller. For a missing or invalid credential or tenant.
    #[error("{message}")]
    Unauthenticated {
        /// The reason.
        reason: ErrorReason,
        /// What to send.
        message: String,
    },
    /// Ask for the right. For a right that the caller's credential does not grant.
    #[error("{message}")]
    PermissionDenied {
        /// The reason.
        reason: ErrorReason,
        /// The missing right.
        message: String,
    },
    /// Use another id. For a resource that does not exist, or that belongs to another tenant; both look the same.
    #[error("{}", not_found(*.reason, .kind, .name))]
    NotFound {
        /// The reason.
        reason: ErrorReason,
        /// The kind of the missing resource, e.g. `customer`.
        kind: &'static str,
        /// The id that the client sent.
        name: String,
    },
    /// Look elsewhere. For a resource of this tenant that is deleted, or that belongs to another customer.
    #[error("{message}")]
    Elsewhere {
        /// The reason.
        reason: ErrorReason,
        /// Where the resource is, and what to do.
        message: String,
        /// The kind of the resource, e.g. `customer`.
        kind: &'static str,
        /// The id that the client sent.
        name: String,
    },
    /// Use the existing resource. For a resource that exists already.
    #[error("{message}")]
    AlreadyExists {
        /// The reason.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// The kind of the existing resource, e.g. `customer`.
        kind: &'static str,
        /// The name of the existing resource.
        name: String,
    },
    /// Change the state of the resource first.
    #[error("{message}")]
    FailedPrecondition {
        /// The reason.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// The resource in the wrong state, e.g. `conversation/<id>`.
        subject: String,
    },
    /// Use another position. For a position beyond the end, which may become valid later.
    #[error("{field} {description}")]
    OutOfRange {
        /// The reason.
        reason: ErrorReason,
        /// The path of the field.
        field: &'static str,
        /// The valid positions.
        description: String,
    },
    /// Continue at the end of the text. For a write at another offset.
    #[error("{field} must be {expected}, where the text ends; go on from there")]
    Offset {
        /// The path of the field.
        field: &'static str,
        /// The end of the text in bytes.
        expected: i64,
    },
    /// Continue with the stored text, or restart. For a text that differs from the stored one.
    #[error(
        "{field} is another text than what is there, from byte {from} on; send start to go on with what is there, or start with restart to begin anew"
    )]
    TextDiffers {
        /// The path of the field.
        field: &'static str,
        /// The first byte that differs.
        from: i64,
    },
    /// Wait for the other producer. For a hold that ends by itself.
    #[error(
        "another producer writes this message; send start again in {} s, when its lease ends",
        retry_after.as_secs() + 1
    )]
    Held {
        /// When the hold ends if its producer does nothing.
        retry_after: Duration,
    },
    /// Slow down. For a limit that is reached, before the call had any effect.
    #[error("{message}")]
    ResourceExhausted {
        /// The reason.
        reason: ErrorReason,
        /// What to do.
        message: String,
        /// The subject of the limit: `server`, or `tenant/<id>`.
        subject: String,
        /// The limit.
        limit: Limit,
        /// When there may be room again.
        retry_after: Duration,
    },
    /// Read again and retry.
    #[error("{message}")]
    Aborted {
        /// The reason.
        reason: ErrorReason,
        /// What to do.
        message: &'static str,
    },
    /// Retry later. A write may have happened, and a retry with the same key is safe.
    #[error("{message}")]
    Unavailable {
        /// The reason.
        reason: ErrorReason,
        /// What to do.
        message: &'static str,
        /// The cause, for the log.
        #[source]
        cause: Option<Cause>,
    },
    /// Retry with more time. A write may have happened, and a retry with the same key is safe.
    #[error("{TOO_LATE}")]
    DeadlineExceeded,
    /// Fix the request, although no rule of the contract says how: Postgres refused a value that the rules allow.
    /// This is a gap in the rules, which is logged.
    #[error(
        "the request has a value that cannot be stored, though no rule says so; change its values, or report \
         the request_id in the details of this error to those who run the server"
    )]
    Unstorable(#[source] Cause),
    /// A bug of the service that the database stopped: it refused an action for which the service has no right. The
    /// client gets the text of any fault, and the log raises an alarm.
    #[error("{FAULT}")]
    Forbidden(#[source] Cause),
    /// A bug of the service. The client gets a fixed text, and the log has the cause.
    #[error("{FAULT}")]
    Internal(#[source] Cause),
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The name of the setting.
    pub name: &'static str,
    /// Its value.
    pub value: u32,
}

impl Error {
    /// Returns the error for one invalid field.
    pub fn invalid(field: impl Into<String>, rule: &'static str, description: impl Into<String>) -> Self {
        Self::invalid_because(ErrorReason::FieldInvalid, field, rule, description)
    }

    /// Returns the error for one invalid field, with a reason of its own.
    pub fn invalid_because(
        reason: ErrorReason,
        field: impl Into<String>,
        rule: &'static str,
        description: impl Into<String>,
    ) -> Self {
        let violation = Violation { field: field.into(), rule, description: description.into() };
        Self::Invalid { reason, violations: vec![violation] }
    }

    /// Returns the error for a database that does not answer, or cannot do the work now.
    pub fn database_unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseUnavailable,
            message: "the database does not answer, or has no room; retry with the same request_id or message_key",
            cause: Some(cause.into()),
        }
    }

    /// Returns the error for a part of the database, with the rows of some tenants, that does not answer. The rows of
    /// other tenants are elsewhere.
    pub(crate) fn part_unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseUnavailable,
            message: PART_UNAVAILABLE,
            cause: Some(cause.into()),
        }
    }

    /// Returns the error if no room became free in the time that a client should wait. For a limit that is reached
    /// before the call had any effect, and that no setting of the tenant names.
    pub fn overloaded() -> Self {
        Self::Unavailable {
            reason: ErrorReason::DatabaseBusy,
            message: "the server is busy with other work of this tenant; retry with the same key",
            cause: None,
        }
    }

    /// Returns the error for a fault of the server that no client can correct.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// Combines this error with another one: the violations of both, if both have some. A field that this error names
    /// is not named again.
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

    /// Returns the same error for the other items of a batch, if no single item caused it. Its cause is logged once,
    /// with the original.
    pub fn of_all(&self) -> Option<Self> {
        match self {
            Self::Unavailable { reason, message, cause: _ } => {
                Some(Self::Unavailable { reason: *reason, message, cause: None })
            }
            Self::DeadlineExceeded => Some(Self::DeadlineExceeded),
            _ => None,
        }
    }

    /// Whether only a part of the database is unavailable: other items of a batch may have their rows elsewhere.
    pub fn is_of_part(&self) -> bool {
        matches!(self, Self::Unavailable { message, .. } if *message == PART_UNAVAILABLE)
    }

    /// The code on which the client branches.
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

    /// The reason, for programs.
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

    /// Logs once what the client must not see.
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
    /// Returns the error for a server that is stopping.
    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable {
            reason: ErrorReason::ShuttingDown,
            message: "the server is stopping; retry with the same request_id or message_key, and another \
                      replica answers",
            cause: None,
        }
    }

    pub(crate) fn newer_version() -> Self {
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

    /// Whether the connection that the error came from must be given up: it is lost, or its Postgres cannot serve
    /// this service, for example because it is read-only.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Unavailable { reason: ErrorReason::DatabaseUnavailable, .. })
            && !self.is_of_part()
    }

    /// Whether the same transaction may succeed if it runs again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Aborted { reason: ErrorReason::Conflict, .. })
    }
}

/// The message if only a part of the database is unavailable.
const PART_UNAVAILABLE: &str =
    "a part of the database does not answer; retry with the same request_id or message_key";

/// The message for a missing resource, with the way to find existing ones.
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

/// Whether two paths name the same field, or one names a part of the other's field.
fn is_about(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Returns an error and its causes, joined by colons.
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
