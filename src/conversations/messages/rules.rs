//! Where messages go: which get a place, which have one, which get none.

use std::collections::HashMap;

use uuid::Uuid;

use super::store::{Known, NewMessage};
use crate::conversations::rules::{ended, is_over, not_found};
use crate::conversations::store::Head;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// A message that has its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    /// Bytes of its text.
    pub(crate) content_bytes: i64,
    /// Whether it was there already.
    pub(crate) deduplicated: bool,
}

/// What to do with a batch of messages.
#[derive(Debug)]
pub(crate) struct Plan<'m> {
    /// What becomes of each message, in the order of the batch.
    pub(crate) outcomes: Vec<Result<Placed>>,
    /// The messages to add, with their sequences.
    pub(crate) additions: Vec<(&'m NewMessage, i64)>,
    /// The last sequence of every conversation that messages are added to.
    pub(crate) heads: Vec<(Uuid, i64)>,
}

/// Gives every message of a batch its place: the next one of its conversation, or the one that its
/// key has, in the database or earlier in the batch.
pub(crate) fn plan<'m>(messages: &'m [NewMessage], heads: &[Head], known: Vec<Known>) -> Plan<'m> {
    let mut heads: HashMap<Uuid, (Head, i64)> =
        heads.iter().map(|head| (head.id, (*head, head.last_sequence))).collect();
    let mut known: HashMap<(Uuid, String), Known> =
        known.into_iter().map(|known| ((known.conversation_id, known.message_key.clone()), known)).collect();
    let mut plan =
        Plan { outcomes: Vec::with_capacity(messages.len()), additions: Vec::new(), heads: Vec::new() };
    for message in messages {
        let outcome = place(message, &mut heads, &mut known);
        if let Ok(placed) = &outcome
            && !placed.deduplicated
        {
            plan.additions.push((message, placed.sequence));
        }
        plan.outcomes.push(outcome);
    }
    plan.heads = heads
        .into_values()
        .filter(|(head, last_sequence)| *last_sequence > head.last_sequence)
        .map(|(head, last_sequence)| (head.id, last_sequence))
        .collect();
    plan.heads.sort_unstable();
    plan
}

fn place(
    message: &NewMessage,
    heads: &mut HashMap<Uuid, (Head, i64)>,
    known: &mut HashMap<(Uuid, String), Known>,
) -> Result<Placed> {
    let (head, last_sequence) =
        heads.get_mut(&message.conversation_id).ok_or_else(|| not_found(message.conversation_id))?;
    let key = (message.conversation_id, message.message_key.clone());
    // A resend is answered also after the conversation ended: its first ack may have been lost.
    if let Some(known) = known.get(&key) {
        return resent(message, known);
    }
    if is_over(head.status) {
        return Err(ended(head.id));
    }
    *last_sequence += 1;
    let added = Known {
        conversation_id: message.conversation_id,
        message_key: message.message_key.clone(),
        id: message.id,
        sequence: *last_sequence,
        fingerprint: message.fingerprint.clone(),
        content_bytes: i32::try_from(message.content.len()).unwrap_or(i32::MAX),
    };
    let placed = placed(&added, false);
    known.insert(key, added);
    Ok(placed)
}

fn resent(message: &NewMessage, known: &Known) -> Result<Placed> {
    if message.fingerprint == known.fingerprint {
        return Ok(placed(known, true));
    }
    Err(Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "this message_key has another message; use a new one".to_owned(),
        kind: "message",
        name: known.id.to_string(),
    })
}

fn placed(known: &Known, deduplicated: bool) -> Placed {
    Placed {
        conversation_id: known.conversation_id,
        message_key: known.message_key.clone(),
        id: known.id,
        sequence: known.sequence,
        content_bytes: known.content_bytes.into(),
        deduplicated,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::db::json::Json;
    use crate::pb::{ConversationStatus, MessageRole};
    use crate::rpc::words::Text;

    fn message(conversation: u128, key: &str, text: &str) -> NewMessage {
        NewMessage {
            id: Uuid::new_v4(),
            conversation_id: Uuid::from_u128(conversation),
            message_key: key.to_owned(),
            role: Text(MessageRole::User),
            author: String::new(),
            content: text.to_owned(),
            content_type: String::new(),
            ai: None,
            actions: Json(Vec::new()),
            metadata: serde_json::Value::Null,
            sent_at: None,
            fingerprint: text.as_bytes().to_vec(),
        }
    }

    fn head(conversation: u128, status: ConversationStatus, last_sequence: i64) -> Head {
        Head { id: Uuid::from_u128(conversation), status: Text(status), last_sequence }
    }

    fn sequences(plan: &Plan<'_>) -> Vec<Result<i64, ErrorReason>> {
        let sequence = |outcome: &Result<Placed>| match outcome {
            Ok(placed) => Ok(placed.sequence),
            Err(error) => Err(error.reason()),
        };
        plan.outcomes.iter().map(sequence).collect()
    }

    #[test]
    fn messages_get_the_next_places_of_their_conversations() {
        let batch = [message(1, "a", "x"), message(2, "a", "x"), message(1, "b", "x"), message(3, "a", "x")];
        let heads = [head(1, ConversationStatus::Open, 7), head(2, ConversationStatus::Snoozed, 0)];
        let plan = plan(&batch, &heads, Vec::new());
        assert_eq!(sequences(&plan), [Ok(8), Ok(1), Ok(9), Err(ErrorReason::ConversationNotFound)]);
        assert_eq!(plan.heads, [(Uuid::from_u128(1), 9), (Uuid::from_u128(2), 1)]);
        assert_eq!(plan.additions.len(), 3);
    }

    #[test]
    fn a_key_has_one_place_also_within_a_batch() {
        let batch =
            [message(1, "a", "yes"), message(1, "a", "yes"), message(1, "a", "no"), message(1, "b", "yes")];
        let plan = plan(&batch, &[head(1, ConversationStatus::Open, 0)], Vec::new());
        assert_eq!(sequences(&plan), [Ok(1), Ok(1), Err(ErrorReason::IdempotencyKeyReused), Ok(2)]);
        assert!(plan.outcomes[1].as_ref().is_ok_and(|placed| placed.deduplicated));
    }

    #[test]
    fn an_ended_conversation_takes_nothing_but_answers_resends() {
        let known = Known {
            conversation_id: Uuid::from_u128(1),
            message_key: "a".to_owned(),
            id: Uuid::from_u128(9),
            sequence: 4,
            fingerprint: b"x".to_vec(),
            content_bytes: 1,
        };
        let batch = [message(1, "a", "x"), message(1, "b", "x")];
        let plan = plan(&batch, &[head(1, ConversationStatus::Ended, 4)], vec![known]);
        assert_eq!(sequences(&plan), [Ok(4), Err(ErrorReason::ConversationEnded)]);
        assert!(plan.additions.is_empty() && plan.heads.is_empty());
    }

    proptest! {
        /// Whatever comes, in whatever batches, a conversation is 1..=n without a hole, and a key
        /// has one place.
        #[test]
        fn there_is_never_a_hole(batches in prop::collection::vec(prop::collection::vec((0..3u128, 0..12u8), 1..20), 1..10)) {
            let mut stored: Vec<Known> = Vec::new();
            for batch in batches {
                let messages: Vec<_> =
                    batch.iter().map(|(conversation, key)| message(*conversation, &key.to_string(), "x")).collect();
                let heads: Vec<_> = (0..3)
                    .map(|id| {
                        let count = stored.iter().filter(|known| known.conversation_id == Uuid::from_u128(id)).count();
                        head(id, ConversationStatus::Open, i64::try_from(count).expect("a small count"))
                    })
                    .collect();
                let plan = plan(&messages, &heads, stored.clone());
                for (message, sequence) in plan.additions {
                    stored.push(Known {
                        conversation_id: message.conversation_id,
                        message_key: message.message_key.clone(),
                        id: message.id,
                        sequence,
                        fingerprint: message.fingerprint.clone(),
                        content_bytes: 1,
                    });
                }
            }
            for id in 0..3 {
                let mut found: Vec<_> = stored
                    .iter()
                    .filter(|known| known.conversation_id == Uuid::from_u128(id))
                    .map(|known| (known.sequence, known.message_key.clone()))
                    .collect();
                found.sort();
                let expected: Vec<_> = (1..).take(found.len()).collect();
                let sequences: Vec<i64> = found.iter().map(|(sequence, _)| *sequence).collect();
                prop_assert_eq!(sequences, expected);
                let keys: std::collections::BTreeSet<_> = found.iter().map(|(_, key)| key).collect();
                prop_assert_eq!(keys.len(), found.len());
            }
        }
    }
}
