//! A model of the tables of messages, for tests. A plan is applied to it as the statements apply it to
//! Postgres.
#![expect(clippy::expect_used, reason = "tests say what they expect by failing")]

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::rules::{self, BatchState, Compared, Outcome, Plan, Repeat, Said, Span, Stored, Write};
use super::store::{Action, StoredMessage};
use crate::conversations::store::Head;
use crate::db::words::Text;
use crate::pb::{ConversationStatus, MessageRole, MessageStatus};

/// Conversations and their messages.
#[derive(Debug)]
pub(super) struct Tables {
    lease: Duration,
    /// The clock of the database in milliseconds.
    pub(super) clock: i64,
    pub(super) heads: BTreeMap<Uuid, Head>,
    pub(super) messages: BTreeMap<(Uuid, String), Row>,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) sequence: i64,
    role: Text<MessageRole>,
    fingerprint: Vec<u8>,
    pub(super) status: MessageStatus,
    content: String,
    actions: Vec<Action>,
    pieces: BTreeMap<i64, String>,
    draft: Option<Draft>,
    pub(super) change: Option<i64>,
}

/// The draft of a message in progress: its producer and its stream.
#[derive(Debug, Clone)]
struct Draft {
    producer_id: String,
    holder: Uuid,
    /// The time of the last write to the message.
    touched: i64,
}

impl Row {
    /// Returns the text so far.
    pub(super) fn text(&self) -> String {
        self.pieces.values().fold(self.content.clone(), |text, piece| text + piece)
    }
}

impl Tables {
    /// Creates empty tables.
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, clock: 0, heads: BTreeMap::new(), messages: BTreeMap::new() }
    }

    /// Adds a conversation.
    pub(super) fn open(&mut self, id: u128) {
        let id = Uuid::from_u128(id);
        let status = Text(ConversationStatus::Open);
        self.heads.insert(id, Head { id, status, last_sequence: 0, change_count: 0 });
    }

    /// Ends a conversation.
    #[cfg(test)]
    pub(super) fn end(&mut self, id: u128) {
        let head = self.heads.get_mut(&Uuid::from_u128(id)).expect("the conversation");
        head.status = Text(ConversationStatus::Ended);
    }

    /// Returns a message by its key.
    #[cfg(test)]
    pub(super) fn row(&self, conversation_id: u128, key: &str) -> &Row {
        &self.messages[&(Uuid::from_u128(conversation_id), key.to_owned())]
    }

    /// Applies writes in one transaction. Writes without an outcome must come again.
    pub(super) fn commit(&mut self, writes: &[Write]) -> Vec<Option<Outcome>> {
        let heads: Vec<Head> = self.heads.values().copied().collect();
        let known: Vec<StoredMessage> = self.messages.iter().map(|(key, row)| self.known(key, row)).collect();
        let all: Vec<&Write> = writes.iter().collect();
        let texts = rules::said_again(&all, &known).into_iter().map(|span| self.recall(span)).collect();
        let repeats = rules::repeats(&all, &known);
        let compared = repeats.iter().map(|repeat| self.compare(repeat)).collect();
        let found = BatchState { heads, known, texts, compared, held: Vec::new() };
        let plan = rules::plan(writes, found, self.lease);
        self.apply(&plan);
        self.check();
        plan.outcomes
    }

    /// Applies writes as the lanes do: writes that were put off come again until they have an outcome.
    pub(super) fn commit_all(&mut self, writes: &[Write]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = writes.iter().map(|_| None).collect();
        while outcomes.iter().any(Option::is_none) {
            let left: Vec<usize> = (0..writes.len()).filter(|index| outcomes[*index].is_none()).collect();
            let again: Vec<Write> = left.iter().map(|index| writes[*index].clone()).collect();
            let decided = self.commit(&again);
            assert!(decided.iter().any(Option::is_some), "nothing was decided");
            for (index, outcome) in left.into_iter().zip(decided) {
                outcomes[index] = outcome;
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    fn known(&self, (conversation_id, message_key): &(Uuid, String), row: &Row) -> StoredMessage {
        StoredMessage {
            conversation_id: *conversation_id,
            message_key: message_key.clone(),
            id: row.id,
            sequence: row.sequence,
            fingerprint: row.fingerprint.clone(),
            status: Text(row.status),
            durable_offset: length(&row.text()),
            since: row.change.unwrap_or(0),
            producer_id: row.draft.as_ref().map(|draft| draft.producer_id.clone()),
            holder: row.draft.as_ref().map(|draft| draft.holder),
            idle_ms: row.draft.as_ref().map(|draft| self.clock - draft.touched),
        }
    }

    /// Returns what `store::spans` would read.
    fn recall(&self, Span { message_id, offset, length }: Span) -> Stored {
        let row = self.messages.values().find(|row| row.id == message_id).expect("a message with this id");
        let place = |bytes: i64| usize::try_from(bytes).expect("within the text");
        let text = row.text().as_bytes()[place(offset)..place(offset + length)].to_vec();
        Stored { message_id, offset, text }
    }

    /// Returns what `store::repeats` would find. The model has some of the fields only.
    fn compare(&self, Repeat { place, message_id, said }: &Repeat<'_>) -> Compared {
        let row = self.messages.values().find(|row| row.id == *message_id).expect("a message with this id");
        let differs = match said {
            Said::Message(message) => vec![
                ("actions", row.actions != message.actions.0),
                ("content", row.text() != message.content),
                ("role", row.role != message.role),
            ],
            Said::Start(message) => vec![("role", row.role != message.role)],
            Said::Finish { ai: _, actions } => vec![("actions", row.actions != actions.0)],
        };
        let differing = differs.into_iter().filter(|(_, differs)| *differs);
        Compared { place: *place, differing: differing.map(|(field, _)| field.to_owned()).collect() }
    }

    fn by_id(&mut self, id: Uuid) -> &mut Row {
        self.messages.values_mut().find(|row| row.id == id).expect("a message with this id")
    }

    /// Does what [`super::actions::apply`] does, in its order. Panics where Postgres would refuse.
    fn apply(&mut self, plan: &Plan<'_>) {
        let Plan { outcomes: _, additions, reopenings, holds, pieces, closings, heads } = plan;
        let touched = self.clock;
        for addition in additions {
            let message = addition.message;
            let row = Row {
                id: message.id,
                sequence: addition.sequence,
                role: message.role,
                fingerprint: message.fingerprint.clone(),
                status: addition.status.0,
                content: message.content.clone(),
                actions: message.actions.0.clone(),
                pieces: BTreeMap::new(),
                draft: None,
                change: None,
            };
            let key = (message.conversation_id, message.message_key.clone());
            assert!(self.messages.insert(key, row).is_none(), "a key has two places");
        }
        for reopening in reopenings {
            let row = self.by_id(reopening.message_id);
            row.status = MessageStatus::InProgress;
            row.change = Some(reopening.change);
            if reopening.emptied {
                row.content.clear();
                row.pieces.clear();
            }
        }
        for hold in holds {
            let producer_id = hold.producer_id.clone().into_owned();
            self.by_id(hold.message_id).draft = Some(Draft { producer_id, holder: hold.holder, touched });
        }
        for piece in pieces {
            let row = self.by_id(piece.message_id);
            row.draft.as_mut().expect("pieces belong to a draft").touched = touched;
            assert!(!piece.text.is_empty(), "a piece has text");
            assert_eq!(piece.offset, length(&row.text()), "a piece begins where the text ends");
            assert!(row.pieces.insert(piece.offset, piece.text.to_owned()).is_none());
        }
        for closing in closings {
            let row = self.by_id(closing.message_id);
            row.content = row.text();
            row.pieces.clear();
            row.draft = None;
            row.status = closing.status.0;
            if !closing.content.actions.is_empty() {
                row.actions = closing.content.actions.to_vec();
            }
            row.change = Some(closing.change);
            assert!(length(&row.content) <= rules::MAX_CONTENT_BYTES, "a message is within its bounds");
        }
        for head in heads {
            self.heads.insert(head.id, *head);
        }
    }

    /// Checks what must hold after every transaction.
    fn check(&self) {
        for head in self.heads.values() {
            let rows = || self.messages.iter().filter(|((id, _), _)| *id == head.id).map(|(_, row)| row);
            let mut sequences: Vec<i64> = rows().map(|row| row.sequence).collect();
            sequences.sort_unstable();
            assert!(sequences.iter().copied().eq(1..=head.last_sequence), "a hole: {sequences:?}");
            let mut changes: Vec<i64> = rows().filter_map(|row| row.change).collect();
            changes.sort_unstable();
            assert!(changes.windows(2).all(|two| two[0] < two[1]), "two changes have one number");
            assert!(changes.last().is_none_or(|last| *last <= head.change_count), "a change is not counted");
            for row in rows() {
                let open = row.status == MessageStatus::InProgress;
                assert_eq!(open, row.draft.is_some(), "a message is in progress when somebody writes it");
            }
        }
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).expect("a short text")
}
