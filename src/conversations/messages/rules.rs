//! What becomes of writes to messages: which get a place, which have one, which are refused.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::store::{Action, Ai, Known, NewMessage};
use crate::conversations::rules::{ended, is_over, not_found};
use crate::conversations::store::Head;
use crate::db::json::Json;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, MessageStatus};
use crate::rpc::words::Text;

/// Bytes of a message's text, as the contract says.
pub(crate) const MAX_CONTENT_BYTES: i64 = 262_144;

/// One thing to do to one message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) change: Change,
}

/// What to do to a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Add it, whole.
    Add(Box<NewMessage>),
    /// Open it for this stream, which is one of a producer, or go on with it.
    Start { message: Box<NewMessage>, producer_id: String, holder: Uuid },
    /// Append what comes after its first `offset` bytes.
    Extend { holder: Uuid, offset: i64, text: String },
    /// Close it: that is all, so many bytes.
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
    /// How far it has come.
    pub(crate) status: MessageStatus,
    /// Bytes of its text.
    pub(crate) durable_offset: i64,
    /// Whether it was there already.
    pub(crate) deduplicated: bool,
    /// What the write made of it.
    pub(crate) effect: Effect,
}

/// What a write made of a message.
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
    /// Its text grew.
    Extended,
    /// It was closed, by this change of the conversation.
    Closed { change: i64 },
}

/// What becomes of a write.
pub(crate) type Outcome = Result<Placed>;

/// What to do with a batch of writes. The fields are in the order in which they must be done.
#[derive(Debug, Default)]
pub(crate) struct Plan<'w> {
    /// What becomes of the writes, in their order. A write that has none yet needs what others of the
    /// batch do to be done first, and comes again.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The messages to add.
    pub(crate) additions: Vec<Addition<'w>>,
    /// The messages that are in progress again.
    pub(crate) reopenings: Vec<Reopening>,
    /// The streams that hold messages from here on.
    pub(crate) holds: Vec<Hold<'w>>,
    /// The text to append.
    pub(crate) pieces: Vec<Piece<'w>>,
    /// The messages to close.
    pub(crate) closings: Vec<Closing<'w>>,
    /// Where the conversations stand then, in the order of their ids.
    pub(crate) heads: Vec<Head>,
}

/// A message and its place.
#[derive(Debug)]
pub(crate) struct Addition<'w> {
    pub(crate) message: &'w NewMessage,
    pub(crate) sequence: i64,
    pub(crate) status: Text<MessageStatus>,
}

/// A message that was given up, and is gone on with.
#[derive(Debug)]
pub(crate) struct Reopening {
    pub(crate) message_id: Uuid,
    pub(crate) change: i64,
}

/// Who writes a message.
#[derive(Debug)]
pub(crate) struct Hold<'w> {
    pub(crate) message_id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) producer_id: &'w str,
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
    pub(crate) ai: Option<&'w Ai>,
    pub(crate) actions: &'w [Action],
}

/// Decides a batch of writes, given the conversations that are held for it, those that another
/// transaction holds, and what is known under its keys. A write sees what those before it did.
///
/// Writes to a conversation that another transaction holds come again; one that is in neither list does not
/// exist.
pub(crate) fn plan<'w>(
    writes: impl IntoIterator<Item = &'w Write>,
    (heads, held): (&[Head], &[Uuid]),
    known: Vec<Known>,
    lease: Duration,
) -> Plan<'w> {
    let mut planner = Planner {
        heads: heads.iter().map(|head| (head.id, Standing { head: *head, waits: false })).collect(),
        known: known
            .into_iter()
            .map(|known| ((known.conversation_id, known.message_key.clone()), State::new(known)))
            .collect(),
        lease,
        held,
        plan: Plan::default(),
    };
    for write in writes {
        let outcome = planner.decide(write);
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
    /// Whether a write had to be put off, and with it all that come after it.
    waits: bool,
}

impl Standing {
    fn next_change(&mut self) -> i64 {
        self.head.change_count += 1;
        self.head.change_count
    }
}

/// A message in the course of a batch.
struct State {
    known: Known,
    /// Whether it was closed in this batch. What happens to it next can only be done after that.
    closed: bool,
}

impl State {
    fn new(known: Known) -> Self {
        Self { known, closed: false }
    }

    fn placed(&self, deduplicated: bool, effect: Effect) -> Placed {
        let Known { conversation_id, message_key, id, sequence, status, durable_offset, .. } = &self.known;
        Placed {
            conversation_id: *conversation_id,
            message_key: message_key.clone(),
            id: *id,
            sequence: *sequence,
            status: status.0,
            durable_offset: *durable_offset,
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

    /// The message as it is, for a write that finds nothing to do.
    fn as_it_is(&self) -> Outcome {
        Ok(self.placed(true, Effect::None))
    }
}

struct Planner<'w, 'h> {
    heads: HashMap<Uuid, Standing>,
    known: HashMap<(Uuid, String), State>,
    lease: Duration,
    held: &'h [Uuid],
    plan: Plan<'w>,
}

impl<'w> Planner<'w, '_> {
    /// What becomes of a write; nothing yet where it has to wait for the end of the batch.
    fn decide(&mut self, write: &'w Write) -> Option<Outcome> {
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
            let outcome = meet(standing, state, &write.change, *lease, plan);
            standing.waits = outcome.is_none();
            return outcome;
        }
        let added = match &write.change {
            Change::Add(message) => add(standing, message, MessageStatus::Completed, plan),
            Change::Start { message, producer_id, holder } => {
                add(standing, message, MessageStatus::InProgress, plan).map(|mut state| {
                    hold(&mut state, producer_id, *holder, plan);
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
) -> Result<State> {
    if is_over(standing.head.status) {
        return Err(ended(standing.head.id));
    }
    standing.head.last_sequence += 1;
    let sequence = standing.head.last_sequence;
    plan.additions.push(Addition { message, sequence, status: Text(status) });
    Ok(State::new(Known {
        conversation_id: message.conversation_id,
        message_key: message.message_key.clone(),
        id: message.id,
        sequence,
        fingerprint: message.fingerprint.clone(),
        status: Text(status),
        durable_offset: length(&message.content),
        producer_id: None,
        holder: None,
        idle_ms: None,
    }))
}

/// A write meets a message that is there.
fn meet<'w>(
    standing: &mut Standing,
    state: &mut State,
    change: &'w Change,
    lease: Duration,
    plan: &mut Plan<'w>,
) -> Option<Outcome> {
    match change {
        // A resend is answered also after the conversation ended: its first ack may have been lost.
        Change::Add(message) => Some(same(message, state).and_then(|()| state.as_it_is())),
        Change::Start { message, producer_id, holder } => match same(message, state) {
            Ok(()) => start(standing, state, (producer_id, *holder), lease, plan),
            Err(reused) => Some(Err(reused)),
        },
        Change::Extend { holder, offset, text } => Some(extend(state, *holder, (*offset, text), plan)),
        Change::Finish { holder, length, ai, actions } => {
            let content = (ai.as_ref().map(|ai| &ai.0), actions.0.as_slice());
            finish(standing, state, *holder, *length, content, plan)
        }
        Change::Abort { holder } => Some(abort(standing, state, *holder, plan)),
        Change::Expire if state.is_open() && lease_left(&state.known, lease).is_none() => {
            Some(Ok(close(standing, state, MessageStatus::Incomplete, (None, &[]), plan)))
        }
        Change::Expire => Some(state.as_it_is()),
    }
}

fn same(message: &NewMessage, state: &State) -> Result<()> {
    if message.fingerprint == state.known.fingerprint {
        return Ok(());
    }
    Err(Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "this message_key has another message; use a new one".to_owned(),
        kind: "message",
        name: state.known.id.to_string(),
    })
}

fn start<'w>(
    standing: &mut Standing,
    state: &mut State,
    (producer_id, holder): (&'w str, Uuid),
    lease: Duration,
    plan: &mut Plan<'w>,
) -> Option<Outcome> {
    match state.known.status.0 {
        MessageStatus::InProgress if state.known.holder == Some(holder) => Some(state.as_it_is()),
        MessageStatus::InProgress => {
            let other = state.known.producer_id.as_deref().is_some_and(|producer| producer != producer_id);
            if let Some(left) = lease_left(&state.known, lease).filter(|_| other) {
                return Some(Err(held(left)));
            }
            hold(state, producer_id, holder, plan);
            Some(Ok(state.placed(true, Effect::Held)))
        }
        MessageStatus::Incomplete if state.closed => None,
        MessageStatus::Incomplete => {
            let change = standing.next_change();
            plan.reopenings.push(Reopening { message_id: state.known.id, change });
            state.known.status = Text(MessageStatus::InProgress);
            hold(state, producer_id, holder, plan);
            Some(Ok(state.placed(true, Effect::Reopened { change })))
        }
        _ => Some(state.as_it_is()),
    }
}

/// Makes a stream the one that writes a message. Its lease begins anew.
fn hold<'w>(state: &mut State, producer_id: &'w str, holder: Uuid, plan: &mut Plan<'w>) {
    let Known { id, conversation_id, .. } = state.known;
    plan.holds.retain(|hold| hold.message_id != id);
    plan.holds.push(Hold { message_id: id, conversation_id, producer_id, holder });
    state.known.producer_id = Some(producer_id.to_owned());
    state.known.holder = Some(holder);
    state.known.idle_ms = Some(0);
}

fn extend<'w>(
    state: &mut State,
    holder: Uuid,
    (offset, text): (i64, &'w str),
    plan: &mut Plan<'w>,
) -> Outcome {
    let durable = state.known.durable_offset;
    let end = offset.saturating_add(length(text));
    match state.known.status.0 {
        MessageStatus::InProgress => state.require(holder)?,
        _ if end <= durable => return state.as_it_is(),
        MessageStatus::Incomplete => return Err(given_up(&state.known)),
        _ => return Err(closed(&state.known)),
    }
    if offset > durable {
        return Err(beyond("delta.offset", durable));
    }
    if end <= durable {
        return state.as_it_is();
    }
    if end > MAX_CONTENT_BYTES {
        let description = format!("must leave the whole text within {MAX_CONTENT_BYTES} bytes");
        return Err(Error::invalid("delta.text", "string.max_bytes", description));
    }
    let skipped = usize::try_from(durable - offset).unwrap_or(usize::MAX);
    let rest = text.get(skipped..).ok_or_else(|| within_character(durable))?;
    plan.pieces.push(Piece { message_id: state.known.id, offset: durable, text: rest });
    state.known.durable_offset = end;
    state.known.idle_ms = Some(0);
    Ok(state.placed(false, Effect::Extended))
}

fn finish<'w>(
    standing: &mut Standing,
    state: &mut State,
    holder: Uuid,
    length: i64,
    content: (Option<&'w Ai>, &'w [Action]),
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
        MessageStatus::Completed if length == durable => return Some(state.as_it_is()),
        _ => return Some(Err(closed(&state.known))),
    }
    if length != durable {
        return Some(Err(beyond("finish.length", durable)));
    }
    Some(Ok(close(standing, state, MessageStatus::Completed, content, plan)))
}

fn abort<'w>(standing: &mut Standing, state: &mut State, holder: Uuid, plan: &mut Plan<'w>) -> Outcome {
    match state.known.status.0 {
        MessageStatus::InProgress => state.require(holder)?,
        MessageStatus::Incomplete => return state.as_it_is(),
        _ => return Err(closed(&state.known)),
    }
    Ok(close(standing, state, MessageStatus::Incomplete, (None, &[]), plan))
}

fn close<'w>(
    standing: &mut Standing,
    state: &mut State,
    status: MessageStatus,
    (ai, actions): (Option<&'w Ai>, &'w [Action]),
    plan: &mut Plan<'w>,
) -> Placed {
    let change = standing.next_change();
    plan.closings.push(Closing { message_id: state.known.id, status: Text(status), change, ai, actions });
    state.known.status = Text(status);
    state.closed = true;
    state.placed(false, Effect::Closed { change })
}

/// What is left of the lease of whoever writes a message.
fn lease_left(known: &Known, lease: Duration) -> Option<Duration> {
    let idle = Duration::from_millis(u64::try_from(known.idle_ms?).unwrap_or(0));
    lease.checked_sub(idle).filter(|left| !left.is_zero())
}

/// Bytes of a text, as the contract counts them.
pub(crate) fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

pub(crate) fn held(left: Duration) -> Error {
    Error::Held { retry_after: left }
}

fn not_started(write: &Write, message: &str) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message: message.to_owned(),
        subject: format!("conversation/{}", write.conversation_id),
    }
}

pub(crate) fn taken_over(known: &Known) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message:
            "this stream does not write the message, or another one has taken it over; send start to go on"
                .to_owned(),
        subject: format!("message/{}", known.id),
    }
}

fn given_up(known: &Known) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message: "the message was given up; send start to go on with it".to_owned(),
        subject: format!("message/{}", known.id),
    }
}

pub(crate) fn closed(known: &Known) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageClosed,
        message: format!(
            "the message is closed with {} bytes of text; write another one, with another message_key",
            known.durable_offset
        ),
        subject: format!("message/{}", known.id),
    }
}

/// The text ends elsewhere.
pub(crate) fn beyond(field: &'static str, durable: i64) -> Error {
    Error::Offset { field, expected: durable }
}

/// The text is not the one that was sent before.
pub(crate) fn within_character(durable: i64) -> Error {
    let description = format!("is another text than what is there: byte {durable} is within a character");
    Error::invalid("delta.text", "delta.text", description)
}

#[cfg(test)]
mod tests;
