//! Events of the audit log for writes to messages.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tonic_types::RpcStatusExt;
use uuid::Uuid;

use super::rules::{Effect, Placed};
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
        writes: impl Iterator<Item = (&'p Author, &'p Placed)>,
        now: DateTime<Utc>,
    ) -> Due<'p> {
        let mut due = Due::default();
        // The index of the event for each principal and conversation; `None` if an event of the log covers
        // them.
        let mut seen: HashMap<(Uuid, &str), Option<usize>> = HashMap::new();
        for (author, placed) in writes.filter(|(_, placed)| placed.effect != Effect::None) {
            let writing = writing(&author.caller, placed.conversation_id, None);
            let place = *seen.entry((placed.conversation_id, writing.principal)).or_insert_with(|| {
                if self.ledger.covers(writing, now) {
                    return None;
                }
                due.writings.push(writing);
                due.events.push(self.event(author, placed, now));
                Some(due.events.len() - 1)
            });
            if let Some(event) = place.and_then(|place| due.events.get_mut(place)) {
                event.first_sequence = event.first_sequence.min(Some(placed.sequence));
                event.last_sequence = event.last_sequence.max(Some(placed.sequence));
            }
        }
        due
    }

    /// Returns whether an event of the log covers an author's writes to a conversation.
    pub(crate) fn covers(&self, author: &Author, conversation_id: Uuid, now: DateTime<Utc>) -> bool {
        self.ledger.covers(writing(&author.caller, conversation_id, None), now)
    }

    fn event(&self, author: &Author, placed: &Placed, now: DateTime<Utc>) -> Event {
        let subject = Subject { resource_id: Some(placed.conversation_id), request_id: None };
        let messages = Messages {
            sequences: (placed.sequence, placed.sequence),
            covers_until: self.ledger.covers_until(now),
        };
        rules::succeeded(author.caller.principal(), author.operation, subject, Some(messages), now)
    }

    /// Enters committed events in the ledger.
    pub(crate) fn enter(&self, Due { writings, events }: &Due<'_>) {
        for (writing, event) in writings.iter().zip(events) {
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
