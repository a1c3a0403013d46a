//! Decides the outcomes of writes to messages: which are placed, which are repeats, which are refused.

pub(crate) mod few;
mod parts;
mod refusals;
mod repeats;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

pub(crate) use parts::{Span, Stored, said_again};
pub(crate) use refusals::{beyond, closed, differs, has_another, held, taken_over};
pub(crate) use repeats::{Compared, Repeat, Said, repeats};

use parts::Parts;
use refusals::{finished_otherwise, full, given_up, not_started};

use super::store::{Action, Ai, NewMessage, StoredMessage};
use crate::conversations::rules::{ended, is_over, not_found};
use crate::conversations::store::Head;
use crate::db::json::Json;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::numbers;
use crate::pb::MessageStatus;

/// The limit of the bytes of a message's text, as in the contract.
pub(crate) const MAX_CONTENT_BYTES: i64 = 262_144;

/// The limit of messages of a conversation: the contract counts them in 32 bits.
const MAX_SEQUENCE: i64 = 2_147_483_647;

/// The holder of a message that no stream may write before it is started again.
const NOBODY: Uuid = Uuid::nil();

/// One change to one message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) change: Change,
}

/// A change to a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Add it as a whole.
    Add(Box<NewMessage>),
    /// Open it for this stream of a producer, or go on with it. With `restart`, without the text so far.
    Start { message: Box<NewMessage>, producer_id: String, holder: Uuid, restart: bool },
    /// Append the text after its first `offset` bytes.
    Extend { holder: Uuid, offset: i64, text: String },
    /// Close it as complete, with `length` bytes of text.
    Finish { holder: Uuid, length: i64, ai: Option<Json<Ai>>, actions: Json<Vec<Action>> },
    /// Give it up.
    Abort { holder: Uuid },
    /// Give it up, if its lease has run out.
    Expire,
}

/// A message that has its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    /// Its status after the write.
    pub(crate) status: MessageStatus,
    /// The length of its text in bytes.
    pub(crate) durable_offset: i64,
    /// The number of the last change to it; 0 if it is as it was added.
    pub(crate) since: i64,
    /// Whether the result of the write was stored before: a message that exists, text that is the same, or an
    /// end.
    pub(crate) deduplicated: bool,
    /// What the write did to it.
    pub(crate) effect: Effect,
}

/// The effect of a write on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// It was added, whole or in progress.
    Added,
    /// Another stream goes on with it.
    Held,
    /// It is in progress again, since this change of the conversation.
    Reopened { change: i64 },
    /// It is in progress without the text that it had, since this change of the conversation.
    Restarted { change: i64 },
    /// Its text grew.
    Extended,
    /// It was closed, by this change of the conversation.
    Closed { change: i64 },
}

/// The outcome of a write.
pub(crate) type Outcome = Result<Placed>;

/// What to do for a batch of writes. The fields are in the order in which they must be done.
#[derive(Debug, Default)]
pub(crate) struct Plan<'w> {
    /// The outcomes of the writes, in their order. A write without an outcome needs the effects of other writes
    /// of the batch first, and comes again.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The messages to add.
    pub(crate) additions: Vec<Addition<'w>>,
    /// The messages that are in progress again, or restarted.
    pub(crate) reopenings: Vec<Reopening>,
    /// The streams that hold messages from now on.
    pub(crate) holds: Vec<Hold<'w>>,
    /// The text to append.
    pub(crate) pieces: Vec<Piece<'w>>,
    /// The messages to close.
    pub(crate) closings: Vec<Closing<'w>>,
    /// The state of the conversations after the batch, in the order of their ids.
    pub(crate) heads: Vec<Head>,
}

/// A message and its place.
#[derive(Debug)]
pub(crate) struct Addition<'w> {
    pub(crate) message: &'w NewMessage,
    pub(crate) sequence: i64,
    pub(crate) status: Text<MessageStatus>,
}

/// An incomplete message that goes on, or a message that restarts.
#[derive(Debug)]
pub(crate) struct Reopening {
    pub(crate) message_id: Uuid,
    pub(crate) change: i64,
    /// Whether the text so far is dropped.
    pub(crate) emptied: bool,
}

/// The stream and the producer that write a message.
#[derive(Debug)]
pub(crate) struct Hold<'w> {
    pub(crate) message_id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) producer_id: Cow<'w, str>,
    pub(crate) holder: Uuid,
}

/// Text for a message in progress.
#[derive(Debug)]
pub(crate) struct Piece<'w> {
    pub(crate) message_id: Uuid,
    pub(crate) offset: i64,
    pub(crate) text: &'w str,
}

/// The end of a message in progress.
#[derive(Debug)]
pub(crate) struct Closing<'w> {
    pub(crate) message_id: Uuid,
    pub(crate) status: Text<MessageStatus>,
    pub(crate) change: i64,
    pub(crate) content: Content<'w>,
}

/// What the end of a message tells beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Content<'w> {
    /// The fields that are set here replace those of the start.
    pub(crate) ai: Option<&'w Ai>,
    /// Empty if the actions of the start stay.
    pub(crate) actions: &'w [Action],
}

/// What the database has for a batch of writes.
#[derive(Debug, Default)]
pub(crate) struct BatchState {
    /// The conversations that are locked for it.
    pub(crate) heads: Vec<Head>,
    /// The conversations that another transaction has locked.
    pub(crate) held: Vec<Uuid>,
    /// The messages with the keys of its writes.
    pub(crate) known: Vec<StoredMessage>,
    /// The stored text that the batch sends again (see [`said_again`]).
    pub(crate) texts: Vec<Stored>,
    /// How writes differ from the messages that they repeat (see [`repeats`](fn@repeats)).
    pub(crate) compared: Vec<Compared>,
}

/// Decides a batch of writes, given what the database has. A write sees the effects of those before it.
///
/// Writes to a conversation that another transaction has locked come again. A conversation that is in neither
/// list does not exist.
pub(crate) fn plan<'w>(
    writes: impl IntoIterator<Item = &'w Write>,
    found: BatchState,
    lease: Duration,
) -> Plan<'w> {
    let BatchState { heads, held, known, texts, compared } = found;
    let mut parts: HashMap<Uuid, Parts<'w>> = HashMap::new();
    for Stored { message_id, offset, text } in texts {
        parts.entry(message_id).or_default().add(offset, Cow::Owned(text));
    }
    let mut planner = Planner {
        heads: heads.iter().map(|head| (head.id, Standing { head: *head, waits: false })).collect(),
        known: known
            .into_iter()
            .map(|known| {
                let parts = parts.remove(&known.id).unwrap_or_default();
                ((known.conversation_id, known.message_key.clone()), State::new(known, parts))
            })
            .collect(),
        lease,
        held,
        plan: Plan::default(),
    };
    let mut compared: HashMap<usize, Vec<String>> =
        compared.into_iter().map(|Compared { place, differing }| (place, differing)).collect();
    for (place, write) in writes.into_iter().enumerate() {
        let outcome = planner.decide(write, compared.remove(&place));
        planner.plan.outcomes.push(outcome);
    }
    let before: HashMap<Uuid, &Head> = heads.iter().map(|head| (head.id, head)).collect();
    let moved = |head: &Head| before.get(&head.id).is_none_or(|before| **before != *head);
    planner.plan.heads = planner.heads.into_values().map(|standing| standing.head).filter(moved).collect();
    planner.plan.heads.sort_unstable_by_key(|head| head.id);
    planner.plan
}

/// A conversation in the course of a batch.
struct Standing {
    head: Head,
    /// Whether a write was put off. Then all writes after it are put off too.
    waits: bool,
}

impl Standing {
    fn next_change(&mut self) -> i64 {
        self.head.change_count += 1;
        self.head.change_count
    }
}

/// A message in the course of a batch.
struct State<'w> {
    known: StoredMessage,
    /// The known parts of its text.
    parts: Parts<'w>,
    /// Whether it was closed in this batch. Its next change must wait until that is done.
    closed: bool,
}

impl<'w> State<'w> {
    fn new(known: StoredMessage, parts: Parts<'w>) -> Self {
        Self { known, parts, closed: false }
    }

    fn placed(&self, deduplicated: bool, effect: Effect) -> Placed {
        let StoredMessage {
            conversation_id, message_key, id, sequence, status, durable_offset, since, ..
        } = &self.known;
        Placed {
            conversation_id: *conversation_id,
            message_key: message_key.clone(),
            id: *id,
            sequence: *sequence,
            status: status.0,
            durable_offset: *durable_offset,
            since: *since,
            deduplicated,
            effect,
        }
    }

    fn is_open(&self) -> bool {
        self.known.status.0 == MessageStatus::InProgress
    }

    /// Refuses a stream that does not hold the message.
    fn require(&self, holder: Uuid) -> Result<()> {
        match self.known.holder {
            Some(known) if known == holder => Ok(()),
            _ => Err(taken_over(&self.known)),
        }
    }

    /// Returns the message as it is, for a write that changes nothing.
    fn as_it_is(&self) -> Outcome {
        Ok(self.placed(true, Effect::None))
    }
}

struct Planner<'w> {
    heads: HashMap<Uuid, Standing>,
    known: HashMap<(Uuid, String), State<'w>>,
    lease: Duration,
    held: Vec<Uuid>,
    plan: Plan<'w>,
}

impl<'w> Planner<'w> {
    /// Returns the outcome of a write; `None` if the write must wait for the end of the batch. `differing` is
    /// how it differs from its message, if the two were compared.
    fn decide(&mut self, write: &'w Write, differing: Option<Vec<String>>) -> Option<Outcome> {
        let Self { heads, known, lease, held, plan } = self;
        let Some(standing) = heads.get_mut(&write.conversation_id) else {
            let waits = held.contains(&write.conversation_id);
            return (!waits).then(|| Err(not_found(write.conversation_id)));
        };
        if standing.waits {
            return None;
        }
        let key = (write.conversation_id, write.message_key.clone());
        if let Some(state) = known.get_mut(&key) {
            let outcome = meet(standing, state, &write.change, differing, *lease, plan);
            standing.waits = outcome.is_none();
            return outcome;
        }
        let added = match &write.change {
            Change::Add(message) => add(standing, message, MessageStatus::Completed, plan),
            Change::Start { message, producer_id, holder, restart: _ } => {
                add(standing, message, MessageStatus::InProgress, plan).map(|mut state| {
                    hold(&mut state, Cow::Borrowed(producer_id), *holder, plan);
                    state
                })
            }
            Change::Extend { .. } | Change::Finish { .. } | Change::Abort { .. } | Change::Expire => {
                Err(not_started(write, "there is no message with this message_key; send start first"))
            }
        };
        Some(added.map(|state| known.entry(key).or_insert(state).placed(false, Effect::Added)))
    }
}

/// Gives a message the next place of its conversation.
fn add<'w>(
    standing: &mut Standing,
    message: &'w NewMessage,
    status: MessageStatus,
    plan: &mut Plan<'w>,
) -> Result<State<'w>> {
    if is_over(standing.head.status) {
        return Err(ended(standing.head.id));
    }
    if standing.head.last_sequence >= MAX_SEQUENCE {
        return Err(full());
    }
    standing.head.last_sequence += 1;
    let sequence = standing.head.last_sequence;
    plan.additions.push(Addition { message, sequence, status: Text(status) });
    let mut parts = Parts::default();
    parts.add(0, Cow::Borrowed(message.content.as_bytes()));
    let known = StoredMessage {
        conversation_id: message.conversation_id,
        message_key: message.message_key.clone(),
        id: message.id,
        sequence,
        fingerprint: message.fingerprint.clone(),
        status: Text(status),
        durable_offset: length(&message.content),
        since: 0,
        producer_id: None,
        holder: None,
        idle_ms: None,
    };
    Ok(State::new(known, parts))
}

/// Decides a write to a message that exists.
fn meet<'w>(
    standing: &mut Standing,
    state: &mut State<'w>,
    change: &'w Change,
    differing: Option<Vec<String>>,
    lease: Duration,
    plan: &mut Plan<'w>,
) -> Option<Outcome> {
    match change {
        // A resend is acknowledged also after the conversation ended: its first ack may have been lost.
        Change::Add(message) if message.fingerprint == state.known.fingerprint => Some(state.as_it_is()),
        // Only the end of a message tells what it is. It was not compared if this batch ended it.
        Change::Add(_) if state.known.status.0 != MessageStatus::Completed => {
            Some(Err(has_another(&state.known, &["status".to_owned()])))
        }
        Change::Add(_) => Some(match differing? {
            differing if differing.is_empty() => state.as_it_is(),
            differing => Err(has_another(&state.known, &differing)),
        }),
        Change::Start { message, producer_id, holder, restart }
            if message.fingerprint == state.known.fingerprint =>
        {
            start(standing, state, Claim { producer_id, holder: *holder, restart: *restart }, lease, plan)
        }
        Change::Start { .. } => Some(Err(has_another(&state.known, &differing?))),
        Change::Extend { holder, offset, text } => Some(extend(state, *holder, *offset, text, plan)),
        Change::Finish { holder, length, ai, actions } => {
            let content = Content { ai: ai.as_ref().map(|ai| &ai.0), actions: &actions.0 };
            match state.known.status.0 {
                MessageStatus::Completed => finish_again(state, *length, differing?),
                _ => finish(standing, state, *holder, *length, content, plan),
            }
        }
        Change::Abort { holder } => Some(abort(standing, state, *holder, plan)),
        Change::Expire if state.is_open() && lease_left(&state.known, lease).is_none() => {
            Some(Ok(close(standing, state, MessageStatus::Incomplete, Content::default(), plan)))
        }
        Change::Expire => Some(state.as_it_is()),
    }
}

/// A stream that starts a message, or goes on with one.
struct Claim<'w> {
    producer_id: &'w str,
    holder: Uuid,
    restart: bool,
}

fn start<'w>(
    standing: &mut Standing,
    state: &mut State<'w>,
    Claim { producer_id, holder, restart }: Claim<'w>,
    lease: Duration,
    plan: &mut Plan<'w>,
) -> Option<Outcome> {
    match state.known.status.0 {
        MessageStatus::InProgress => {
            let is_ours = state.known.holder == Some(holder);
            if is_ours && !restart {
                return Some(state.as_it_is());
            }
            let other = state.known.producer_id.as_deref().is_some_and(|producer| producer != producer_id);
            if let Some(left) = lease_left(&state.known, lease).filter(|_| other && !is_ours) {
                return Some(Err(held(left)));
            }
            let effect = match restart {
                true => Effect::Restarted { change: reopen(standing, state, restart, plan) },
                false => Effect::Held,
            };
            hold(state, Cow::Borrowed(producer_id), holder, plan);
            Some(Ok(state.placed(true, effect)))
        }
        MessageStatus::Incomplete if state.closed => None,
        MessageStatus::Incomplete => {
            let change = reopen(standing, state, restart, plan);
            hold(state, Cow::Borrowed(producer_id), holder, plan);
            Some(Ok(state.placed(true, Effect::Reopened { change })))
        }
        _ => Some(state.as_it_is()),
    }
}

/// Puts a message in progress again, as the next change of its conversation. Returns the number of that change.
fn reopen<'w>(standing: &mut Standing, state: &mut State<'w>, emptied: bool, plan: &mut Plan<'w>) -> i64 {
    let change = standing.next_change();
    let message_id = state.known.id;
    let before = plan.reopenings.iter().position(|reopening| reopening.message_id == message_id);
    let before = before.map(|index| plan.reopenings.swap_remove(index));
    let emptied_before = before.is_some_and(|before| before.emptied);
    plan.reopenings.push(Reopening { message_id, change, emptied: emptied || emptied_before });
    state.known.status = Text(MessageStatus::InProgress);
    state.known.since = change;
    if emptied {
        plan.pieces.retain(|piece| piece.message_id != message_id);
        state.known.durable_offset = 0;
        state.parts = Parts::default();
    }
    change
}

/// Sets the stream that writes a message. Its lease begins anew.
fn hold<'w>(state: &mut State<'w>, producer_id: Cow<'w, str>, holder: Uuid, plan: &mut Plan<'w>) {
    let StoredMessage { id, conversation_id, .. } = state.known;
    state.known.producer_id = Some(producer_id.clone().into_owned());
    state.known.holder = Some(holder);
    state.known.idle_ms = Some(0);
    plan.holds.retain(|hold| hold.message_id != id);
    plan.holds.push(Hold { message_id: id, conversation_id, producer_id, holder });
}

/// Takes a message from the stream that writes it. Text that the stream has sent already would otherwise be
/// taken for the rest of another text.
fn release<'w>(state: &mut State<'w>, plan: &mut Plan<'w>) {
    let producer_id = state.known.producer_id.clone().unwrap_or_default();
    hold(state, Cow::Owned(producer_id), NOBODY, plan);
}

fn extend<'w>(
    state: &mut State<'w>,
    holder: Uuid,
    offset: i64,
    text: &'w str,
    plan: &mut Plan<'w>,
) -> Outcome {
    let durable = state.known.durable_offset;
    let end = offset.saturating_add(length(text));
    let is_open = state.is_open();
    match state.known.status.0 {
        MessageStatus::InProgress => state.require(holder)?,
        _ if end <= durable => {}
        MessageStatus::Incomplete => return Err(given_up(&state.known)),
        _ => return Err(closed(&state.known)),
    }
    if offset > durable {
        return Err(beyond("delta.offset", durable));
    }
    if let Some(from) = state.parts.differ_from(offset, text, durable) {
        if is_open {
            release(state, plan);
        }
        return Err(differs(from));
    }
    if end <= durable {
        return state.as_it_is();
    }
    if end > MAX_CONTENT_BYTES {
        let description = format!("must leave the whole text within {MAX_CONTENT_BYTES} bytes");
        return Err(Error::invalid("delta.text", "string.max_bytes", description));
    }
    let skipped = numbers::size(durable - offset);
    // The skipped part is the stored text, which ends at the end of a character.
    let rest = text.get(skipped..).ok_or_else(|| differs(durable))?;
    plan.pieces.push(Piece { message_id: state.known.id, offset: durable, text: rest });
    state.parts.add(durable, Cow::Borrowed(rest.as_bytes()));
    state.known.durable_offset = end;
    state.known.idle_ms = Some(0);
    Ok(state.placed(false, Effect::Extended))
}

fn finish<'w>(
    standing: &mut Standing,
    state: &mut State<'w>,
    holder: Uuid,
    length: i64,
    content: Content<'w>,
    plan: &mut Plan<'w>,
) -> Option<Outcome> {
    let durable = state.known.durable_offset;
    match state.known.status.0 {
        MessageStatus::InProgress => {
            if let Err(refusal) = state.require(holder) {
                return Some(Err(refusal));
            }
        }
        MessageStatus::Incomplete if state.closed => return None,
        MessageStatus::Incomplete => {}
        _ => return Some(Err(closed(&state.known))),
    }
    if length != durable {
        return Some(Err(beyond("finish.length", durable)));
    }
    Some(Ok(close(standing, state, MessageStatus::Completed, content, plan)))
}

/// Decides a finish of a message that is complete. The same finish again changes nothing. `differing` has the
/// fields, beside the length, that differ.
fn finish_again(state: &State<'_>, length: i64, differing: Vec<String>) -> Option<Outcome> {
    let other_length = (length != state.known.durable_offset).then(|| "length".to_owned());
    let differing: Vec<String> = other_length.into_iter().chain(differing).collect();
    Some(match differing.is_empty() {
        true => state.as_it_is(),
        false => Err(finished_otherwise(&state.known, &differing)),
    })
}

fn abort<'w>(standing: &mut Standing, state: &mut State<'w>, holder: Uuid, plan: &mut Plan<'w>) -> Outcome {
    match state.known.status.0 {
        MessageStatus::InProgress => state.require(holder)?,
        MessageStatus::Incomplete => return state.as_it_is(),
        _ => return Err(closed(&state.known)),
    }
    Ok(close(standing, state, MessageStatus::Incomplete, Content::default(), plan))
}

fn close<'w>(
    standing: &mut Standing,
    state: &mut State<'w>,
    status: MessageStatus,
    content: Content<'w>,
    plan: &mut Plan<'w>,
) -> Placed {
    let change = standing.next_change();
    plan.closings.push(Closing { message_id: state.known.id, status: Text(status), change, content });
    state.known.status = Text(status);
    state.known.since = change;
    state.closed = true;
    state.placed(false, Effect::Closed { change })
}

/// Returns what is left of the lease of the producer that writes a message.
fn lease_left(known: &StoredMessage, lease: Duration) -> Option<Duration> {
    let idle = Duration::from_millis(u64::try_from(known.idle_ms?).unwrap_or(0));
    lease.checked_sub(idle).filter(|left| !left.is_zero())
}

/// Returns the length of a text in bytes, as the contract counts it.
pub(crate) fn length(text: &str) -> i64 {
    numbers::count(text.len())
}

#[cfg(test)]
mod tests;
