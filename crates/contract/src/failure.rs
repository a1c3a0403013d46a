//! Why a call failed, in types.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::pb::Status as ItemStatus;
use tonic_types::{ErrorDetails, RpcStatusExt as _, StatusExt as _};
use tonic_types::{FieldViolation, PreconditionViolation, QuotaViolation, ResourceInfo};

use crate::pb::ErrorReason;
use crate::words::Word as _;

/// The `domain` of every `google.rpc.ErrorInfo` that the service sends.
pub const ERROR_DOMAIN: &str = "crm.v1";

/// Why a call failed, or one item of a call: the status, with its details read.
#[derive(Debug, Clone)]
pub struct Failure {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl Failure {
    /// Reads the status of a call or a stream.
    pub fn of(status: &Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.get_error_details(),
        }
    }

    /// Reads the status of one item: of a batch, or of a message on the stream `AddMessage`.
    pub fn of_item(status: &ItemStatus) -> Self {
        Self {
            code: Code::from_i32(status.code),
            message: status.message.clone(),
            details: status.get_error_details(),
        }
    }

    /// The code of gRPC.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for people. It may change; decide by [`Failure::reason`].
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The reason, by which programs decide. `None` if the service did not send the error: the connection broke, or
    /// something in between answered. `Unspecified` for a reason that a newer service has.
    pub fn reason(&self) -> Option<ErrorReason> {
        let info = self.details.error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
        Some(ErrorReason::from_word(&info.reason).unwrap_or_default())
    }

    /// A value for programs beside the reason, such as `expected_offset`. The proto of `ErrorReason` lists the keys.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.details.error_info()?.metadata.get(key).map(String::as_str)
    }

    /// The fields that are wrong, with what to correct.
    pub fn field_violations(&self) -> &[FieldViolation] {
        self.details.bad_request().map_or(&[], |request| &request.field_violations)
    }

    /// What must be true before the call can succeed.
    pub fn preconditions(&self) -> &[PreconditionViolation] {
        self.details.precondition_failure().map_or(&[], |failure| &failure.violations)
    }

    /// The limits that the call would exceed.
    pub fn quotas(&self) -> &[QuotaViolation] {
        self.details.quota_failure().map_or(&[], |failure| &failure.violations)
    }

    /// The resource that is missing, or that exists already.
    pub fn resource(&self) -> Option<&ResourceInfo> {
        self.details.resource_info()
    }

    /// How long to wait before another attempt, if the service says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.retry_info()?.retry_delay
    }

    /// The id of the call in the service's log, for a question to its operator.
    pub fn call_id(&self) -> Option<&str> {
        self.details.request_info().map(|info| info.request_id.as_str())
    }

    /// Whether the same request may be sent again, by the retry policy of docs/promises.md. A request that changes
    /// something must then have a `request_id`.
    pub fn may_retry(&self) -> bool {
        match (self.code, self.reason()) {
            (Code::Unavailable | Code::DeadlineExceeded, _) | (_, None) => true,
            (Code::ResourceExhausted, _) => self.details.retry_info().is_some(),
            (Code::Aborted, Some(reason)) => reason == ErrorReason::Conflict,
            _ => false,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::of(&status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message, details } = self;
        match details.error_info() {
            Some(info) => write!(out, "{message} ({}, {code:?})", info.reason),
            None => write!(out, "{message} ({code:?})"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests;
