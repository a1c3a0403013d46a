//! One `AddMessage` stream, without its I/O: the writes that its requests ask for, when text is stored, and the
//! order of the answers.
//!
//! Every request has a slot, or shares one with the other pieces of a text that are stored together. Slots are
//! answered in their order, once they are decided. The number of unanswered requests is limited. At the limit
//! nothing is read, and HTTP/2 holds the client back.

mod text;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use prost::Message as _;
use uuid::Uuid;

use super::rules::{self, Change, Effect, Outcome, Write};
use super::wire;
use crate::contract::validate::{Violation, validate};
use crate::conversations::feed::{Mark, Text as Shown};
use crate::error::{Error, Result};
use crate::pb::add_message_request::Command;
use crate::pb::{self, AddMessageRequest, AddMessageResponse, ErrorReason, MessageStatus};
use crate::rpc;
use text::{Buffer, Held, Text};

/// The limit of requests of one stream that were read and not answered: enough to keep a batch full while the
/// one before commits.
pub(crate) const WINDOW: usize = 256;

/// The limit of bytes of those requests: some messages of full size, or a whole window of ordinary ones.
const WINDOW_BYTES: usize = 4 << 20;

/// The limit of messages that a stream tracks. The text of messages beyond it is shown to watchers only when it
/// is stored.
const OPEN_MESSAGES: usize = 1_000;

/// A step that a stream asks for.
#[derive(Debug)]
pub(crate) enum Step {
    /// Commit a write, and settle the ticket with its outcome.
    Write(u64, Write),
    /// Show text of a message to the watchers of its conversation.
    Show(Uuid, Shown),
    /// Tell the watchers that text shown beyond a point may not be stored.
    Lose(Uuid, Mark),
}

/// The state of a stream.
#[derive(Debug)]
pub(crate) struct Session {
    /// The id under which the stream holds messages, unless they restarted.
    holder: Uuid,
    /// The conversation of the latest request that named one.
    conversation_id: String,
    texts: HashMap<Key, Text>,
    slots: VecDeque<Slot>,
    /// The ticket of the first slot, and of the next one to open.
    first: u64,
    next: u64,
    /// The number of requests that are not answered, and their bytes.
    requests: usize,
    bytes: usize,
    /// The earliest time at which a text may be due.
    due: Option<Instant>,
}

/// A message of a conversation, by its key.
type Key = (Uuid, String);

/// How large a request is, and when it arrived.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    bytes: usize,
    at: Instant,
}

/// How much of the window requests take.
#[derive(Debug, Clone, Copy)]
struct Load {
    requests: usize,
    bytes: usize,
}

/// Requests that are answered together.
#[derive(Debug)]
struct Slot {
    requests: usize,
    bytes: usize,
    key: Option<Key>,
    kind: Kind,
    answer: Option<AddMessageResponse>,
}

/// The subject of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    /// Text. The number says how often the client had gone back to an earlier point of it.
    Extend(u32),
    Close,
    Other,
}

impl Session {
    /// Creates the session of a stream that holds messages under this id.
    pub(crate) fn new(holder: Uuid) -> Self {
        Self {
            holder,
            conversation_id: String::new(),
            texts: HashMap::new(),
            slots: VecDeque::new(),
            first: 0,
            next: 0,
            requests: 0,
            bytes: 0,
            due: None,
        }
    }

    /// Returns whether another request may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.requests < WINDOW && self.bytes < WINDOW_BYTES
    }

    /// Returns the bytes of the requests that are not answered.
    pub(crate) fn unanswered_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether all requests that were read are answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.requests == 0 && self.slots.is_empty()
    }

    /// Takes in a request.
    pub(crate) fn accept(&mut self, request: AddMessageRequest, now: Instant, steps: &mut Vec<Step>) {
        let mut request = request;
        let bytes = request.encoded_len();
        if request.conversation_id.is_empty() {
            request.conversation_id.clone_from(&self.conversation_id);
        } else {
            self.conversation_id.clone_from(&request.conversation_id);
        }
        self.requests += 1;
        self.bytes += bytes;
        let key = key_of(&request);
        match checked(request) {
            Ok((conversation_id, action)) => {
                self.act(conversation_id, action, Arrival { bytes, at: now }, steps)
            }
            Err(refusal) => {
                let answer = wire::error(self.conversation_id.clone(), key, refusal);
                self.open(Slot { requests: 1, bytes, key: None, kind: Kind::Other, answer: Some(answer) });
            }
        }
    }

    /// Adds an answer that no request asked for.
    pub(crate) fn say(&mut self, answer: AddMessageResponse) {
        self.open(Slot { requests: 0, bytes: 0, key: None, kind: Kind::Other, answer: Some(answer) });
    }

    /// Takes in the outcome of a write.
    pub(crate) fn settle(&mut self, ticket: u64, outcome: Outcome, steps: &mut Vec<Step>) {
        let index = ticket.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) else { return };
        let Some(key) = slot.key.take() else { return };
        let kind = slot.kind;
        match kind {
            Kind::Start => self.started(&key, &outcome, steps),
            Kind::Extend(rewinds) => self.extended(&key, &outcome, rewinds, steps),
            Kind::Close => self.closed(&key, &outcome),
            Kind::Other => {}
        }
        let answer = match outcome {
            Ok(placed) => wire::ack(placed),
            Err(error) => wire::error(key.0.to_string(), key.1, error),
        };
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.answer = Some(answer);
        }
    }

    /// Returns the next answer; `None` if it is not decided.
    pub(crate) fn answer(&mut self) -> Option<AddMessageResponse> {
        let answer = self.slots.front_mut()?.answer.take()?;
        if let Some(Slot { requests, bytes, .. }) = self.slots.pop_front() {
            self.first += 1;
            self.requests -= requests;
            self.bytes -= bytes;
        }
        Some(answer)
    }

    /// Returns whether there is an answer to send.
    pub(crate) fn has_answer(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.answer.is_some())
    }

    /// Returns when text must be stored, if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Stores the text that is due.
    pub(crate) fn flush_due(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let due = |text: &Text| text.buffer.due().is_some_and(|due| due <= now);
        let keys: Vec<Key> =
            self.texts.iter().filter(|(_, text)| due(text)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.flush(&key, steps);
        }
        self.due = self.texts.values().filter_map(|text| text.buffer.due()).min();
    }

    /// Stores all text.
    pub(crate) fn flush_all(&mut self, steps: &mut Vec<Step>) {
        let keys: Vec<Key> = self.texts.keys().cloned().collect();
        for key in keys {
            self.flush(&key, steps);
        }
        self.due = None;
    }

    fn act(&mut self, conversation_id: Uuid, action: Command, arrival: Arrival, steps: &mut Vec<Step>) {
        let load = Load { requests: 1, bytes: arrival.bytes };
        match action {
            Command::Message(message) => {
                self.write(wire::add(conversation_id, message), Kind::Other, load, steps);
            }
            Command::Start(start) => {
                let key = (conversation_id, start.message_key.clone());
                self.forget_some();
                self.flush(&key, steps);
                let text = self.text(key);
                text.starts += 1;
                // The text that follows goes on from the start, independent of the outcome of the text before it.
                text.rewinds += 1;
                text.end = None;
                if start.restart {
                    text.holder = Uuid::new_v4();
                    // The text that follows is shown once it is known that the text before it is gone.
                    text.message = None;
                    text.durable = 0;
                }
                let write = wire::start(conversation_id, start, text.holder);
                self.write(write, Kind::Start, load, steps);
            }
            Command::Delta(delta) => self.take(conversation_id, delta, arrival, steps),
            Command::Finish(finish) => {
                let holder = self.holder_of(conversation_id, &finish.message_key);
                self.close(wire::finish(conversation_id, finish, holder), load, steps);
            }
            Command::Abort(pb::MessageAbort { message_key }) => {
                let change = Change::Abort { holder: self.holder_of(conversation_id, &message_key) };
                self.close(Write { conversation_id, message_key, change }, load, steps);
            }
        }
    }

    fn text(&mut self, key: Key) -> &mut Text {
        let holder = self.holder;
        self.texts.entry(key).or_insert_with(|| Text::new(holder))
    }

    fn holder_of(&self, conversation_id: Uuid, message_key: &str) -> Uuid {
        let text = self.texts.get(&(conversation_id, message_key.to_owned()));
        text.map_or(self.holder, |text| text.holder)
    }

    fn close(&mut self, write: Write, load: Load, steps: &mut Vec<Step>) {
        self.flush(&(write.conversation_id, write.message_key.clone()), steps);
        self.write(write, Kind::Close, load, steps);
    }

    /// Takes in a piece of text.
    fn take(
        &mut self,
        conversation_id: Uuid,
        delta: pb::MessageDelta,
        Arrival { bytes, at }: Arrival,
        steps: &mut Vec<Step>,
    ) {
        let pb::MessageDelta { message_key, offset, text: piece } = delta;
        let (key, offset) = ((conversation_id, message_key), i64::from(offset));
        if !self.texts.contains_key(&key) {
            self.forget_some();
        }
        let text = self.text(key.clone());
        let end = text.end();
        if let Some(end) = end.filter(|end| *end < offset) {
            let answer = wire::error(conversation_id.to_string(), key.1, rules::beyond("delta.offset", end));
            self.open(Slot { requests: 1, bytes, key: None, kind: Kind::Other, answer: Some(answer) });
            return;
        }
        // Text that is sent again and is not in the buffer is compared by the planner with the stored text.
        if text.buffer.deltas == 0 || !text.buffer.join(offset, &piece) {
            self.flush(&key, steps);
            let again = end.is_some_and(|end| offset < end);
            let buffer = Buffer { offset, text: piece, again, ..Buffer::default() };
            self.text(key.clone()).buffer = buffer;
        }
        let text = self.text(key.clone());
        text.end = Some(end.unwrap_or(offset).max(text.buffer.end()));
        let buffer = &mut text.buffer;
        buffer.deltas += 1;
        buffer.bytes += bytes;
        buffer.since = Some((buffer.since.map_or(at, |(first, _)| first), at));
        let due = buffer.due();
        steps.extend(text.show().map(|shown| Step::Show(conversation_id, shown)));
        if text.starts == 0 && text.buffer.is_full() {
            self.flush(&key, steps);
        } else {
            self.due = self.due.into_iter().chain(due).min();
        }
    }

    /// Stores the buffered part of a text.
    fn flush(&mut self, key: &Key, steps: &mut Vec<Step>) {
        let Some(text) = self.texts.get_mut(key) else { return };
        if text.buffer.deltas == 0 {
            return;
        }
        let Buffer { offset, text: piece, deltas, bytes, since: _, again: _ } =
            std::mem::take(&mut text.buffer);
        let (holder, rewinds) = (text.holder, text.rewinds);
        let (conversation_id, message_key) = key.clone();
        let change = Change::Extend { holder, offset, text: piece };
        let write = Write { conversation_id, message_key, change };
        self.write(write, Kind::Extend(rewinds), Load { requests: deltas, bytes }, steps);
    }

    fn started(&mut self, key: &Key, outcome: &Outcome, steps: &mut Vec<Step>) {
        let Some(text) = self.texts.get_mut(key) else { return };
        text.starts = text.starts.saturating_sub(1);
        match outcome {
            Ok(placed) if placed.status == MessageStatus::InProgress => {
                // A repeated start changes nothing for watchers that have seen text that is not stored yet.
                text.see(placed, text.shown.filter(|_| placed.effect == Effect::None));
                text.message = Some(Held::of(placed));
                text.durable = placed.durable_offset;
                text.end = text.end.or(Some(placed.durable_offset));
                text.buffer.again |= text.buffer.offset < placed.durable_offset;
                steps.extend(text.show().map(|shown| Step::Show(key.0, shown)));
            }
            _ => text.message = None,
        }
        if text.starts == 0 && text.buffer.is_full() {
            self.flush(key, steps);
        }
    }

    fn extended(&mut self, key: &Key, outcome: &Outcome, rewinds: u32, steps: &mut Vec<Step>) {
        let Some(text) = self.texts.get_mut(key) else { return };
        let current = text.rewinds == rewinds;
        let error = match outcome {
            Ok(placed) => {
                if text.starts == 0 {
                    text.durable = text.durable.max(placed.durable_offset);
                }
                if current {
                    // Watchers were told how much is stored, and read the text that they were not shown.
                    text.see(placed, text.shown);
                    steps.extend(text.show().map(|shown| Step::Show(key.0, shown)));
                }
                return;
            }
            Err(error) => error,
        };
        // Even if a start is not decided: watchers have seen the text.
        let lost = match text.shown {
            Some(seen) => Some((seen.message, seen.holder)).filter(|_| seen.end > text.durable),
            None => text.message.map(|message| (message, text.holder)),
        };
        if let Some((Held { id: _, sequence, since }, holder)) = lost {
            let mark = Mark { sequence, offset: text.durable, since: Some(since), holder: Some(holder) };
            steps.push(Step::Lose(key.0, mark));
        }
        text.shown = None;
        if !current {
            return;
        }
        // The text after it cannot be stored either, and gets an error as its answer.
        self.flush(key, steps);
        if let Some(text) = self.texts.get_mut(key) {
            text.rewinds += 1;
            text.end = match error {
                Error::Offset { expected, .. } => Some(*expected),
                _ => None,
            };
            if matches!(error.reason(), ErrorReason::MessageNotStarted | ErrorReason::TextDiffers) {
                text.message = None;
            }
        }
    }

    fn closed(&mut self, key: &Key, outcome: &Outcome) {
        if outcome.is_err() {
            return;
        }
        // Text after the end must still be answered, and the outcome of a start after it is still expected.
        match self.texts.get_mut(key) {
            Some(text) if text.buffer.deltas > 0 || text.starts > 0 => {
                text.message = None;
                // Watchers are told the text as it was closed, and drop what they saw beyond it.
                text.shown = None;
            }
            _ => drop(self.texts.remove(key)),
        }
    }

    /// Opens a slot for a write.
    fn write(&mut self, write: Write, kind: Kind, load: Load, steps: &mut Vec<Step>) {
        let Load { requests, bytes } = load;
        let key = Some((write.conversation_id, write.message_key.clone()));
        let ticket = self.open(Slot { requests, bytes, key, kind, answer: None });
        steps.push(Step::Write(ticket, write));
    }

    fn open(&mut self, slot: Slot) -> u64 {
        let ticket = self.next;
        self.slots.push_back(slot);
        self.next += 1;
        ticket
    }

    /// Makes room for one more message.
    fn forget_some(&mut self) {
        if self.texts.len() >= OPEN_MESSAGES {
            // A message that restarted and is forgotten here must be started again.
            self.texts.retain(|_, text| text.buffer.deltas > 0 || text.starts > 0);
        }
    }
}

fn key_of(request: &AddMessageRequest) -> String {
    match &request.command {
        Some(Command::Message(message)) => message.message_key.clone(),
        Some(Command::Start(start)) => start.message_key.clone(),
        Some(Command::Delta(delta)) => delta.message_key.clone(),
        Some(Command::Finish(finish)) => finish.message_key.clone(),
        Some(Command::Abort(abort)) => abort.message_key.clone(),
        None => String::new(),
    }
}

/// Returns the conversation and the action of a request that obeys the rules of the contract, and two rules
/// that apply only here.
fn checked(request: AddMessageRequest) -> Result<(Uuid, Command)> {
    let mut violations = validate(&request).err().unwrap_or_default();
    let mut require = |field: &str, description: &str| {
        violations.push(Violation {
            field: field.to_owned(),
            rule: "required",
            description: description.to_owned(),
        });
    };
    if request.conversation_id.is_empty() {
        require("conversation_id", "must be set in the first request of a stream");
    }
    if let Some(Command::Message(message)) = &request.command
        && message.message_key.is_empty()
    {
        require("message.message_key", "must be set, so that a resend adds nothing");
    }
    match request.command {
        Some(action) if violations.is_empty() => {
            Ok((rpc::id("conversation_id", &request.conversation_id)?, action))
        }
        _ => Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations }),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
