//! Events of the audit log for writes to messages.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tonic_types::RpcStatusExt;
use uuid::Uuid;

use crate::audit::ledger::{Ledger, Writing};
use crate::audit::rules::{self, Messages};
use crate::audit::store::Event;
use crate::audit::{Operation, Recorder, Subject};
use crate::contract::Word;
use crate::error::Result;
use crate::identity::Caller;
use crate::pb::{self, ErrorReason};
use crate::rpc::Context;
use crate::times;

/// The caller and the operation that write a message.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) caller: Caller,
    pub(crate) operation: Operation,
}

impl Author {
    /// Returns the author of a call that adds messages.
    ///
    /// # Errors
    ///
    /// If the contract declares that the call changes nothing. That is a bug of the server.
    pub(crate) fn of(context: &Context) -> Result<Self> {
        Ok(Self { caller: context.caller.clone(), operation: context.operation()? })
    }
}

/// The audit log of messages.
#[derive(Clone)]
pub(crate) struct Audit {
    ledger: Arc<Ledger>,
    recorder: Recorder,
}

/// The place of a message that a write changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) conversation_id: Uuid,
    pub(crate) sequence: i64,
}

/// The events for writes that no event of the log covers yet.
#[derive(Default)]
pub(crate) struct Due<'p> {
    /// The key in the ledger of each of the events.
    writings: Vec<Writing<'p>>,
    pub(crate) events: Vec<Event>,
}

impl Audit {
    /// Creates the log, with the ledger of its events.
    pub(crate) fn new(ledger: Ledger, recorder: Recorder) -> Self {
        Self { ledger: Arc::new(ledger), recorder }
    }

    /// Returns the events that writes of a tenant need: one for each principal and conversation, unless an
    /// event of the log covers them.
    pub(crate) fn due<'p>(
        &self,
        writes: impl Iterator<Item = (&'p Author, Place)>,
        now: DateTime<Utc>,
    ) -> Due<'p> {
        let mut due = Due::default();
        // The index of the event for each principal and conversation; `None` if an event of the log covers
        // them.
        let mut seen: HashMap<(Uuid, &str), Option<usize>> = HashMap::new();
        for (author, place) in writes {
            let Place { conversation_id, sequence } = place;
            let writing = writing(&author.caller, conversation_id, None);
            let index = *seen.entry((conversation_id, writing.principal)).or_insert_with(|| {
                if self.ledger.covers(writing, now) {
                    return None;
                }
                due.writings.push(writing);
                due.events.push(self.event(author, place, now));
                Some(due.events.len() - 1)
            });
            if let Some(event) = index.and_then(|index| due.events.get_mut(index)) {
                event.first_sequence = event.first_sequence.min(Some(sequence));
                event.last_sequence = event.last_sequence.max(Some(sequence));
            }
        }
        due
    }

    fn event(&self, author: &Author, place: Place, now: DateTime<Utc>) -> Event {
        let Place { conversation_id, sequence } = place;
        let subject = Subject { resource_id: Some(conversation_id), request_id: None };
        let messages =
            Messages { sequences: (sequence, sequence), covers_until: self.ledger.covers_until(now) };
        rules::succeeded(author.caller.principal(), author.operation, subject, Some(messages), now)
    }

    /// Enters committed events in the ledger.
    pub(crate) fn enter(&self, due: &Due<'_>) {
        self.enter_some(due, |_| true);
    }

    /// Enters the events of some conversations in the ledger: those that were committed.
    pub(crate) fn enter_some(&self, due: &Due<'_>, is_committed: impl Fn(&Uuid) -> bool) {
        let Due { writings, events } = due;
        let entered = writings.iter().zip(events);
        for (writing, event) in entered.filter(|(writing, _)| is_committed(&writing.conversation_id)) {
            self.ledger.enter(*writing, event.created_at);
        }
    }

    /// Records an answer of a stream that is an error. For a while, one event covers all refusals for the same
    /// reason.
    pub(crate) fn note(&self, Author { caller, operation }: &Author, answer: &pb::AddMessageResponse) {
        let Some(pb::add_message_response::Result::Error(error)) = &answer.result else { return };
        let Some(status) = &error.status else { return };
        let conversation = Subject::new(&error.conversation_id, "");
        let reason = reason(status);
        let now = times::now();
        let id = conversation.resource_id.unwrap_or_default();
        let writing = writing(caller, id, Some(reason));
        if self.ledger.covers(writing, now) {
            return;
        }
        let (code, reason) = (status.code.into(), reason.word().to_owned());
        let event = rules::failed(caller.principal(), *operation, conversation, code, reason, now);
        if self.recorder.record(caller.tenant(), event) {
            self.ledger.enter(writing, now);
        }
    }
}

fn writing(caller: &Caller, conversation_id: Uuid, refused: Option<ErrorReason>) -> Writing<'_> {
    let tenant = caller.tenant().as_uuid();
    Writing { tenant, principal: caller.principal().name(), conversation_id, refused }
}

/// Returns why a message was refused.
fn reason(status: &tonic_types::Status) -> ErrorReason {
    let info = status.get_details_error_info();
    info.and_then(|info| ErrorReason::from_word(&info.reason)).unwrap_or(ErrorReason::Internal)
}
