//! Few new messages, which are added without being looked up first.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Addition, Change, MAX_SEQUENCE, Outcome, Plan, Write};
use crate::conversations::store::Growth;
use crate::db::words::Text;
use crate::numbers;
use crate::pb::MessageStatus;

/// The limit of messages in a batch. A larger batch is worth two flights: its reads are shared, and a key that was sent
/// before costs no second attempt.
pub(crate) const MOST: usize = 16;

/// Messages of a tenant to add, if they are new and their conversations are open.
#[derive(Debug, Default)]
pub(crate) struct Few<'w> {
    /// The messages. Each has its place among the new messages of its conversation for a sequence.
    pub(crate) additions: Vec<Addition<'w>>,
    /// The conversations, in the order of their ids.
    pub(crate) growths: Vec<Growth>,
}

impl<'w> Few<'w> {
    /// Returns the messages of these writes; `None` if the writes do other things too, or repeat each other.
    pub(crate) fn of(writes: &[&'w Write]) -> Option<Self> {
        let mut keys = HashSet::new();
        let mut growths: HashMap<Uuid, Growth> = HashMap::new();
        let mut additions = Vec::with_capacity(writes.len());
        for write in writes {
            let Change::Add(message) = &write.change else { return None };
            if !keys.insert((write.conversation_id, write.message_key.as_str())) {
                return None;
            }
            let growth = growths.entry(write.conversation_id).or_insert(Growth {
                conversation_id: write.conversation_id,
                first_message_id: message.id,
                count: 0,
            });
            growth.count += 1;
            additions.push(Addition {
                message,
                sequence: growth.count,
                status: Text(MessageStatus::Completed),
            });
        }
        let mut growths: Vec<Growth> = growths.into_values().collect();
        growths.sort_unstable_by_key(|growth| growth.conversation_id);
        Some(Self { additions, growths })
    }

    /// The largest sequence of a conversation that has room for all of the messages.
    pub(crate) fn room(&self) -> i64 {
        MAX_SEQUENCE - numbers::count(self.additions.len())
    }
}

/// Returns the outcomes of writes whose messages were added to these conversations; `None` for each other write, which
/// must be looked up. `plan` is the plan of the writes as if no key was stored.
pub(crate) fn added(plan: Plan<'_>, writes: &[&Write], added_to: &[Uuid]) -> Vec<Option<Outcome>> {
    let outcomes = plan.outcomes.into_iter().zip(writes);
    outcomes.map(|(outcome, write)| outcome.filter(|_| added_to.contains(&write.conversation_id))).collect()
}
