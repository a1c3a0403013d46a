//! A model of a conversation and its events, and a client that believes what it is told.

use std::collections::{BTreeSet, VecDeque};

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::conversations::analyses::store::Analysis;
use crate::conversations::store::{Conversation, Head};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::db::words::Text as Word;
use crate::pb::{ConversationEnvironment, ConversationStatus, MessageRole, Modality, PresenterKind};

/// The limit of messages and of changes in a page of the model: small, so that most reads take several pages.
const PAGE: (usize, usize) = (3, 2);

/// How often the watcher asks for text that is not stored yet.
const ATTEMPTS: u32 = 4;

/// An action on the conversation.
#[derive(Debug, Clone)]
enum Act {
    Add,
    Start,
    /// The stream that writes the message sends more text.
    Grow(prop::sample::Index, u8),
    Flush(prop::sample::Index),
    /// Another stream goes on with the message after its stored text.
    TakeOver(prop::sample::Index),
    /// The text that its stream sent and that is not stored is lost. The stream goes on with other text.
    Lose(prop::sample::Index),
    /// The message is restarted, by its own stream or by another one.
    Restart(prop::sample::Index, bool),
    /// A stream that has lost the message, and does not know yet, sends more text. Or its text arrives late.
    Babble(prop::sample::Index, prop::sample::Index, u8),
    /// The message is given up, and its text that is not stored is lost.
    GiveUp(prop::sample::Index),
    Close(prop::sample::Index, bool),
    Reopen(prop::sample::Index),
    Update,
    End,
    /// The conversation goes on after its end.
    GoOn,
    Analyse,
}

/// An event in the life of the watcher.
#[derive(Debug, Clone)]
enum Fate {
    /// The watcher hears the next event of this queue. If `repeated`, the event stays in the queue and comes
    /// again.
    Hear { remote: bool, repeated: bool },
    /// The next event of this queue gets lost.
    Lose { remote: bool },
    /// The next event of this queue is overtaken by all that wait.
    Delay { remote: bool },
    /// The watcher looks at the database, as after a signal that says how far the conversation has come.
    Look,
    /// Its client takes this many events, leaves with their position, and comes back.
    Leave(usize),
}

#[derive(Debug, Clone)]
enum Step {
    Act { act: Act, remote: bool },
    Fate(Fate),
}

/// A state of a message, since a change.
#[derive(Debug, Clone, PartialEq)]
struct State {
    since: i64,
    status: MessageStatus,
    content: String,
}

/// A message of the model.
#[derive(Debug)]
struct Row {
    message_id: Uuid,
    sequence: i64,
    states: Vec<State>,
    /// The text of each stream that held it, as the stream knows it: the text stored before, and the text it
    /// sent itself. For the last stream, `states` has the stored part.
    shown: Vec<Shown>,
    /// Whether a stream lost text. Then another text of the same stream may be told along with it until the
    /// end.
    lossy: bool,
}

/// The text of a stream, as the stream knows it.
#[derive(Debug, Clone)]
struct Shown {
    /// The name of the stream.
    stream: usize,
    /// The number of the change that put the message in progress at that time.
    since: i64,
    text: String,
}

impl Row {
    fn state(&self) -> &State {
        self.states.last().expect("a state")
    }

    fn state_at(&self, change: i64) -> &State {
        self.states.iter().rev().find(|state| state.since <= change).expect("a state")
    }

    fn is_open(&self) -> bool {
        self.state().status == MessageStatus::InProgress
    }

    /// Returns the index of the stream that holds it, or held it last.
    fn last(&self) -> usize {
        self.shown.len() - 1
    }

    /// Returns the name of that stream.
    fn stream(&self) -> usize {
        self.shown[self.last()].stream
    }

    fn take_over(&mut self) {
        self.go_on(self.shown.len());
    }

    /// Adds a stream that goes on with the stored text.
    fn go_on(&mut self, stream: usize) {
        let State { since, content, .. } = self.state().clone();
        self.shown.push(Shown { stream, since, text: content });
    }

    /// Returns how far it is stored, as its stream says.
    fn mark(&self) -> Mark {
        let State { since, content, .. } = self.state();
        let (offset, since) = (length(content), Some(*since));
        Mark { sequence: self.sequence, offset, since, holder: Some(holder(self.stream())) }
    }
}

/// The subject of a change.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Message(usize),
    Analysis,
    Conversation,
}

/// A conversation, and the events on their way to its watchers.
#[derive(Debug, Default)]
struct Model {
    rows: Vec<Row>,
    /// The subject of every change, the first one first.
    changes: Vec<Kind>,
    over: bool,
    /// Events from this replica and from another.
    local: VecDeque<Event>,
    remote: VecDeque<Event>,
}

impl Model {
    fn here(&self) -> Position {
        let change = count(self.changes.len());
        Position { sequence: count(self.rows.len()), change, own: change, over: self.over }
    }

    /// Performs an action, through this replica or through another.
    fn act(&mut self, act: &Act, remote: bool) {
        let mut events = Vec::new();
        match act {
            Act::Add if !self.over => events.push(self.add(MessageStatus::Completed)),
            Act::Start if !self.over => events.push(self.add(MessageStatus::InProgress)),
            Act::Add | Act::Start => {}
            Act::Grow(index, length) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    let last = self.rows[at].last();
                    events.push(self.grow(at, last, *length));
                }
            }
            Act::Flush(index) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    events.extend(self.flush(at));
                }
            }
            Act::TakeOver(index) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    self.rows[at].take_over();
                    events.push(Event::Held(self.rows[at].mark()));
                }
            }
            Act::Lose(index) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    let row = &mut self.rows[at];
                    row.lossy = true;
                    row.go_on(row.stream());
                    events.push(Event::Lost(row.mark()));
                }
            }
            Act::Restart(index, same) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    self.change_message(at, MessageStatus::InProgress);
                    let row = &mut self.rows[at];
                    row.states.last_mut().expect("a state").content.clear();
                    row.go_on(if *same { row.stream() } else { row.shown.len() });
                    events.push(Event::Restarted(row.mark()));
                }
            }
            Act::GiveUp(index) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    events.push(self.change_message(at, MessageStatus::Incomplete));
                }
            }
            Act::Babble(index, stream, length) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress)
                    && self.rows[at].last() > 0
                {
                    let former = stream.index(self.rows[at].last());
                    events.push(self.grow(at, former, *length));
                }
            }
            Act::Close(index, whole) => {
                if let Some(at) = self.pick(index, MessageStatus::InProgress) {
                    events.extend(self.flush(at));
                    let status = if *whole { MessageStatus::Completed } else { MessageStatus::Incomplete };
                    events.push(self.change_message(at, status));
                }
            }
            Act::Reopen(index) => {
                if let Some(at) = self.pick(index, MessageStatus::Incomplete) {
                    self.change_message(at, MessageStatus::InProgress);
                    self.rows[at].take_over();
                    let Position { change, .. } = self.here();
                    events.push(Event::Moved { sequence: count(at + 1), change });
                }
            }
            Act::Update => {
                self.changes.push(Kind::Conversation);
                events.push(Event::Changed);
            }
            Act::End => {
                self.over = true;
                self.changes.push(Kind::Conversation);
                events.push(Event::Changed);
            }
            Act::GoOn if !self.over => {}
            Act::GoOn => {
                self.over = false;
                self.changes.push(Kind::Conversation);
                events.push(Event::Changed);
            }
            Act::Analyse => {
                self.changes.push(Kind::Analysis);
                events.push(Event::Changed);
            }
        }
        let there = |event| match event {
            Event::Added(message) => Event::Moved { sequence: message.sequence.into(), change: 0 },
            Event::Closed { change, message } => Event::Moved { sequence: message.sequence.into(), change },
            Event::Restarted(mark) => {
                Event::Moved { sequence: mark.sequence, change: mark.since.expect("a change") }
            }
            event => event,
        };
        if remote {
            self.remote.extend(events.into_iter().map(there));
        } else {
            self.local.extend(events);
        }
    }

    fn pick(&self, index: &prop::sample::Index, status: MessageStatus) -> Option<usize> {
        let found: Vec<_> =
            (0..self.rows.len()).filter(|at| self.rows[*at].state().status == status).collect();
        (!found.is_empty()).then(|| *index.get(&found))
    }

    fn add(&mut self, status: MessageStatus) -> Event {
        let at = self.rows.len();
        let whole = status == MessageStatus::Completed;
        let content = if whole { format!("whole {at}") } else { String::new() };
        let states = vec![State { since: 0, status, content }];
        let message_id = Uuid::from_u128(u128::try_from(at + 1).expect("a number"));
        let shown = vec![Shown { stream: 0, since: 0, text: String::new() }];
        self.rows.push(Row { message_id, sequence: count(at + 1), states, shown, lossy: false });
        Event::Added(Arc::new(self.message(at).into()))
    }

    fn grow(&mut self, at: usize, which: usize, length: u8) -> Event {
        let row = &mut self.rows[at];
        let Shown { stream, since, text: shown } = &mut row.shown[which];
        let offset = count(shown.len());
        // Every stream has letters of its own, and some take two bytes.
        let text: String = (0..=length % 4)
            .map(|place| {
                if place == 1 { 'ä' } else { char::from(b'a' + u8::try_from(which % 26).expect("a letter")) }
            })
            .collect();
        shown.push_str(&text);
        let (message_id, sequence, holder) = (row.message_id, row.sequence, Some(holder(*stream)));
        Event::Text(Text { message_id, sequence, offset, text: text.into(), since: Some(*since), holder })
    }

    fn flush(&mut self, at: usize) -> Option<Event> {
        let row = &mut self.rows[at];
        let shown = row.shown[row.last()].text.clone();
        let state = row.states.last_mut().expect("a state");
        let grows = state.content != shown;
        state.content = shown;
        grows.then(|| Event::Durable(row.mark()))
    }

    fn change_message(&mut self, at: usize, status: MessageStatus) -> Event {
        self.changes.push(Kind::Message(at));
        let Position { change, .. } = self.here();
        let row = &mut self.rows[at];
        let content = row.state().content.clone();
        row.states.push(State { since: change, status, content });
        Event::Closed { change, message: Arc::new(self.message(at).into()) }
    }

    fn message(&self, at: usize) -> Message {
        let row = &self.rows[at];
        Message {
            id: row.message_id,
            conversation_id: Uuid::nil(),
            sequence: count(at + 1),
            message_key: at.to_string(),
            role: Word(MessageRole::Assistant),
            author: String::new(),
            status: Word(row.state().status),
            content: row.state().content.clone(),
            content_type: "text/plain".to_owned(),
            ai: None,
            actions: Json(Vec::new()),
            metadata: serde_json::Value::Null,
            sent_at: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            revision: 1,
        }
    }

    /// Returns what `watch::actions::begin` would find.
    fn begin(&self, with_text: bool) -> Opening {
        let Position { sequence: last_sequence, change: change_count, own: _, over: _ } = self.here();
        let head =
            Head { id: Uuid::nil(), status: Word(ConversationStatus::Open), last_sequence, change_count };
        let open = (0..self.rows.len()).filter(|at| with_text && self.rows[*at].is_open());
        let open = open.map(|at| InProgress {
            message: self.message(at),
            // A message that never changed has no change number.
            change: if self.rows[at].states.len() == 1 { 0 } else { self.rows[at].state().since },
            holder: Some(holder(self.rows[at].stream())),
        });
        Opening { head, open: open.collect() }
    }

    /// Returns what `watch::actions::read` would find.
    fn read(&self, from: Position) -> Page {
        let Position { sequence: last_sequence, change: change_count, own: _, over: _ } = self.here();
        let (changes, messages) = (Vec::new(), Vec::new());
        let own = self.changes.iter().rposition(|kind| *kind == Kind::Conversation);
        let own = own.map_or(0, |index| count(index + 1));
        let reopened = (from.over && !self.over).then(|| Box::new(conversation(own, false)));
        let is_told = reopened.is_some();
        let mut page =
            Page { reopened, changes, messages, conversation: None, change: change_count, more: false };
        for (index, kind) in self.changes.iter().enumerate() {
            let change = count(index + 1);
            let latest = |at: usize| self.rows[at].state().since == change;
            let what = match kind {
                _ if change <= from.change => continue,
                Kind::Message(at) if count(at + 1) <= from.sequence && latest(*at) => {
                    What::Message(Box::new(self.message(*at)))
                }
                Kind::Message(_) => continue,
                Kind::Analysis => What::Analysis(Box::new(analysis(change))),
                Kind::Conversation => continue,
            };
            page.changes.push(Changed { change, what });
        }
        if page.changes.len() > PAGE.1 {
            page.changes.truncate(PAGE.1);
            page.change = page.changes.last().expect("a change").change;
            page.more = true;
            return page;
        }
        let rest = usize::try_from(from.sequence).expect("a place")..self.rows.len();
        page.messages = rest.take(PAGE.0).map(|at| self.message(at)).collect();
        page.more = page.messages.last().is_some_and(|last| last.sequence < last_sequence);
        if !page.more && !is_told && own > from.own {
            page.conversation = Some(Box::new(conversation(own, self.over)));
        }
        page
    }

    /// Returns what `watch::actions::read_text` would find.
    fn read_text(&self, message_id: Uuid) -> Option<Draft> {
        let row = self.rows.iter().find(|row| row.message_id == message_id).expect("a message");
        let holder = Some(holder(row.stream()));
        let State { since, content, .. } = row.state().clone();
        row.is_open().then_some(Draft { text: content, change: since, holder })
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a small number")
}

/// Returns the id of a stream.
fn holder(stream: usize) -> Uuid {
    Uuid::from_u128(1 << 64 | u128::try_from(stream).expect("a number"))
}

fn analysis(change: i64) -> Analysis {
    Analysis {
        id: Uuid::nil(),
        conversation_id: Uuid::nil(),
        version: i32::try_from(change).expect("a small number"),
        model: String::new(),
        covers_through_sequence: 0,
        topics: Texts::default(),
        questions: Texts::default(),
        objections: Json(Vec::new()),
        sentiment: None,
        summary: String::new(),
        change,
        created_at: DateTime::UNIX_EPOCH,
    }
}

fn conversation(own_change: i64, over: bool) -> Conversation {
    let status = if over { ConversationStatus::Ended } else { ConversationStatus::Open };
    Conversation {
        id: Uuid::nil(),
        customer_id: Uuid::nil(),
        session_id: String::new(),
        entry_point: None,
        contact_channel: None,
        modality: Word(Modality::Text),
        environment: Word(ConversationEnvironment::Live),
        presenter_kind: Word(PresenterKind::AiAgent),
        presenter_id: String::new(),
        presenter_name: String::new(),
        presenter_persona: String::new(),
        status: Word(status),
        started_at: DateTime::UNIX_EPOCH,
        ended_at: None,
        last_sequence: 0,
        last_message_at: None,
        latest_analysis: None,
        outcome: None,
        outcome_notes: own_change.to_string(),
        handoff_reason: None,
        follow_up_needed: false,
        follow_up_due_at: None,
        follow_up_notes: String::new(),
        metadata: serde_json::Value::Null,
        change_count: own_change,
        own_change,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        revision: 1,
    }
}

/// What a client knows about a message.
#[derive(Debug)]
struct Known {
    status: MessageStatus,
    /// `None` for a message that was in progress before the watch, until a snapshot comes.
    text: Option<String>,
    /// Whether this watch told the text. An earlier watch may have told text that is lost since.
    sure: bool,
}

/// A client that believes what it is told, and panics if that is impossible.
#[derive(Debug)]
struct Client {
    position: Position,
    include_deltas: bool,
    /// Whether it was told that the conversation ended.
    over: bool,
    known: Vec<Known>,
    /// The changes that it was told of.
    changes: BTreeSet<i64>,
}

impl Client {
    /// Creates a client that knows everything before this position.
    fn at(model: &Model, position: Position, include_deltas: bool) -> Self {
        let before = &model.rows[..usize::try_from(position.sequence).expect("a place")];
        let known = before.iter().map(|row| Known {
            status: row.state().status,
            text: (!row.is_open()).then(|| row.state().content.clone()),
            sure: false,
        });
        let over = position.over;
        Self { position, include_deltas, over, known: known.collect(), changes: BTreeSet::new() }
    }

    fn hear(&mut self, model: &Model, told: Told, position: Position) {
        let Position { sequence, change, own, over: _ } = self.position;
        assert!(position.sequence >= sequence && position.change >= change && position.own >= own);
        assert!(position.sequence <= model.here().sequence && position.change <= model.here().change);
        self.position = position;
        match told {
            Told::MessageAdded(pb::MessageAdded { message }) => {
                let message = message.expect("a message");
                assert_ne!(message.status(), MessageStatus::InProgress);
                self.meet(model, &message);
            }
            Told::MessageStarted(pb::MessageStarted { message }) => {
                let message = message.expect("a message");
                assert_eq!(message.status(), MessageStatus::InProgress);
                if i64::from(message.sequence) > count(self.known.len()) {
                    self.meet(model, &message);
                } else {
                    self.change(model, &message);
                }
            }
            Told::MessageFinished(pb::MessageFinished { message }) => {
                let message = message.expect("a message");
                assert_eq!(message.status(), MessageStatus::Completed);
                self.change(model, &message);
            }
            Told::MessageAborted(pb::MessageAborted { message }) => {
                let message = message.expect("a message");
                assert_eq!(message.status(), MessageStatus::Incomplete);
                self.change(model, &message);
            }
            Told::MessageSnapshot(text) => self.replace(model, text),
            Told::MessageDelta(text) => self.extend(model, text),
            Told::ConversationUpdated(pb::ConversationUpdated { conversation }) => {
                self.see(model, conversation, false);
            }
            Told::ConversationEnded(pb::ConversationEnded { conversation }) => {
                self.see(model, conversation, true);
            }
            Told::AnalysisRecorded(pb::AnalysisRecorded { analysis }) => {
                assert_eq!(i64::from(analysis.expect("an analysis").version), position.change);
                self.count(model, Kind::Analysis, position.change);
            }
            Told::Checkpoint(_) | Told::GoAway(_) => panic!("nobody said so"),
        }
    }

    /// Takes in a new message, as it was after the change at which the client stands.
    fn meet(&mut self, model: &Model, message: &pb::Message) {
        assert_eq!(i64::from(message.sequence), count(self.known.len()) + 1, "in order, each once");
        assert!(!self.over || model.over, "after the end comes the reopening, and then messages");
        assert_eq!(i64::from(message.sequence), self.position.sequence);
        let row = &model.rows[self.known.len()];
        let state = row.state_at(self.position.change);
        assert_eq!(message.status(), state.status);
        Self::check_text(state, row, message);
        self.known.push(Known { status: message.status(), text: Some(message.content.clone()), sure: true });
    }

    /// Takes in a change of a message that was told before.
    fn change(&mut self, model: &Model, message: &pb::Message) {
        let at = usize::try_from(message.sequence - 1).expect("a place");
        let row = &model.rows[at];
        let state = row.states.iter().find(|state| state.since == self.position.change);
        let state = state.expect("told at its change");
        assert_eq!(message.status(), state.status);
        Self::check_text(state, row, message);
        self.count(model, Kind::Message(at), self.position.change);
        let known = &self.known[at];
        if let Some(text) = known.text.as_ref().filter(|_| self.include_deltas && known.sure)
            && message.status() != MessageStatus::InProgress
        {
            let content = &message.content;
            assert!(content.starts_with(text), "{text:?} was not taken back before it ended as {content:?}");
        }
        self.known[at] = Known { status: message.status(), text: Some(message.content.clone()), sure: true };
    }

    fn check_text(state: &State, row: &Row, message: &pb::Message) {
        // Only a restart takes stored text back, and a closed message has all of its text.
        assert!(state.content.starts_with(&message.content));
        if message.status() != MessageStatus::InProgress {
            let same = |state: &State| state.status == message.status() && state.content == message.content;
            assert!(row.states.iter().any(same), "{message:?} was never so: {row:?}");
        }
    }

    fn replace(&mut self, model: &Model, text: pb::MessageText) {
        assert!(self.include_deltas);
        let (at, row) = Self::row(model, &text);
        assert_eq!(text.offset, 0);
        let has = |state: &State| state.content.starts_with(&text.text);
        assert!(row.states.iter().any(has), "a snapshot is what is stored");
        self.known[at].text = Some(text.text);
        self.known[at].sure = true;
    }

    fn extend(&mut self, model: &Model, text: pb::MessageText) {
        assert!(self.include_deltas && !text.text.is_empty());
        let (at, row) = Self::row(model, &text);
        let Known { status, text: known, sure: _ } = &mut self.known[at];
        assert_eq!(*status, MessageStatus::InProgress);
        let known = known.as_mut().expect("a snapshot comes before the first delta");
        assert_eq!(i64::from(text.offset), length(known), "deltas are contiguous");
        known.push_str(&text.text);
        let is_of = |shown: &Shown| shown.text.starts_with(known.as_str());
        assert!(row.lossy || row.shown.iter().any(is_of), "{known:?} is of no stream of {row:?}");
    }

    fn row<'m>(model: &'m Model, text: &pb::MessageText) -> (usize, &'m Row) {
        let at = usize::try_from(text.sequence - 1).expect("a place");
        assert_eq!(text.message_id, model.rows[at].message_id.to_string());
        (at, &model.rows[at])
    }

    fn see(&mut self, model: &Model, conversation: Option<pb::Conversation>, ends: bool) {
        let conversation = conversation.expect("a conversation");
        assert_eq!(conversation.outcome_notes, self.position.own.to_string());
        let over = conversation.status() == ConversationStatus::Ended;
        assert_eq!(ends, over && !self.over, "the end is told once");
        assert_eq!(self.position.over, over);
        self.over = over;
        assert!(!over || self.known.len() == model.rows.len(), "the end is told after all messages");
        self.count(model, Kind::Conversation, self.position.own);
    }

    fn count(&mut self, model: &Model, kind: Kind, change: i64) {
        assert_eq!(model.changes[usize::try_from(change - 1).expect("a change")], kind);
        assert!(self.changes.insert(change), "change {change} is told twice");
    }

    /// Checks that the client knows everything, after all was told.
    fn check_complete(&self, model: &Model, began: Position) {
        assert_eq!(self.position.sequence, model.here().sequence);
        // A reopening is told before changes that came earlier, and these are told at their own numbers. Beyond
        // the last of them there are only changes that were told before.
        let here = usize::try_from(self.position.change).expect("a change");
        assert!(model.changes[here..].iter().all(|kind| *kind == Kind::Conversation));
        assert_eq!(self.known.len(), model.rows.len());
        for (known, row) in self.known.iter().zip(&model.rows) {
            assert_eq!(known.status, row.state().status);
            if !row.is_open() || self.include_deltas && !row.lossy {
                assert_eq!(known.text.as_ref(), Some(&row.state().content), "{row:?}");
            }
        }
        let missed = |kind: Kind| {
            let all = model.changes.iter().zip(1..).filter(move |(found, _)| **found == kind);
            all.map(|(_, change)| change).filter(|change| *change > began.change)
        };
        assert!(missed(Kind::Analysis).all(|change| self.changes.contains(&change)));
        assert!(missed(Kind::Conversation).last().is_none_or(|last| self.changes.contains(&last)));
    }
}

/// A watcher without its I/O, and its client.
struct Watch {
    follower: Follower,
    client: Client,
    behind: bool,
}

impl Watch {
    fn open(model: &Model, client: Client) -> Self {
        let follower =
            Follower::new(client.position, client.include_deltas, model.begin(client.include_deltas));
        let behind = client.position != model.here();
        Self { follower, client, behind }
    }

    /// Lets the client take this many events.
    fn take(&mut self, model: &Model, most: usize) {
        for _ in 0..most {
            let Some((told, position)) = self.follower.next() else { return };
            self.client.hear(model, told, position);
        }
    }

    fn look(&mut self, model: &Model) {
        loop {
            let page = model.read(self.follower.position());
            self.behind = page.more;
            self.follower.read(page);
            if !self.behind {
                return;
            }
        }
    }

    /// Handles an event as the watcher does, with a database that answers at once.
    fn hear(&mut self, model: &mut Model, event: &Event) {
        if self.behind {
            self.look(model);
        }
        for attempt in 0..ATTEMPTS {
            match self.follower.hear(event) {
                Next::Done => break,
                Next::CatchUp if attempt > 0 => break,
                Next::CatchUp => self.look(model),
                Next::ReadText(message_id) => {
                    let text = model.read_text(message_id);
                    if text.is_none() {
                        self.look(model);
                        break;
                    }
                    if self.follower.read_text(message_id, text) == Next::CatchUp {
                        self.look(model);
                    }
                    if attempt > 0 {
                        // By then the stream has stored its text.
                        let at = model.rows.iter().position(|row| row.message_id == message_id);
                        let durable = model.flush(at.expect("a message"));
                        model.local.extend(durable);
                    }
                }
            }
        }
        self.take(model, usize::MAX);
    }

    /// Does what the watcher does when it may have missed something.
    fn doubt(&mut self, model: &Model) {
        for message_id in self.follower.doubt() {
            // The look tells what changed since.
            let _ = self.follower.read_text(message_id, model.read_text(message_id));
        }
        self.look(model);
        self.take(model, usize::MAX);
    }

    fn meet(&mut self, model: &mut Model, fate: &Fate) {
        match fate {
            Fate::Hear { remote, repeated } => {
                let queue = if *remote { &mut model.remote } else { &mut model.local };
                let Some(event) = queue.front().cloned() else { return };
                if !repeated {
                    queue.pop_front();
                }
                self.hear(model, &event);
            }
            Fate::Lose { remote: true } => drop(model.remote.pop_front()),
            Fate::Delay { remote } => {
                let queue = if *remote { &mut model.remote } else { &mut model.local };
                let late = queue.pop_front();
                queue.extend(late);
            }
            // A watcher that is too slow in this replica is told that it missed something.
            Fate::Lose { remote: false } => {
                if model.local.pop_front().is_some() {
                    self.doubt(model);
                }
            }
            Fate::Look => {
                self.look(model);
                self.take(model, usize::MAX);
            }
            Fate::Leave(most) => {
                self.look(model);
                self.take(model, *most);
                let Client { position, include_deltas, over, known, changes } = std::mem::replace(
                    &mut self.client,
                    Client::at(&Model::default(), Position::default(), false),
                );
                // A new watch hears no event from before it.
                model.local.clear();
                model.remote.clear();
                let mut client = Client { position, include_deltas, over, known, changes };
                client.known.iter_mut().for_each(|known| known.sure = false);
                *self = Self::open(model, client);
                self.take(model, usize::MAX);
            }
        }
    }
}

/// The point where a watch begins.
#[derive(Debug, Clone)]
enum Begin {
    Now,
    After(prop::sample::Index),
}

fn watch(begin: &Begin, before: &[Act], steps: &[Step], include_deltas: bool) {
    let mut model = Model::default();
    for act in before {
        model.act(act, false);
    }
    model.local.clear();
    let here = model.here();
    let began = match begin {
        Begin::Now => here,
        Begin::After(index) => Position { sequence: count(index.index(model.rows.len() + 1)), ..here },
    };
    let client = Client::at(&model, began, include_deltas);
    let mut watch = Watch::open(&model, client);
    watch.take(&model, usize::MAX);
    for step in steps {
        match step {
            Step::Act { act, remote } => model.act(act, *remote),
            Step::Fate(fate) => watch.meet(&mut model, fate),
        }
    }
    // In the end all text is stored, and all events on their way arrive.
    for at in 0..model.rows.len() {
        if model.rows[at].is_open() {
            model.flush(at);
            model.local.push_back(Event::Durable(model.rows[at].mark()));
        }
    }
    for remote in [true, false] {
        while !if remote { &model.remote } else { &model.local }.is_empty() {
            watch.meet(&mut model, &Fate::Hear { remote, repeated: false });
        }
    }
    watch.meet(&mut model, &Fate::Look);
    watch.client.check_complete(&model, began);
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Act::Add),
        3 => Just(Act::Start),
        6 => (index(), any::<u8>()).prop_map(|(index, length)| Act::Grow(index, length)),
        3 => index().prop_map(Act::Flush),
        1 => index().prop_map(Act::TakeOver),
        1 => (index(), index(), any::<u8>())
            .prop_map(|(index, stream, length)| Act::Babble(index, stream, length)),
        1 => index().prop_map(Act::Lose),
        2 => (index(), any::<bool>()).prop_map(|(index, same)| Act::Restart(index, same)),
        1 => index().prop_map(Act::GiveUp),
        2 => (index(), any::<bool>()).prop_map(|(index, whole)| Act::Close(index, whole)),
        2 => index().prop_map(Act::Reopen),
        1 => Just(Act::Update),
        1 => prop_oneof![9 => Just(Act::Update), 2 => Just(Act::End), 1 => Just(Act::GoOn)],
        1 => Just(Act::Analyse),
    ]
}

fn begin() -> impl Strategy<Value = Begin> {
    prop_oneof![Just(Begin::Now), any::<prop::sample::Index>().prop_map(Begin::After)]
}

/// Generates any step.
fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        8 => (any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(remote, repeated)| Fate::Hear { remote, repeated }),
        1 => any::<bool>().prop_map(|remote| Fate::Lose { remote }),
        1 => any::<bool>().prop_map(|remote| Fate::Delay { remote }),
        1 => Just(Fate::Look),
        1 => (0..6_usize).prop_map(Fate::Leave),
    ];
    prop_oneof![
        (act(), any::<bool>()).prop_map(|(act, remote)| Step::Act { act, remote }),
        fate.prop_map(Step::Fate),
    ]
}

/// Generates steps for the text of a message that many streams compete for.
fn contested_step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let act = prop_oneof![
        6 => (index(), any::<u8>()).prop_map(|(index, length)| Act::Grow(index, length)),
        2 => index().prop_map(Act::Flush),
        2 => index().prop_map(Act::TakeOver),
        1 => (index(), any::<bool>()).prop_map(|(index, same)| Act::Restart(index, same)),
        4 => (index(), index(), any::<u8>())
            .prop_map(|(index, stream, length)| Act::Babble(index, stream, length)),
    ];
    let fate = prop_oneof![
        8 => (any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(remote, repeated)| Fate::Hear { remote, repeated }),
        3 => any::<bool>().prop_map(|remote| Fate::Lose { remote }),
        2 => any::<bool>().prop_map(|remote| Fate::Delay { remote }),
    ];
    prop_oneof![
        (act, any::<bool>()).prop_map(|(act, remote)| Step::Act { act, remote }),
        fate.prop_map(Step::Fate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_gets_lost_all_is_told_once_and_in_order(
        begin in begin(),
        before in prop::collection::vec(act(), 0..12),
        steps in prop::collection::vec(step(), 0..80),
        include_deltas: bool,
    ) {
        watch(&begin, &before, &steps, include_deltas);
    }

    #[test]
    fn texts_of_two_streams_are_never_mixed(
        begin in begin(),
        steps in prop::collection::vec(contested_step(), 0..80),
    ) {
        watch(&begin, &[Act::Start], &steps, true);
    }
}

/// Returns a watcher that was told "Hello" of the first message by the first stream. `stored` bytes of it are
/// stored.
fn told_hello(stored: usize) -> (Follower, Uuid) {
    let mut model = Model::default();
    model.act(&Act::Start, false);
    let mut follower = Follower::new(Position::default(), true, model.begin(true));
    let message_id = model.rows[0].message_id;
    for event in model.local.drain(..) {
        assert_eq!(follower.hear(&event), Next::Done);
    }
    assert_eq!(follower.hear(&text(message_id, 0, 0, "Hello")), Next::Done);
    let offset = count(stored);
    assert_eq!(follower.hear(&Event::Durable(mark(0, offset))), Next::Done);
    while follower.next().is_some() {}
    (follower, message_id)
}

fn text(message_id: Uuid, stream: usize, offset: i64, text: &str) -> Event {
    let (since, holder) = (Some(0), Some(holder(stream)));
    Event::Text(Text { message_id, sequence: 1, offset, text: text.into(), since, holder })
}

fn mark(stream: usize, offset: i64) -> Mark {
    Mark { sequence: 1, offset, since: Some(0), holder: Some(holder(stream)) }
}

fn draft(stream: usize, text: &str) -> Option<Draft> {
    Some(Draft { text: text.to_owned(), change: 0, holder: Some(holder(stream)) })
}

#[test]
fn text_of_a_stream_that_nobody_announced_replaces_what_is_not_stored() {
    let (mut follower, id) = told_hello(2);
    let other = text(id, 1, 2, "rmes!!");
    assert_eq!(follower.hear(&other), Next::ReadText(id));
    follower.read_text(id, draft(1, "He"));
    assert_eq!(follower.hear(&other), Next::Done);
    let told: Vec<_> = std::iter::from_fn(|| follower.next()).map(|(told, _)| told).collect();
    let expected = [snapshot(id, 1, "He".to_owned()), delta(id, 1, 2, "rmes!!".to_owned())];
    assert_eq!(told, expected);
}

#[test]
fn text_of_a_stream_that_lost_the_message_is_asked_for_once_and_passed_over() {
    let (mut follower, id) = told_hello(2);
    let late = text(id, 1, 5, " you");
    assert_eq!(follower.hear(&late), Next::ReadText(id));
    follower.read_text(id, draft(0, "He"));
    assert_eq!(follower.hear(&late), Next::Done);
    assert_eq!(follower.hear(&text(id, 1, 9, " there")), Next::Done);
    assert_eq!(follower.next(), None);
    assert_eq!(follower.hear(&text(id, 0, 5, "!")), Next::Done);
    assert_eq!(follower.next().map(|(told, _)| told), Some(delta(id, 1, 5, "!".to_owned())));
}

#[test]
fn a_stream_that_goes_on_with_what_is_stored_costs_no_question() {
    let (mut follower, id) = told_hello(5);
    let held = Event::Held(mark(1, 5));
    assert_eq!(follower.hear(&held), Next::Done);
    assert_eq!(follower.hear(&text(id, 1, 5, "!")), Next::Done);
    assert_eq!(follower.next().map(|(told, _)| told), Some(delta(id, 1, 5, "!".to_owned())));
}

/// Returns the end of the first message, with this text, by the first change.
fn end(message_id: Uuid, content: &str, status: MessageStatus) -> Event {
    let message = pb::Message {
        id: message_id.to_string(),
        sequence: 1,
        content: content.to_owned(),
        status: status.into(),
        ..Default::default()
    };
    Event::Closed { change: 1, message: Arc::new(message) }
}

fn all(follower: &mut Follower) -> Vec<Told> {
    std::iter::from_fn(|| follower.next()).map(|(told, _)| told).collect()
}

#[test]
fn text_that_was_lost_is_taken_back_before_the_end() {
    // The message is given up after its last text was lost with the database, and no signal said so.
    let (mut follower, id) = told_hello(2);
    let given_up = end(id, "He", MessageStatus::Incomplete);
    assert_eq!(follower.hear(&given_up), Next::Done);
    let Event::Closed { message, .. } = &given_up else { panic!("it is an end") };
    assert_eq!(all(&mut follower), [snapshot(id, 1, "He".to_owned()), closed(message)]);

    // It ended with other text of the same length, which the stream says is stored.
    let (mut follower, id) = told_hello(2);
    assert_eq!(follower.hear(&Event::Durable(mark(0, 5))), Next::Done);
    let finished = end(id, "Helmet", MessageStatus::Completed);
    assert_eq!(follower.hear(&finished), Next::Done);
    let Event::Closed { message, .. } = &finished else { panic!("it is an end") };
    assert_eq!(all(&mut follower), [snapshot(id, 1, "Helmet".to_owned()), closed(message)]);

    // Nothing was lost, though not all text was told.
    let (mut follower, id) = told_hello(2);
    let finished = end(id, "Hello, you", MessageStatus::Completed);
    assert_eq!(follower.hear(&finished), Next::Done);
    let Event::Closed { message, .. } = &finished else { panic!("it is an end") };
    assert_eq!(all(&mut follower), [closed(message)]);
}

#[test]
fn a_snapshot_before_the_end_leaves_the_end_to_be_told_to_whoever_resumes_after_it() {
    let (mut follower, id) = told_hello(2);
    assert_eq!(follower.hear(&end(id, "He", MessageStatus::Incomplete)), Next::Done);
    let changes: Vec<_> =
        std::iter::from_fn(|| follower.next()).map(|(_, position)| position.change).collect();
    assert_eq!(changes, [0, 1]);
}

#[test]
fn text_that_its_stream_lost_is_read_when_something_comes_of_it() {
    let (mut follower, id) = told_hello(2);
    assert_eq!(follower.hear(&Event::Lost(mark(1, 2))), Next::Done, "another stream's");
    assert_eq!(follower.hear(&text(id, 0, 5, "!")), Next::Done);
    assert_eq!(all(&mut follower), [delta(id, 1, 5, "!".to_owned())]);
    assert_eq!(follower.hear(&Event::Lost(mark(0, 2))), Next::Done);
    assert_eq!(all(&mut follower), []);
    let other = text(id, 0, 2, "lmet");
    assert_eq!(follower.hear(&other), Next::ReadText(id));
    assert_eq!(follower.read_text(id, draft(0, "He")), Next::Done);
    assert_eq!(follower.hear(&other), Next::Done);
    let expected = [snapshot(id, 1, "He".to_owned()), delta(id, 1, 2, "lmet".to_owned())];
    assert_eq!(all(&mut follower), expected);
}

#[test]
fn a_restart_is_a_snapshot_of_nothing_and_what_came_before_it_is_passed_over() {
    let (mut follower, id) = told_hello(5);
    let again = |stream, offset| Mark { since: Some(1), ..mark(stream, offset) };
    assert_eq!(follower.hear(&Event::Restarted(again(0, 0))), Next::Done);
    assert_eq!(all(&mut follower), [snapshot(id, 1, String::new())]);
    // Late text of the same stream, from before the restart.
    assert_eq!(follower.hear(&text(id, 0, 0, "Hello, you")), Next::Done);
    assert_eq!(follower.hear(&Event::Durable(mark(0, 10))), Next::Done);
    assert_eq!(all(&mut follower), []);
    let Event::Text(late) = text(id, 0, 0, "Bye") else { panic!("it is text") };
    assert_eq!(follower.hear(&Event::Text(Text { since: Some(1), ..late })), Next::Done);
    assert_eq!(all(&mut follower), [delta(id, 1, 0, "Bye".to_owned())]);
    assert_eq!(follower.hear(&Event::Restarted(again(0, 0))), Next::Done, "it is known");

    // A restart that was not heard is found by what comes after it, and by what is read.
    let (mut follower, id) = told_hello(5);
    let Event::Text(unheard) = text(id, 1, 5, "x") else { panic!("it is text") };
    assert_eq!(follower.hear(&Event::Text(Text { since: Some(1), ..unheard })), Next::CatchUp);
    assert_eq!(follower.hear(&Event::Held(again(1, 5))), Next::CatchUp);
    let draft = draft(1, "Other").map(|draft| Draft { change: 1, ..draft });
    assert_eq!(follower.read_text(id, draft), Next::CatchUp);
    assert_eq!(all(&mut follower), []);
}
