//! A stream driven by bytes: what a client sends, in any order and with any offsets, and when the server
//! commits, answers and waits. Every request must be answered once, and acked text must be stored.
#![expect(clippy::panic, reason = "a broken promise is what is looked for")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::text::FLUSH_BYTES;
use super::*;
use crate::conversations::messages::model::Tables;
use crate::conversations::messages::rules::length;
use crate::numbers;
use crate::pb::add_message_response::Result as Answer;
use crate::pb::{Message, MessageAbort, MessageDelta, MessageFinish, MessageStart};

/// The conversations that exist. The client names others too.
const TALKS: [u128; 2] = [1, 2];

/// The texts of deltas: characters of every length. Some deltas repeat one until it fills a buffer.
const TEXTS: [&str; 6] = ["a", "ß", "€uro", "👋", "Hello, world", "\0"];

/// The time that a message stays in progress.
const LEASE: Duration = Duration::from_secs(120);

/// The rest of an input. When it is used up, it reads as zeros.
struct Bytes<'i>(&'i [u8]);

impl<'i> Bytes<'i> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> i32 {
        i32::from_be_bytes([(); 4].map(|()| self.byte()))
    }

    fn take(&mut self, length: usize) -> &'i [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> String {
        (self.byte() % 4).to_string()
    }

    fn conversation(&mut self) -> String {
        match self.byte() % 8 {
            0..4 => String::new(),
            id => Uuid::from_u128(u128::from(id % 4)).to_string(),
        }
    }
}

/// A stream, its writes, and the tables that they change.
struct World {
    session: Session,
    tables: Tables,
    /// The writes that are submitted.
    lane: VecDeque<(u64, Write)>,
    /// The outcomes that the session does not know yet.
    outcomes: VecDeque<(u64, Outcome)>,
    /// The ends of texts, as the client believes them.
    ends: BTreeMap<String, i32>,
    accepted: usize,
    answers: usize,
    now: Instant,
}

/// Runs a stream to its end.
pub(crate) fn run(input: &[u8]) {
    let mut tables = Tables::new(LEASE);
    TALKS.into_iter().for_each(|talk| tables.open(talk));
    let mut world = World {
        session: Session::new(Uuid::from_u128(7)),
        tables,
        lane: VecDeque::new(),
        outcomes: VecDeque::new(),
        ends: BTreeMap::new(),
        accepted: 0,
        answers: 0,
        now: Instant::now(),
    };
    let mut input = Bytes(input);
    while !input.0.is_empty() {
        world.step(&mut input);
        assert!(world.session.requests <= WINDOW, "more is read than may be");
    }
    world.end();
}

impl World {
    fn step(&mut self, input: &mut Bytes<'_>) {
        match input.byte() % 16 {
            0..9 => {
                let request = self.request(input);
                self.send(request);
            }
            9 => {
                let length = input.byte();
                // The bytes of a client that follows no rule.
                if let Ok(request) = AddMessageRequest::decode(input.take(length.into())) {
                    self.send(request);
                }
            }
            10 => self.commit(input.byte().into()),
            11 => self.fail(input.byte().into(), input.byte().is_multiple_of(2)),
            12 => self.settle(input.byte().into()),
            13 => self.read(input.byte().into()),
            14 => {
                let milliseconds = u64::from(input.byte());
                self.now += Duration::from_millis(milliseconds);
                self.tables.clock += i64::from(input.byte()) * 1_000;
                let mut steps = Vec::new();
                self.session.flush_due(self.now, &mut steps);
                self.take(steps);
            }
            _ => {
                let mut steps = Vec::new();
                self.session.flush_all(&mut steps);
                self.take(steps);
            }
        }
    }

    fn request(&mut self, input: &mut Bytes<'_>) -> AddMessageRequest {
        let conversation_id = input.conversation();
        let message_key = input.key();
        let action = match input.byte() % 16 {
            0..3 => Command::Start(MessageStart {
                message_key,
                role: i32::from(input.byte() % 7),
                producer_id: (input.byte() % 3).to_string(),
                restart: input.byte().is_multiple_of(8),
                ..Default::default()
            }),
            3..11 => self.delta(message_key, input),
            11 | 12 => {
                let length = match input.byte() % 4 {
                    0 => input.number(),
                    _ => self.ends.get(&message_key).copied().unwrap_or_default(),
                };
                Command::Finish(MessageFinish { message_key, length, ..Default::default() })
            }
            13 => Command::Abort(MessageAbort { message_key }),
            _ => Command::Message(Message {
                message_key,
                role: i32::from(input.byte() % 7),
                content: String::from_utf8_lossy(input.take(8)).into_owned(),
                ..Default::default()
            }),
        };
        AddMessageRequest { conversation_id, command: Some(action) }
    }

    /// Returns a piece at the end of the text, near it, or anywhere.
    fn delta(&mut self, message_key: String, input: &mut Bytes<'_>) -> Command {
        let end = self.ends.entry(message_key.clone()).or_default();
        let offset = match input.byte() % 8 {
            0 => input.number(),
            1 => end.saturating_add(i32::from(input.byte())).saturating_sub(128),
            _ => *end,
        };
        let kind = usize::from(input.byte());
        let mut text = TEXTS.get(kind % TEXTS.len()).copied().unwrap_or_default().to_owned();
        if kind >= 240 {
            text = text.repeat(FLUSH_BYTES);
        }
        *end = offset.saturating_add(numbers::int32(length(&text)));
        Command::Delta(MessageDelta { message_key, offset, text })
    }

    fn send(&mut self, request: AddMessageRequest) {
        if !self.session.has_room() {
            return;
        }
        self.accepted += 1;
        let mut steps = Vec::new();
        self.session.accept(request, self.now, &mut steps);
        self.take(steps);
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Write(ticket, write) => self.lane.push_back((ticket, write)),
                Step::Lose(_, mark) => assert!(mark.offset >= 0),
                Step::Show(_, shown) => {
                    let row = self.tables.messages.values().find(|row| row.id == shown.message_id);
                    assert!(row.is_some_and(|row| row.sequence == shown.sequence), "shown of no message");
                    assert!(shown.offset >= 0 && !shown.text.is_empty());
                }
            }
        }
    }

    fn commit(&mut self, writes: usize) {
        let batch: Vec<_> = self.lane.drain(..writes.min(self.lane.len())).collect();
        let writes: Vec<Write> = batch.iter().map(|(_, write)| write.clone()).collect();
        let outcomes = self.tables.commit_all(&writes);
        self.outcomes.extend(batch.into_iter().map(|(ticket, _)| ticket).zip(outcomes));
    }

    /// The database does not answer. It has applied the writes or not.
    fn fail(&mut self, writes: usize, happened: bool) {
        let batch: Vec<_> = self.lane.drain(..writes.min(self.lane.len())).collect();
        if happened {
            let writes: Vec<Write> = batch.iter().map(|(_, write)| write.clone()).collect();
            self.tables.commit_all(&writes);
        }
        let unknown = || Err(Error::database_unavailable("nobody knows"));
        self.outcomes.extend(batch.into_iter().map(|(ticket, _)| (ticket, unknown())));
    }

    fn settle(&mut self, outcomes: usize) {
        for _ in 0..outcomes {
            let Some((ticket, outcome)) = self.outcomes.pop_front() else { return };
            let mut steps = Vec::new();
            self.session.settle(ticket, outcome, &mut steps);
            self.take(steps);
        }
    }

    fn read(&mut self, answers: usize) {
        for _ in 0..answers {
            let requests = self.session.slots.front().map(|slot| slot.requests);
            let Some(answer) = self.session.answer() else { return };
            self.answers += requests.unwrap_or_default();
            match answer.result {
                Some(Answer::Ack(ack)) => {
                    let mut rows = self.tables.messages.values();
                    let row = rows.find(|row| row.id.to_string() == ack.message_id);
                    let stored = row.is_some_and(|row| i64::from(ack.durable_offset) <= length(&row.text()));
                    assert!(stored, "acked before it is committed");
                }
                Some(Answer::Error(error)) => assert!(error.status.is_some()),
                other => panic!("neither ack nor error: {other:?}"),
            }
        }
    }

    /// The client has sent all, and the server handles all of it.
    fn end(&mut self) {
        while !self.session.is_settled() {
            let before = (self.answers, self.lane.len(), self.outcomes.len());
            let mut steps = Vec::new();
            self.session.flush_all(&mut steps);
            let asked = !steps.is_empty();
            self.take(steps);
            self.commit(usize::MAX);
            self.settle(usize::MAX);
            self.read(usize::MAX);
            let after = (self.answers, self.lane.len(), self.outcomes.len());
            assert!(asked || before != after, "it does not come to an end");
        }
        assert_eq!(self.answers, self.accepted, "every request is answered once");
    }
}
