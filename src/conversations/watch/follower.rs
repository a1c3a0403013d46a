//! The position of a watcher, and the events that it is told next. No I/O.

mod said;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use said::Said;

use super::Position;
use super::actions::{Changed, Draft, InProgress, Opening, Page, What};
use crate::conversations::feed::{Event, Mark, Text};
use crate::conversations::messages::rules::length;
use crate::conversations::messages::store::Message;
use crate::conversations::rules::is_over;
use crate::conversations::store::Conversation;
use crate::numbers;
use crate::pb::conversation_event::Event as Told;
use crate::pb::{self, MessageStatus};

/// What the watcher must do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more.
    Done,
    /// Read a page, and then hear the event again.
    CatchUp,
    /// Read the text of this message, and then hear the event again.
    ReadText(Uuid),
}

/// The limit of incomplete messages whose text a watcher remembers. They take some ten kilobytes, and are more
/// than restart at the same time.
const GIVEN_UP: usize = 64;

/// A watcher's cursor.
#[derive(Debug)]
pub(super) struct Follower {
    position: Position,
    include_deltas: bool,
    /// The messages in progress that the client was told of, by their sequence.
    open: BTreeMap<i64, Open>,
    /// The text of incomplete messages when the client was last told of them, by their sequence. Such a message
    /// may go on or restart. The last [`GIVEN_UP`] of them are kept.
    given_up: BTreeMap<i64, Said>,
    /// The events to tell next. Boxed: an entry has the size of a pointer, and not of the largest event.
    ready: VecDeque<(Box<Told>, Position)>,
}

/// A message in progress that the client was told of.
///
/// Committed text stays, even if another stream takes the message over. Uncommitted text belongs to one stream
/// and must not be mixed with the text of another. Signals about which stream writes the message get lost and
/// overtake each other. So the text that the client was told is either committed, or it is the text of a known
/// stream.
///
/// All of this holds until the message restarts, which is a change of the conversation. The number of the
/// change that put the message in progress distinguishes text before a restart from text after it.
#[derive(Debug)]
struct Open {
    message_id: Uuid,
    /// The number of the change that put the message in progress; `None` for a message from a page, until its
    /// text is read.
    since: Option<i64>,
    /// The text that the client was told; `None` if all of it is void.
    told: Option<Said>,
    /// The number of bytes of the told text that are known to be committed.
    sure: i64,
    /// The id of the stream whose text the client was told; `None` before the first text of a known stream.
    holder: Option<Uuid>,
    /// A stream that does not hold the message according to the database, or about which the database is asked
    /// next. Its text is skipped, so that not every piece of it leads to a read.
    former: Option<Uuid>,
}

/// The stream that an event of a message in progress comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// The stream whose text the client was told, or a stream without a name.
    Known,
    /// A stream that no longer holds the message.
    Former,
    /// A stream that may have taken the message over, or may have lost it. Only the database knows.
    Other,
}

impl Open {
    /// Creates the entry of a message whose committed text the client was told.
    fn new(message_id: Uuid, text: &str, since: Option<i64>, holder: Option<Uuid>) -> Self {
        let told = Some(Said::new(text));
        Self { message_id, since, told, sure: length(text), holder, former: None }
    }

    /// Returns how many bytes of its text the client was told; `None` if all of it is void.
    fn told(&self) -> Option<i64> {
        self.told.as_ref().map(Said::length)
    }

    /// Returns whether something was written before the message restarted.
    fn is_before(&self, since: Option<i64>) -> bool {
        since.zip(self.since).is_some_and(|(since, own)| since < own)
    }

    /// Returns which stream an event comes from. If no text was told yet, the text of any stream may be the
    /// first.
    fn meet(&mut self, holder: Option<Uuid>) -> Speaker {
        match holder {
            None => Speaker::Known,
            _ if holder == self.holder => Speaker::Known,
            _ if holder == self.former => Speaker::Former,
            _ if self.holder.is_none() && self.told() == Some(0) => {
                self.holder = holder;
                Speaker::Known
            }
            _ => {
                self.former = holder;
                Speaker::Other
            }
        }
    }

    /// Returns whether all told text is committed.
    fn is_sure(&self) -> bool {
        self.told().is_some_and(|told| told <= self.sure)
    }
}

impl Follower {
    /// Creates a cursor at a position. A watcher that comes late is told the text so far of the messages in
    /// progress.
    pub(super) fn new(position: Position, include_deltas: bool, opening: Opening) -> Self {
        let (open, given_up) = (BTreeMap::new(), BTreeMap::new());
        let mut follower = Self { position, include_deltas, open, given_up, ready: VecDeque::new() };
        for InProgress { message, change, holder } in opening.open {
            // A message that is in progress only since a later change is told with that change.
            let is_known = message.sequence <= position.sequence && change <= position.change;
            if is_known && message.status.0 == MessageStatus::InProgress {
                follower.track(&message, Some(change), holder);
                follower.tell(snapshot(message.id, message.sequence, message.content));
            }
        }
        follower
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Returns the next event to tell, and the position of the watcher after it.
    pub(super) fn next(&mut self) -> Option<(Told, Position)> {
        let next = self.ready.pop_front();
        if self.ready.is_empty() {
            // Thousands of watchers are idle, and must not keep the memory that a page took.
            self.ready = VecDeque::new();
        }
        next.map(|(told, position)| (*told, position))
    }

    /// Takes in a page.
    pub(super) fn read(&mut self, page: Page) {
        let Page { reopened, changes, messages, conversation, change, more: _ } = page;
        if let Some(conversation) = reopened {
            self.tell_conversation(*conversation);
        }
        for Changed { change, what } in changes {
            match what {
                What::Message(message) => self.tell_changed(*message, change),
                What::Analysis(analysis) => {
                    self.position.change = change;
                    let analysis = Some((*analysis).into());
                    self.tell(Told::AnalysisRecorded(pb::AnalysisRecorded { analysis }));
                }
            }
        }
        self.position.change = change;
        for message in messages {
            self.position.sequence = message.sequence;
            if message.status.0 == MessageStatus::InProgress {
                self.track(&message, None, None);
                self.tell(Told::MessageStarted(pb::MessageStarted { message: Some(message.into()) }));
            } else {
                let message = pb::Message::from(message);
                self.note_end(&message);
                self.tell(Told::MessageAdded(pb::MessageAdded { message: Some(message) }));
            }
        }
        if let Some(conversation) = conversation {
            self.tell_conversation(*conversation);
        }
    }

    /// Takes in the text so far of a message; `None` if it is no longer in progress. If the message changed
    /// after the watcher's position, a page tells it.
    pub(super) fn read_text(&mut self, message_id: Uuid, draft: Option<Draft>) -> Next {
        let Some(Draft { text, change, holder }) = draft else { return Next::CatchUp };
        if change > self.position.change {
            return Next::CatchUp;
        }
        let found = self.open.iter_mut().find(|(_, open)| open.message_id == message_id);
        let Some((sequence, open)) = found else { return Next::Done };
        let (sequence, end) = (*sequence, length(&text));
        let is_same = holder.is_some() && holder == open.holder;
        let is_kept = is_same || open.is_sure();
        if !is_same {
            // A stream that holds the message is never treated as one that lost it.
            open.former = if open.former == holder { open.holder } else { open.former };
            open.holder = holder;
        }
        open.since = Some(change);
        open.sure = end;
        let told = open.told.take().filter(|told| is_kept && (told.length() > end || told.begins(&text)));
        let fresh = told.as_ref().map(|told| (told.length(), told.rest_of(&text)));
        match fresh {
            // The stream has shown all of the committed text, or more.
            Some((offset, _)) if offset >= end => open.told = told,
            Some((offset, Some(fresh))) => {
                open.told = Some(Said::new(&text));
                let fresh = fresh.to_owned();
                self.tell(delta(message_id, sequence, offset, fresh));
            }
            _ => {
                open.told = Some(Said::new(&text));
                self.tell(snapshot(message_id, sequence, text));
            }
        }
        Next::Done
    }

    /// Takes in an event, if it follows directly on the watcher's position.
    pub(super) fn hear(&mut self, event: &Event) -> Next {
        let Position { sequence, change, own: _, over } = self.position;
        match event {
            Event::Added(message) if i64::from(message.sequence) <= sequence => Next::Done,
            // A conversation that takes messages after its end was reopened. A page tells the reopening first.
            Event::Added(message) if i64::from(message.sequence) == sequence + 1 && !over => {
                self.add(message);
                Next::Done
            }
            Event::Closed { change: number, .. } if *number <= change => Next::Done,
            Event::Closed { change: number, message }
                if *number == change + 1 && i64::from(message.sequence) <= sequence =>
            {
                self.end(message, *number);
                Next::Done
            }
            Event::Restarted(Mark { since: Some(number), .. }) if *number <= change => Next::Done,
            Event::Restarted(mark)
                if mark.since == Some(change + 1)
                    && self.open.contains_key(&mark.sequence)
                    && self.include_deltas =>
            {
                self.restart(*mark);
                Next::Done
            }
            Event::Added(_) | Event::Closed { .. } | Event::Restarted(_) | Event::Changed => Next::CatchUp,
            Event::Moved { sequence: last, change: count } if *last > sequence || *count > change => {
                Next::CatchUp
            }
            Event::Moved { .. } => Next::Done,
            Event::Text(Text { sequence: place, since, .. })
            | Event::Durable(Mark { sequence: place, since, .. })
            | Event::Held(Mark { sequence: place, since, .. })
            | Event::Lost(Mark { sequence: place, since, .. })
                if *place > sequence || since.is_some_and(|since| since > change) =>
            {
                Next::CatchUp
            }
            Event::Text(Text { sequence: place, since, .. })
            | Event::Durable(Mark { sequence: place, since, .. })
            | Event::Held(Mark { sequence: place, since, .. })
            | Event::Lost(Mark { sequence: place, since, .. })
                if self.open.get(place).is_none_or(|open| open.is_before(*since) || !self.include_deltas) =>
            {
                Next::Done
            }
            // The text may be from before the message restarted. Only the database knows.
            Event::Text(Text { sequence: place, .. })
            | Event::Durable(Mark { sequence: place, .. })
            | Event::Held(Mark { sequence: place, .. })
                if self.open.get(place).is_some_and(|open| open.since.is_none()) =>
            {
                self.ask_for_text(*place)
            }
            Event::Text(text) => self.hear_text(text),
            Event::Durable(mark) => self.hear_durable(*mark),
            Event::Held(mark) => self.hear_held(*mark),
            Event::Lost(mark) => self.hear_lost(*mark),
        }
    }

    /// Tells that nothing happened.
    pub(super) fn checkpoint(&mut self) {
        let last_sequence = numbers::int32(self.position.sequence);
        self.tell(Told::Checkpoint(pb::Checkpoint { last_sequence }));
    }

    /// Returns the messages in progress: the watcher must read their text if it may have missed something.
    pub(super) fn doubt(&self) -> Vec<Uuid> {
        if !self.include_deltas {
            return Vec::new();
        }
        self.open.values().map(|open| open.message_id).collect()
    }

    fn add(&mut self, message: &Arc<pb::Message>) {
        let sequence = i64::from(message.sequence);
        self.position.sequence = sequence;
        if message.status() == MessageStatus::InProgress {
            if let Ok(message_id) = Uuid::try_parse(&message.id) {
                let open = Open::new(message_id, &message.content, Some(0), None);
                self.open.insert(sequence, open);
            }
            self.tell(Told::MessageStarted(pb::MessageStarted { message: Some((**message).clone()) }));
        } else {
            self.note_end(message);
            self.tell(Told::MessageAdded(pb::MessageAdded { message: Some((**message).clone()) }));
        }
    }

    /// Notes the text of a message that has ended, if it may go on.
    fn note_end(&mut self, message: &pb::Message) {
        let sequence = i64::from(message.sequence);
        if self.include_deltas && message.status() == MessageStatus::Incomplete {
            self.given_up.insert(sequence, Said::new(&message.content));
            if self.given_up.len() > GIVEN_UP {
                self.given_up.pop_first();
            }
        } else {
            self.given_up.remove(&sequence);
        }
    }

    /// Asks for the text of a message in progress.
    fn ask_for_text(&self, sequence: i64) -> Next {
        self.open.get(&sequence).map_or(Next::Done, |open| Next::ReadText(open.message_id))
    }

    fn hear_text(&mut self, text: &Text) -> Next {
        let Text { message_id, sequence, offset, text, since: _, holder } = text;
        let Some(open) = self.open.get_mut(sequence) else { return Next::Done };
        match open.meet(*holder) {
            Speaker::Known => {}
            Speaker::Former => return Next::Done,
            Speaker::Other => return Next::ReadText(*message_id),
        }
        let Some(said) = &mut open.told else { return Next::ReadText(*message_id) };
        let told = said.length();
        // The text before this piece is told when it is stored: a signal says so. The watcher does not wait for
        // that, because the text of a stream that broke off is never stored.
        if offset + length(text) <= told || *offset > told {
            return Next::Done;
        }
        let fresh = usize::try_from(told - offset).ok().and_then(|known| text.get(known..));
        let Some(fresh) = fresh else {
            // The text differs from the text that was told.
            open.told = None;
            return Next::ReadText(*message_id);
        };
        said.push(fresh);
        // Text without a known holder is not attributed to any stream.
        open.holder = *holder;
        self.tell(delta(*message_id, *sequence, told, fresh.to_owned()));
        Next::Done
    }

    fn hear_durable(&mut self, mark: Mark) -> Next {
        let Mark { sequence, offset, since: _, holder } = mark;
        let Some(open) = self.open.get_mut(&sequence) else { return Next::Done };
        let speaker = open.meet(holder);
        match open.told() {
            Some(told) if told >= offset && speaker != Speaker::Other => {
                if holder.is_some() && speaker == Speaker::Known {
                    open.sure = open.sure.max(offset);
                }
                Next::Done
            }
            _ => Next::ReadText(open.message_id),
        }
    }

    /// Takes in that a stream goes on with a message after `offset` bytes. The stream may have lost the message
    /// since. So it is believed only if the told text is the beginning of its text in any case.
    fn hear_held(&mut self, mark: Mark) -> Next {
        let Mark { sequence, offset, since: _, holder } = mark;
        let Some(open) = self.open.get_mut(&sequence) else { return Next::Done };
        if open.former == holder {
            open.former = None;
        }
        match open.told() {
            Some(told) if told <= offset && (open.is_sure() || open.holder == holder) => {
                open.holder = holder;
                if told < offset { Next::ReadText(open.message_id) } else { Next::Done }
            }
            // No told text has to be taken back.
            Some(_) if open.is_sure() => Next::Done,
            _ => {
                open.told = None;
                Next::ReadText(open.message_id)
            }
        }
    }

    /// Takes in that a stream lost track of its text. The watcher reads the text only at the next signal: the
    /// database may be away, and thousands of watchers would ask it in vain.
    fn hear_lost(&mut self, mark: Mark) -> Next {
        let Mark { sequence, offset, since: _, holder } = mark;
        if let Some(open) = self.open.get_mut(&sequence)
            && open.holder == holder
            && open.told().is_some_and(|told| told > offset)
        {
            open.told = None;
        }
        Next::Done
    }

    /// Tells that a message restarts.
    fn restart(&mut self, mark: Mark) {
        let Mark { sequence, offset: _, since, holder } = mark;
        self.position.change = since.unwrap_or(self.position.change);
        let Some(open) = self.open.get_mut(&sequence) else { return };
        let message_id = open.message_id;
        *open = Open::new(message_id, "", since, holder);
        self.tell(snapshot(message_id, sequence, String::new()));
    }

    /// Tells the end of a message. Told text that is not part of it was never committed, or was dropped by a
    /// restart. The watcher is told so first.
    fn end(&mut self, message: &Arc<pb::Message>, change: i64) {
        let sequence = i64::from(message.sequence);
        let open = self.open.remove(&sequence);
        if self.include_deltas {
            match open {
                Some(open) if open.told.as_ref().is_some_and(|told| told.begins(&message.content)) => {}
                Some(open) => {
                    self.tell(snapshot(open.message_id, sequence, message.content.clone()));
                }
                // The message was incomplete, and it restarted and ended between two reads.
                None => {
                    let said = self.given_up.get(&sequence);
                    if said.is_some_and(|said| !said.begins(&message.content))
                        && let Ok(message_id) = Uuid::try_parse(&message.id)
                    {
                        self.tell(snapshot(message_id, sequence, String::new()));
                    }
                }
            }
        }
        self.note_end(message);
        self.position.change = change;
        self.tell(closed(message));
    }

    fn tell_conversation(&mut self, conversation: Conversation) {
        self.position.own = conversation.own_change;
        let ends = is_over(conversation.status) && !self.position.over;
        self.position.over = is_over(conversation.status);
        let conversation = Some(conversation.into());
        self.tell(if ends {
            Told::ConversationEnded(pb::ConversationEnded { conversation })
        } else {
            Told::ConversationUpdated(pb::ConversationUpdated { conversation })
        });
    }

    fn tell_changed(&mut self, message: Message, change: i64) {
        if message.status.0 != MessageStatus::InProgress {
            self.end(&Arc::new(message.into()), change);
            return;
        }
        self.position.change = change;
        let is_known = self.open.contains_key(&message.sequence);
        self.track(&message, Some(change), None);
        // For a watcher that knows the message as in progress, only the text is different.
        if is_known && self.include_deltas {
            self.tell(snapshot(message.id, message.sequence, message.content));
        } else {
            self.tell(Told::MessageStarted(pb::MessageStarted { message: Some(message.into()) }));
        }
    }

    fn track(&mut self, message: &Message, since: Option<i64>, holder: Option<Uuid>) {
        self.open.insert(message.sequence, Open::new(message.id, &message.content, since, holder));
    }

    fn tell(&mut self, told: Told) {
        self.ready.push_back((Box::new(told), self.position));
    }
}

fn closed(message: &Arc<pb::Message>) -> Told {
    let whole = message.status() == MessageStatus::Completed;
    let message = Some((**message).clone());
    if whole {
        Told::MessageFinished(pb::MessageFinished { message })
    } else {
        Told::MessageAborted(pb::MessageAborted { message })
    }
}

fn snapshot(message_id: Uuid, sequence: i64, text: String) -> Told {
    let sequence = numbers::int32(sequence);
    Told::MessageSnapshot(pb::MessageText { message_id: message_id.to_string(), sequence, offset: 0, text })
}

fn delta(message_id: Uuid, sequence: i64, offset: i64, text: String) -> Told {
    let (sequence, offset) = (numbers::int32(sequence), numbers::int32(offset));
    Told::MessageDelta(pb::MessageText { message_id: message_id.to_string(), sequence, offset, text })
}

#[cfg(test)]
mod tests;
