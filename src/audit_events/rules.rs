//! Decisions about reading the audit log.

use uuid::Uuid;

use crate::error::Error;
use crate::pb::ErrorReason;

/// Returns the error for an event that does not exist.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::AuditEventNotFound, kind: "audit_event", name: id.to_string() }
}
