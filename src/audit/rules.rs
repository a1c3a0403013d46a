//! What an event says.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Code;
use uuid::{NoContext, Timestamp, Uuid};

use super::store::Event;
use crate::auth::Principal;
use crate::error::Error;
use crate::pb::{AuditOutcome, ErrorReason, ResourceType};
use crate::rpc::words::Text;

/// Characters of a principal's name that are kept, as the contract says: more than a name has that is
/// meant to be read.
const MAX_PRINCIPAL: usize = 256;

/// What is done, whether by a call or by the service itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The RPC, `package.Service/Method`, or what the service does by itself.
    pub(crate) method: &'static str,
    /// The kind of thing that it changes.
    pub(crate) resource_type: ResourceType,
    /// The id of the call, where it is one.
    pub(crate) call_id: Option<Uuid>,
}

/// What a request says that its call is about. Only UUIDs are kept: whatever else a client may have
/// written there is not for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// The id of what the call changes.
    pub(crate) resource_id: Option<Uuid>,
    /// The id that the client gave the call.
    pub(crate) request_id: Option<Uuid>,
}

impl Asked {
    /// What these fields of a request say, which nobody has held to their form yet.
    pub(crate) fn new(resource_id: &str, request_id: &str) -> Self {
        let id = |text: &str| Uuid::try_parse(text).ok();
        Self { resource_id: id(resource_id), request_id: id(request_id) }
    }
}

/// Where the layer of a call learns what its request says, once somebody has read it.
#[derive(Debug, Clone, Default)]
pub struct Asking(Arc<OnceLock<Asked>>);

impl Asking {
    /// Notes what a request says.
    pub(crate) fn note(&self, asked: Asked) {
        // A call has one request.
        let _ = self.0.set(asked);
    }

    /// What was noted; nothing where the request was never read.
    pub(crate) fn asked(&self) -> Asked {
        self.0.get().copied().unwrap_or_default()
    }
}

/// The messages of a conversation that an event stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Messages {
    /// The smallest and the largest sequence that are stored with it.
    pub(crate) sequences: (i64, i64),
    /// When it no longer stands for what else is written.
    pub(crate) covers_until: DateTime<Utc>,
}

/// Something that was done.
pub(crate) fn succeeded(
    (principal, operation): (&Principal, Operation),
    asked: Asked,
    messages: Option<Messages>,
    now: DateTime<Utc>,
) -> Event {
    Event {
        first_sequence: messages.map(|messages| messages.sequences.0),
        last_sequence: messages.map(|messages| messages.sequences.1),
        covers_until: messages.map(|messages| messages.covers_until),
        ..event((principal, operation), asked, (Code::Ok, None), now)
    }
}

/// Something that was not done, or nobody knows, by what it was answered with.
pub(crate) fn failed(
    (principal, operation): (&Principal, Operation),
    asked: Asked,
    (code, reason): (Code, String),
    now: DateTime<Utc>,
) -> Event {
    event((principal, operation), asked, (code, Some(reason)), now)
}

fn event(
    (principal, operation): (&Principal, Operation),
    asked: Asked,
    (code, reason): (Code, Option<String>),
    now: DateTime<Utc>,
) -> Event {
    let Operation { method, resource_type, call_id } = operation;
    let Asked { resource_id, request_id } = asked;
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

/// There is no such event.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::AuditEventNotFound, kind: "audit_event", name: id.to_string() }
}

/// What a code says about the effect of a call, as the contract promises.
fn outcome(code: Code) -> AuditOutcome {
    match code {
        Code::Ok => AuditOutcome::Succeeded,
        Code::Unavailable | Code::DeadlineExceeded => AuditOutcome::Unknown,
        _ => AuditOutcome::Failed,
    }
}

/// A name as it is kept: what cannot be stored or would forge a line is shown as such.
fn kept(name: &str) -> String {
    let shown =
        |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    match name.chars().take(MAX_PRINCIPAL).map(shown).collect::<String>() {
        name if name.is_empty() => "?".to_owned(),
        name => name,
    }
}

/// A new id for an event of this moment.
fn id_at(time: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos()))
}

/// The smallest id that an event of this moment, or a later one, may have.
pub(crate) fn first_id(time: DateTime<Utc>) -> Uuid {
    const TIME: u32 = 48;
    let milliseconds = u128::try_from(time.timestamp_millis()).unwrap_or(0).min((1 << TIME) - 1);
    Uuid::from_u128(milliseconds << (u128::BITS - TIME))
}

/// The smallest id that no event of this moment, or an earlier one, may have.
pub(crate) fn end_id(time: DateTime<Utc>) -> Uuid {
    first_id(time.checked_add_signed(TimeDelta::milliseconds(1)).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Caller;

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
        assert_eq!(Asked::new("zoe@cafe.example", "Café Zoë"), Asked::default());
        let asked = Asked::new(&id.to_string(), "");
        assert_eq!(asked, Asked { resource_id: Some(id), request_id: None });
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
        let done = succeeded((caller.principal(), OPERATION), Asked::default(), None, at(5));
        assert_eq!((done.principal.as_str(), done.code, done.reason), ("service", 0, None));
    }
}
