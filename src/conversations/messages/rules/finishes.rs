//! The finishes of a batch for messages that are already complete. They must be compared with these messages.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Change, Write};
use crate::conversations::messages::store::{Action, Ai, Known};
use crate::db::json::Json;
use crate::pb::MessageStatus;

/// A finish for a message that is already complete.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Finish<'w> {
    /// Its index in the batch.
    pub(crate) place: usize,
    pub(crate) message_id: Uuid,
    pub(crate) ai: Option<&'w Ai>,
    pub(crate) actions: &'w Json<Vec<Action>>,
}

/// How a finish differs from the end of its message, apart from the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The index of the finish in the batch.
    pub(crate) place: usize,
    /// The names of the fields that differ, as in the contract.
    pub(crate) differing: Vec<String>,
}

/// Returns the finishes that must be compared with the stored messages. There are nearly never any.
pub(crate) fn finished_again<'w>(writes: &[&'w Write], known: &[Known]) -> Vec<Finish<'w>> {
    let complete = known.iter().filter(|known| known.status.0 == MessageStatus::Completed);
    let mut complete = complete.peekable();
    if complete.peek().is_none() {
        return Vec::new();
    }
    let complete: HashMap<_, _> =
        complete.map(|known| ((known.conversation_id, known.message_key.as_str()), known.id)).collect();
    let finishes = writes.iter().enumerate().filter_map(|(place, write)| {
        let Change::Finish { holder: _, length: _, ai, actions } = &write.change else { return None };
        let message_id = *complete.get(&(write.conversation_id, write.message_key.as_str()))?;
        Some(Finish { place, message_id, ai: ai.as_ref().map(|ai| &ai.0), actions })
    });
    finishes.collect()
}
