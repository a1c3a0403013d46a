//! The audit log: messages ⇄ rows.

use super::store::Filter;
use crate::audit::rules;
use crate::audit::store::Event;
use crate::contract::Word;
use crate::db::words::{stored_each, wire};
use crate::error::Result;
use crate::numbers;
use crate::pb::{self, ErrorReason};
use crate::rpc;
use crate::times;

impl From<Event> for pb::AuditEvent {
    fn from(row: Event) -> Self {
        let Event {
            id,
            created_at,
            principal,
            method,
            resource_type,
            resource_id,
            outcome,
            code,
            reason,
            call_id,
            request_id,
            first_sequence,
            last_sequence,
            covers_until,
        } = row;
        let messages = first_sequence.map(|first_sequence| pb::AuditedMessages {
            first_sequence: numbers::int32(first_sequence),
            last_sequence: numbers::int32(last_sequence.unwrap_or(first_sequence)),
            cover_end_time: covers_until.map(times::to_wire),
        });
        Self {
            id: id.to_string(),
            create_time: Some(times::to_wire(created_at)),
            principal,
            method,
            resource_type: wire(Some(resource_type)),
            resource_id: rpc::optional_text(resource_id),
            outcome: wire(Some(outcome)),
            code,
            // A newer replica may have reasons that this one does not know.
            reason: reason.and_then(|word| ErrorReason::from_word(&word)).unwrap_or_default().into(),
            call_id: rpc::optional_text(call_id),
            request_id: rpc::optional_text(request_id),
            messages,
        }
    }
}

/// Returns which events a list shows.
pub(super) fn filter(request: &pb::ListAuditEventsRequest) -> Result<Filter> {
    Ok(Filter {
        from: times::optional(request.create_time_from.as_ref()).map(|from| (from, rules::first_id(from))),
        until: times::optional(request.create_time_until.as_ref()).map(|until| (until, rules::end_id(until))),
        principal: rpc::non_empty(&request.principal),
        method: rpc::non_empty(&request.method),
        resource_id: rpc::optional_id("resource_id", &request.resource_id)?,
        outcomes: stored_each(&request.outcomes),
    })
}
