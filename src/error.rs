//! Errors by what the client does next, and the only way from one to a `Status`.

mod postgres;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::pb as google_rpc;
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt};

use crate::pb::ErrorReason;
use crate::rpc::validate::Violation;
use crate::rpc::words::Word;

pub use postgres::OnConstraint;
#[cfg(any(test, fuzzing))]
pub(crate) use postgres::without_values;

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "crm.v1";

/// When to come back after a refusal for want of something: long enough for a pool to move, short
/// enough that nobody waits for nothing.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The field `alarm` of the line in the log that somebody must be woken for: the database kept tenants
/// apart where the service did not.
const ALARM: &str = "isolation";

/// A result of this service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn StdError + Send + Sync>;

/// What went wrong, by what the client does next.
///
/// `Display` is what the client reads: it never prints a cause, SQL or a value of another tenant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fix the request. For input that is wrong whatever the state of the data.
    #[error("{}", summary(.violations))]
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
    #[error("no {kind} {name:?} in this tenant")]
    NotFound {
        /// Why.
        reason: ErrorReason,
        /// What is not there, e.g. `customer`.
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
    #[error("{field} must be {expected}, where the text ends")]
    Offset {
        /// The path of the field.
        field: &'static str,
        /// The end of the text in bytes.
        expected: i64,
    },
    /// Somebody else is at it. For a hold that ends by itself.
    #[error("another producer writes this message; retry when its lease has run out")]
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
    #[error(
        "the call took longer than it may; retry with the same key, and with more time if its deadline was short"
    )]
    DeadlineExceeded,
    /// Fix the request, though no rule of the contract says how: Postgres refused a value that the rules
    /// let through. A hole in the rules, which the log tells.
    #[error(
        "the request has a value that cannot be stored; the server's log has the cause under this request id"
    )]
    Unstorable(#[source] Cause),
    /// Our fault, and the database kept it from doing harm: it refused what the service has no right to.
    /// The client reads what it reads of any fault, and the log raises an alarm.
    #[error("a fault of the server; its log has the cause under this request id")]
    Forbidden(#[source] Cause),
    /// Our fault. The client reads a fixed text, and the log has the cause.
    #[error("a fault of the server; its log has the cause under this request id")]
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
            message: "the database does not answer, or has no room; retry with the same key",
            cause: Some(cause.into()),
        }
    }

    /// There is no room for what was asked within the time that a client should wait for it. For a limit
    /// that is reached before the call had any effect, and that no setting of the tenant names.
    pub fn overloaded() -> Self {
        Self::Unavailable {
            reason: ErrorReason::Overloaded,
            message: "the server is busy with other work of this tenant; retry with the same key",
            cause: None,
        }
    }

    /// A fault of the server that no client can do anything about.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
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

    /// The code that the client branches on.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } | Self::Unstorable(_) => Code::InvalidArgument,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
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
            | Self::AlreadyExists { reason, .. }
            | Self::FailedPrecondition { reason, .. }
            | Self::OutOfRange { reason, .. }
            | Self::ResourceExhausted { reason, .. }
            | Self::Aborted { reason, .. }
            | Self::Unavailable { reason, .. } => *reason,
            Self::Offset { .. } => ErrorReason::OffsetOutOfRange,
            Self::Held { .. } => ErrorReason::MessageHeld,
            Self::DeadlineExceeded => ErrorReason::DeadlineExceeded,
            Self::Unstorable(_) => ErrorReason::FieldInvalid,
            Self::Forbidden(_) | Self::Internal(_) => ErrorReason::Internal,
        }
    }

    /// What a program reads beside the reason.
    fn metadata(&self) -> HashMap<String, String> {
        match self {
            Self::Offset { expected, .. } => {
                HashMap::from([("expected_offset".to_owned(), expected.to_string())])
            }
            _ => HashMap::new(),
        }
    }

    /// The details that go with the code.
    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason().word(), DOMAIN, self.metadata());
        match self {
            Self::Invalid { violations, .. } => {
                for violation in violations {
                    details.add_bad_request_violation(&violation.field, &violation.description);
                }
            }
            Self::Unstorable(_) => {
                details.add_bad_request_violation("", "has a value that cannot be stored");
            }
            Self::OutOfRange { field, description, .. } => {
                details.add_bad_request_violation(*field, description);
            }
            Self::Offset { field, expected } => {
                details.add_bad_request_violation(*field, format!("must be {expected}, where the text ends"));
            }
            Self::Held { retry_after } => {
                details.set_retry_info(Some(*retry_after));
            }
            Self::ResourceExhausted { message, subject, limit, retry_after, .. } => {
                details.set_quota_failure([limit.violation(subject, message)]);
                details.set_retry_info(Some(*retry_after));
            }
            Self::NotFound { kind, name, .. } | Self::AlreadyExists { kind, name, .. } => {
                details.set_resource_info(*kind, name, "", self.to_string());
            }
            Self::FailedPrecondition { reason, message, subject } => {
                details.add_precondition_failure_violation(reason.word(), subject, message);
            }
            Self::Unavailable { .. } => {
                details.set_retry_info(Some(RETRY_AFTER));
            }
            Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::Aborted { .. }
            | Self::DeadlineExceeded
            | Self::Forbidden(_)
            | Self::Internal(_) => {}
        }
        details
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

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.log();
        Status::with_error_details(error.code(), error.to_string(), error.details())
    }
}

/// The error of one of many, within an answer.
impl From<Error> for google_rpc::Status {
    fn from(error: Error) -> Self {
        let status = Status::from(error);
        let details: Option<Self> = prost::Message::decode(status.details()).ok();
        Self {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: details.unwrap_or_default().details,
        }
    }
}

impl Error {
    fn conflict() -> Self {
        Self::Aborted {
            reason: ErrorReason::Conflict,
            message: "other calls changed the same rows several times; read again and retry",
        }
    }

    /// Whether the connection that it came from is to be given up: it is lost, or leads to a Postgres that
    /// does not serve us, as one that only reads.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Unavailable { reason: ErrorReason::DatabaseUnavailable, .. })
    }

    /// Whether the same transaction, run again, may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Aborted { reason: ErrorReason::Conflict, .. })
    }
}

/// One sentence for people: the first violation, and how many more there are.
fn summary(violations: &[Violation]) -> String {
    let Some(first) = violations.first() else {
        return "the request is not valid".to_owned();
    };
    let subject = if first.field.is_empty() { "the request" } else { &first.field };
    let more = match violations.len() {
        1 => String::new(),
        count => format!(" (and {} more; see the details)", count - 1),
    };
    format!("{subject} {}{more}", first.description)
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
