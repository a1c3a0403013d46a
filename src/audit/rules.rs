//! The content of events.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Code;
use uuid::{NoContext, Timestamp, Uuid};

use super::store::Event;
use crate::db::words::Text;
use crate::identity::Principal;
use crate::pb::{AuditOutcome, ResourceType};

/// The number of characters of a principal's name that are kept, as in the contract: more than a readable name
/// has.
const MAX_PRINCIPAL: usize = 256;

/// An operation of a call or of the service itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The RPC, `package.Service/Method`, or the name of the service's own operation.
    pub(crate) method: &'static str,
    /// The kind of resource that it changes.
    pub(crate) resource_type: ResourceType,
    /// The id of the call; `None` for the service's own operations.
    pub(crate) call_id: Option<Uuid>,
}

/// The ids that a request has for the log. Only UUIDs are kept: any other text of a client must not get into
/// the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subject {
    /// The id of the resource that the call changes.
    pub(crate) resource_id: Option<Uuid>,
    /// The id that the client gave the call.
    pub(crate) request_id: Option<Uuid>,
}

impl Subject {
    /// Returns the ids in these fields of a request. The fields are not validated yet.
    pub(crate) fn new(resource_id: &str, request_id: &str) -> Self {
        let id = |text: &str| Uuid::try_parse(text).ok();
        Self { resource_id: id(resource_id), request_id: id(request_id) }
    }
}

/// The place from which the layer of a call gets the ids, once the request was read.
#[derive(Debug, Clone, Default)]
pub struct SubjectSlot(Arc<OnceLock<Subject>>);

impl SubjectSlot {
    /// Notes the ids of a request.
    pub(crate) fn note(&self, subject: Subject) {
        // A call has one request.
        let _ = self.0.set(subject);
    }

    /// Returns the noted ids; empty if the request was never read.
    pub(crate) fn get(&self) -> Subject {
        self.0.get().copied().unwrap_or_default()
    }
}

/// The messages of a conversation that an event covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Messages {
    /// The smallest and the largest sequence that are stored with it.
    pub(crate) sequences: (i64, i64),
    /// When it ceases to cover other messages.
    pub(crate) covers_until: DateTime<Utc>,
}

/// Returns the event of an operation that was done.
pub(crate) fn succeeded(
    principal: &Principal,
    operation: Operation,
    subject: Subject,
    messages: Option<Messages>,
    now: DateTime<Utc>,
) -> Event {
    Event {
        first_sequence: messages.map(|messages| messages.sequences.0),
        last_sequence: messages.map(|messages| messages.sequences.1),
        covers_until: messages.map(|messages| messages.covers_until),
        ..event(principal, operation, subject, Code::Ok, None, now)
    }
}

/// Returns the event of an operation that failed, or whose outcome is unknown, by its answer.
pub(crate) fn failed(
    principal: &Principal,
    operation: Operation,
    subject: Subject,
    code: Code,
    reason: String,
    now: DateTime<Utc>,
) -> Event {
    event(principal, operation, subject, code, Some(reason), now)
}

fn event(
    principal: &Principal,
    operation: Operation,
    subject: Subject,
    code: Code,
    reason: Option<String>,
    now: DateTime<Utc>,
) -> Event {
    let Operation { method, resource_type, call_id } = operation;
    let Subject { resource_id, request_id } = subject;
    Event {
        id: id_at(now),
        created_at: now,
        principal: kept(principal.name()),
        method: method.to_owned(),
        resource_type: Text(resource_type),
        resource_id,
        outcome: Text(outcome(code)),
        code: code.into(),
        reason,
        call_id,
        request_id,
        first_sequence: None,
        last_sequence: None,
        covers_until: None,
    }
}

/// Returns the effect of a call with this code, as the contract promises.
fn outcome(code: Code) -> AuditOutcome {
    match code {
        Code::Ok => AuditOutcome::Succeeded,
        Code::Unavailable | Code::DeadlineExceeded => AuditOutcome::Unknown,
        _ => AuditOutcome::Failed,
    }
}

/// Returns a name as it is kept. Characters that cannot be stored, or that could forge a line of the log, are
/// replaced.
fn kept(name: &str) -> String {
    let shown =
        |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    match name.chars().take(MAX_PRINCIPAL).map(shown).collect::<String>() {
        name if name.is_empty() => "?".to_owned(),
        name => name,
    }
}

/// Returns a new id for an event of this moment.
fn id_at(time: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos()))
}

/// Returns the smallest id that an event of this moment, or a later one, may have.
pub(crate) fn first_id(time: DateTime<Utc>) -> Uuid {
    const TIME: u32 = 48;
    let milliseconds = u128::try_from(time.timestamp_millis()).unwrap_or(0).min((1 << TIME) - 1);
    Uuid::from_u128(milliseconds << (u128::BITS - TIME))
}

/// Returns the smallest id above the ids of all events of this moment and earlier.
pub(crate) fn end_id(time: DateTime<Utc>) -> Uuid {
    first_id(time.checked_add_signed(TimeDelta::milliseconds(1)).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Caller;

    const OPERATION: Operation =
        Operation { method: "S/M", resource_type: ResourceType::Customer, call_id: None };

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(milliseconds).expect("a time")
    }

    #[test]
    fn ids_are_in_the_order_of_time() {
        let (before, now, after) = (at(1_795_000_000_122), at(1_795_000_000_123), at(1_795_000_000_124));
        for _ in 0..100 {
            let id = id_at(now);
            assert!(id_at(before) < first_id(now) && first_id(now) <= id);
            assert!(id < end_id(now) && end_id(now) <= id_at(after));
        }
        assert_eq!(first_id(at(-5)), Uuid::nil(), "before 1970 there are no events");
        assert!(end_id(DateTime::<Utc>::MAX_UTC) > id_at(now));
    }

    #[test]
    fn only_ids_of_a_request_are_kept() {
        let id = Uuid::now_v7();
        assert_eq!(Subject::new("zoe@cafe.example", "Café Zoë"), Subject::default());
        let subject = Subject::new(&id.to_string(), "");
        assert_eq!(subject, Subject { resource_id: Some(id), request_id: None });
    }

    #[test]
    fn a_code_says_whether_there_was_an_effect() {
        assert_eq!(outcome(Code::Ok), AuditOutcome::Succeeded);
        assert_eq!(outcome(Code::Unavailable), AuditOutcome::Unknown);
        assert_eq!(outcome(Code::DeadlineExceeded), AuditOutcome::Unknown);
        assert_eq!(outcome(Code::Aborted), AuditOutcome::Failed);
        assert_eq!(outcome(Code::Internal), AuditOutcome::Failed);
    }

    #[test]
    fn a_name_is_stored_whatever_it_is() {
        assert_eq!(kept("jwt:zoë"), "jwt:zoë");
        assert_eq!(kept("a\0b\nc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(kept(&"ë".repeat(1_000)).chars().count(), MAX_PRINCIPAL);
        assert_eq!(kept(""), "?");
    }

    #[test]
    fn what_succeeded_has_no_reason() {
        let caller = Caller::caretaker(Uuid::from_u128(1));
        let done = succeeded(caller.principal(), OPERATION, Subject::default(), None, at(5));
        assert_eq!((done.principal.as_str(), done.code, done.reason), ("service", 0, None));
    }
}
