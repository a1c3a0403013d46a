//! Which writes of a batch say again what is stored already, and must be compared with it.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Change, Write};
use crate::conversations::messages::store::{Action, Ai, NewMessage, StoredMessage};
use crate::db::json::Json;
use crate::pb::MessageStatus;

/// A write about a message that is stored and may say something else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repeat<'w> {
    /// Its place in the batch.
    pub(crate) place: usize,
    pub(crate) message_id: Uuid,
    pub(crate) said: Said<'w>,
}

/// What such a write says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Said<'w> {
    /// A whole message.
    Message(&'w NewMessage),
    /// The beginning of a message: its role.
    Start(&'w NewMessage),
    /// The end of a message, beside its length.
    Finish { ai: Option<&'w Ai>, actions: &'w Json<Vec<Action>> },
}

/// How a write differs from its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The place of the write in the batch.
    pub(crate) place: usize,
    /// The fields that differ, as the contract names them.
    pub(crate) differing: Vec<String>,
}

/// The writes that must be compared with what is stored: nearly always none.
pub(crate) fn repeats<'w>(writes: &[&'w Write], known: &[StoredMessage]) -> Vec<Repeat<'w>> {
    if known.is_empty() {
        return Vec::new();
    }
    let known: HashMap<_, _> =
        known.iter().map(|known| ((known.conversation_id, known.message_key.as_str()), known)).collect();
    let is_complete = |known: &StoredMessage| known.status.0 == MessageStatus::Completed;
    let repeats = writes.iter().enumerate().filter_map(|(place, write)| {
        let known = known.get(&(write.conversation_id, write.message_key.as_str()))?;
        let said = match &write.change {
            Change::Add(message) if message.fingerprint != known.fingerprint && is_complete(known) => {
                Said::Message(message)
            }
            Change::Start { message, .. } if message.fingerprint != known.fingerprint => Said::Start(message),
            Change::Finish { ai, actions, .. } if is_complete(known) => {
                Said::Finish { ai: ai.as_ref().map(|ai| &ai.0), actions }
            }
            _ => return None,
        };
        Some(Repeat { place, message_id: known.id, said })
    });
    repeats.collect()
}
