//! A client that keeps the contract, over connections that break, and a server that commits at any time. In any
//! case, every text arrives as it was sent.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// A message that a client wants to write.
#[derive(Debug, Clone)]
struct Wish {
    talk: u128,
    key: String,
    /// Its text, and its texts before restarts.
    text: String,
    former: Vec<String>,
    /// Whether it is sent in one piece.
    whole: bool,
}

/// The progress of a client with a wish.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Whether `start` was sent on this connection.
    started: bool,
    /// Whether the next start drops the text so far.
    anew: bool,
    /// The offset of the next delta.
    next: usize,
    /// The number of bytes that are known to be durable.
    durable: usize,
    finished: bool,
    done: bool,
}

/// A request that was sent, and the wish that it belongs to.
#[derive(Debug, Clone)]
struct Sent {
    wish: usize,
    /// The number of restarts of the client before it.
    attempt: usize,
    action: Command,
}

/// A connection, and its state on the server.
struct Connection {
    session: Session,
    /// Whether the client still has it.
    alive: bool,
    /// Whether the server knows that the client has left it.
    ended: bool,
    /// The requests of each slot that is not answered.
    slots: BTreeMap<u64, Vec<Sent>>,
    /// Deltas that have no slot yet.
    buffered: BTreeMap<String, Vec<Sent>>,
    /// The ticket that is answered next.
    next_answer: u64,
    /// The text that watchers were shown, for each text of which they may be shown more: the change that put the
    /// message in progress, and the end.
    shown: BTreeMap<String, (i64, i64)>,
    /// The outcomes that the session has not received yet.
    outcomes: VecDeque<(u64, Write, Outcome)>,
}

struct World {
    wishes: Vec<Wish>,
    progress: Vec<Progress>,
    connections: Vec<Connection>,
    /// The writes in the order in which they were submitted, each with its connection.
    lane: VecDeque<(usize, u64, Write)>,
    tables: Tables,
    /// All requests ever sent, to send them again.
    history: Vec<Sent>,
    begin: Instant,
    /// The milliseconds since `begin`.
    clock: u64,
    producer: &'static str,
}

#[derive(Debug, Clone)]
enum Event {
    /// The client goes on with a wish: this many requests, each of so many characters.
    Send { wish: prop::sample::Index, requests: usize, characters: usize },
    /// It sends text again from an earlier point on.
    Overlap { wish: prop::sample::Index, back: usize, characters: usize },
    /// It gives a message up, and may start it again.
    Abort { wish: prop::sample::Index, restart: bool },
    /// It restarts a message, with another text that begins like the one before.
    Rewrite { wish: prop::sample::Index, keeps: usize, text: String },
    /// It sends an earlier request again, through any connection.
    Repeat(prop::sample::Index),
    /// The server commits so many writes.
    Commit(usize),
    /// The database does not answer for so many writes. It has applied them or not.
    Fail { writes: usize, happened: bool },
    /// Sessions receive so many outcomes.
    Hear(usize),
    /// The client reads so many answers.
    Read(usize),
    /// Time passes, and the server stores the text that is due.
    Wait(u64),
    /// The connection breaks. The server notices at once, or later.
    Break { noticed: bool, other_producer: bool },
    /// The server notices that connections broke.
    Notice,
    /// Leases run out.
    Expire,
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        12 => (index(), 1..6usize, 0..12usize)
            .prop_map(|(wish, requests, characters)| Event::Send { wish, requests, characters }),
        2 => (index(), 1..300usize, 1..3usize)
            .prop_map(|(wish, requests, characters)| Event::Send { wish, requests, characters }),
        2 => (index(), 0..20usize, 0..30usize)
            .prop_map(|(wish, back, characters)| Event::Overlap { wish, back, characters }),
        1 => (index(), any::<bool>()).prop_map(|(wish, restart)| Event::Abort { wish, restart }),
        2 => (index(), 0..40usize, "[ -~äß€👋]{1,100}")
            .prop_map(|(wish, keeps, text)| Event::Rewrite { wish, keeps, text }),
        3 => index().prop_map(Event::Repeat),
        8 => (1..40usize).prop_map(Event::Commit),
        1 => (1..10usize, any::<bool>()).prop_map(|(writes, happened)| Event::Fail { writes, happened }),
        8 => (1..40usize).prop_map(Event::Hear),
        8 => (1..60usize).prop_map(Event::Read),
        6 => (1..120u64).prop_map(Event::Wait),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(noticed, other_producer)| Event::Break { noticed, other_producer }),
        1 => Just(Event::Notice),
        1 => Just(Event::Expire),
    ]
}

fn wish() -> impl Strategy<Value = (usize, String, bool)> {
    (0..TALKS.len(), "[ -~äß€👋]{1,400}", prop::bool::weighted(0.2))
}

impl World {
    fn new(wishes: Vec<(usize, String, bool)>) -> Self {
        let wishes: Vec<_> = wishes
            .into_iter()
            .enumerate()
            .map(|(number, (talk, text, whole))| Wish {
                talk: TALKS[talk],
                key: number.to_string(),
                text,
                former: Vec::new(),
                whole,
            })
            .collect();
        let mut world = Self {
            progress: wishes.iter().map(|_| Progress::default()).collect(),
            wishes,
            connections: Vec::new(),
            lane: VecDeque::new(),
            tables: tables(),
            history: Vec::new(),
            begin: Instant::now(),
            clock: 0,
            producer: "p",
        };
        world.connect();
        world
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.clock)
    }

    fn connect(&mut self) {
        for progress in &mut self.progress {
            *progress = Progress {
                next: progress.durable,
                durable: progress.durable,
                done: progress.done,
                anew: progress.anew,
                ..Progress::default()
            };
        }
        self.connections.push(Connection {
            session: Session::new(Uuid::new_v4()),
            alive: true,
            ended: false,
            slots: BTreeMap::new(),
            buffered: BTreeMap::new(),
            next_answer: 0,
            shown: BTreeMap::new(),
            outcomes: VecDeque::new(),
        });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send { wish, requests, characters } => {
                let wish = wish.index(self.wishes.len());
                (0..requests).for_each(|_| self.go_on(wish, characters));
            }
            Event::Overlap { wish, back, characters } => {
                self.overlap(wish.index(self.wishes.len()), back, characters)
            }
            Event::Abort { wish, restart } => self.abort(wish.index(self.wishes.len()), restart),
            Event::Rewrite { wish, keeps, text } => {
                self.rewrite(wish.index(self.wishes.len()), keeps, &text);
            }
            Event::Repeat(_) if self.history.is_empty() => {}
            Event::Repeat(index) => {
                let sent = self.history[index.index(self.history.len())].clone();
                self.send_again(sent);
            }
            Event::Commit(writes) => self.commit(writes),
            Event::Fail { writes, happened } => self.fail(writes, happened),
            Event::Hear(outcomes) => self.hear(outcomes),
            Event::Read(answers) => self.read(answers),
            Event::Wait(milliseconds) => self.wait(milliseconds),
            Event::Break { noticed, other_producer } => {
                let last = self.connections.len() - 1;
                self.connections[last].alive = false;
                if noticed {
                    self.notice();
                }
                if other_producer {
                    self.producer = if self.producer == "p" { "q" } else { "p" };
                }
                self.connect();
            }
            Event::Notice => self.notice(),
            Event::Expire => self.expire(),
        }
        self.check();
    }

    /// Sends the next request for a wish, if there is one.
    fn go_on(&mut self, wish: usize, characters: usize) {
        let Wish { key, text, whole, .. } = self.wishes[wish].clone();
        let Progress { started, anew, next, finished, done, .. } = self.progress[wish];
        if done || finished {
            return;
        }
        let action = if whole {
            message(&key, &text)
        } else if !started && anew {
            restart(&key, self.producer)
        } else if !started {
            start(&key, self.producer)
        } else if next < text.len() {
            let piece = beginning(&text[next..], characters);
            delta(&key, next, piece)
        } else {
            finish(&key, text.len())
        };
        if !self.send(wish, action.clone()) {
            return;
        }
        let progress = &mut self.progress[wish];
        match action {
            Command::Start(start) => {
                progress.started = true;
                progress.next = if start.restart { 0 } else { progress.next };
            }
            Command::Delta(piece) => progress.next += piece.text.len(),
            _ => progress.finished = true,
        }
    }

    /// Sends text from an earlier point on, with or without the text that comes next.
    fn overlap(&mut self, wish: usize, back: usize, characters: usize) {
        let Wish { key, text, whole, .. } = self.wishes[wish].clone();
        let Progress { started, next, .. } = self.progress[wish];
        if whole || !started {
            return;
        }
        let from =
            (0..=next.saturating_sub(back)).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
        let piece = beginning(&text[from..], characters);
        let end = from + piece.len();
        if self.send(wish, delta(&key, from, piece)) {
            self.progress[wish].next = next.max(end);
        }
    }

    fn abort(&mut self, wish: usize, restart: bool) {
        let Wish { key, whole, .. } = self.wishes[wish].clone();
        if whole || !self.progress[wish].started || self.progress[wish].finished {
            return;
        }
        if self.send(wish, abort(&key)) {
            // Until a restart is acknowledged, the client restarts again.
            let again = if self.progress[wish].anew { super::restart } else { start };
            let action = again(&key, self.producer);
            self.progress[wish].started = restart && self.send(wish, action);
            if self.progress[wish].anew {
                self.progress[wish].next = 0;
            }
        }
    }

    /// Restarts a message with another text. The client does not send the former text again.
    fn rewrite(&mut self, wish: usize, keeps: usize, text: &str) {
        let Progress { done, .. } = self.progress[wish];
        let Wish { text: current, former, whole, .. } = &mut self.wishes[wish];
        if *whole || done {
            return;
        }
        let text = format!("{}{text}", beginning(current, keeps));
        former.push(std::mem::replace(current, text));
        self.history.retain(|sent| sent.wish != wish);
        self.progress[wish] = Progress { anew: true, ..Progress::default() };
    }

    fn send(&mut self, wish: usize, action: Command) -> bool {
        let attempt = self.wishes[wish].former.len();
        self.send_again(Sent { wish, attempt, action })
    }

    /// Sends a request, if the server reads it. Returns whether it did.
    fn send_again(&mut self, sent: Sent) -> bool {
        let last = self.connections.len() - 1;
        let now = self.now();
        let request = request(self.wishes[sent.wish].talk, sent.action.clone());
        let connection = &mut self.connections[last];
        if !connection.session.has_room() {
            return false;
        }
        let mut steps = Vec::new();
        let before = connection.session.slots.len();
        connection.session.accept(request, now, &mut steps);
        let new: Vec<Kind> = connection.session.slots.iter().skip(before).map(|slot| slot.kind).collect();
        let is_text = matches!(sent.action, Command::Delta(_));
        if is_text && new.last() != Some(&Kind::Other) {
            let key = self.wishes[sent.wish].key.clone();
            connection.buffered.entry(key).or_default().push(sent.clone());
        } else {
            let slots = u64::try_from(connection.session.slots.len()).expect("a few");
            let ticket = connection.session.first + slots - 1;
            assert!(connection.slots.insert(ticket, vec![sent.clone()]).is_none());
        }
        self.history.push(sent);
        self.take(last, steps);
        true
    }

    /// Takes the steps that a session asks for.
    fn take(&mut self, index: usize, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Write(ticket, write) => {
                    if let Change::Extend { .. } = &write.change {
                        let connection = &mut self.connections[index];
                        let place = usize::try_from(ticket - connection.session.first).expect("a slot");
                        let requests = connection.session.slots[place].requests;
                        let buffered = connection.buffered.get_mut(&write.message_key);
                        let deltas = buffered.expect("text is stored of deltas that came").drain(..requests);
                        assert!(connection.slots.insert(ticket, deltas.collect()).is_none());
                    }
                    self.lane.push_back((index, ticket, write));
                }
                Step::Show(talk, shown) => self.show(index, talk, &shown),
                Step::Lose(talk, mark) => {
                    let row = self
                        .tables
                        .messages
                        .iter()
                        .find(|((id, _), row)| *id == talk && row.sequence == mark.sequence);
                    let ((_, key), _) = row.expect("what is lost was shown");
                    let since = mark.since.expect("a stream knows it");
                    let shown =
                        self.connections[index].shown.entry(key.clone()).or_insert((since, mark.offset));
                    if shown.0 == since {
                        shown.1 = mark.offset.min(shown.1);
                    }
                }
            }
        }
    }

    /// Watchers are shown text of a wish. It must follow on what they were shown.
    fn show(&mut self, index: usize, talk: Uuid, shown: &Shown) {
        let row = self.tables.messages.iter().find(|(_, row)| row.id == shown.message_id);
        let ((conversation, key), row) = row.expect("what is shown is there");
        assert_eq!((*conversation, row.sequence), (talk, shown.sequence));
        let wish = self.wishes.iter().find(|wish| wish.key == *key).expect("a wish");
        let from = usize::try_from(shown.offset).expect("not before the text");
        let has = |text: &String| text.get(from..from + shown.text.len()) == Some(&*shown.text);
        assert!(wish.texts().any(has), "another text");
        let (since, expected) =
            self.connections[index].shown.get_mut(key).expect("a message that was started");
        assert_eq!(shown.since, Some(*since), "text of another attempt");
        assert!(shown.offset >= *expected, "a repeat");
        // Text that is skipped is stored, and watchers are told so. If the message has restarted since, in another
        // stream, watchers pass over this text.
        let is_former = shown.since < row.change.or(Some(0));
        assert!(shown.offset == *expected || shown.offset <= length(&row.text()) || is_former, "a gap");
        *expected = shown.offset + length(&shown.text);
    }

    fn commit(&mut self, writes: usize) {
        let batch: Vec<_> = self.lane.drain(..writes.min(self.lane.len())).collect();
        let writes: Vec<Write> = batch.iter().map(|(_, _, write)| write.clone()).collect();
        let outcomes = self.tables.commit(&writes);
        let mut left = Vec::new();
        for ((index, ticket, write), outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Some(outcome) => self.tell(index, ticket, write, outcome),
                None => left.push((index, ticket, write)),
            }
        }
        for write in left.into_iter().rev() {
            self.lane.push_front(write);
        }
    }

    /// The outcome of writes is unknown.
    fn fail(&mut self, writes: usize, happened: bool) {
        let batch: Vec<_> = self.lane.drain(..writes.min(self.lane.len())).collect();
        if happened {
            let writes: Vec<Write> = batch.iter().map(|(_, _, write)| write.clone()).collect();
            self.tables.commit_all(&writes);
        }
        for (index, ticket, write) in batch {
            self.tell(index, ticket, write, Err(Error::database_unavailable("nobody knows")));
        }
    }

    fn tell(&mut self, index: usize, ticket: u64, write: Write, outcome: Outcome) {
        // No session waits for the writes of the service itself.
        if let Some(connection) = self.connections.get_mut(index) {
            connection.outcomes.push_back((ticket, write, outcome));
        }
    }

    fn hear(&mut self, outcomes: usize) {
        for index in 0..self.connections.len() {
            for _ in 0..outcomes {
                let connection = &mut self.connections[index];
                let Some((ticket, write, outcome)) = connection.outcomes.pop_front() else { break };
                if let (Change::Start { .. }, Ok(placed)) = (&write.change, &outcome)
                    && placed.status == MessageStatus::InProgress
                {
                    let (since, durable) = (placed.since, placed.durable_offset);
                    let shown = connection.shown.entry(write.message_key.clone()).or_insert((since, durable));
                    let goes_on = placed.effect == rules::Effect::None && shown.0 == since;
                    *shown = (since, if goes_on { durable.max(shown.1) } else { durable });
                }
                if let (Change::Finish { .. } | Change::Abort { .. }, Ok(_)) = (&write.change, &outcome) {
                    // After the close, watchers are told the stored text. They are shown text from there on
                    // when the message is opened again.
                    connection.shown.remove(&write.message_key);
                }
                let mut steps = Vec::new();
                connection.session.settle(ticket, outcome, &mut steps);
                self.take(index, steps);
            }
        }
    }

    /// The client reads answers. For a client that is gone, the server only pretends to write.
    fn read(&mut self, answers: usize) {
        for index in 0..self.connections.len() {
            for _ in 0..answers {
                let connection = &mut self.connections[index];
                let requests = connection.session.slots.front().map(|slot| slot.requests);
                let Some(answer) = connection.session.answer() else { break };
                let ticket = connection.next_answer;
                connection.next_answer += 1;
                let sent = connection.slots.remove(&ticket).expect("an answer to requests, in their order");
                assert_eq!(requests, Some(sent.len()), "every request is answered once");
                let alive = connection.alive;
                self.understand(&sent, read(answer), alive);
            }
        }
    }

    /// Handles an answer as a client does.
    fn understand(
        &mut self,
        sent: &[Sent],
        answer: Result<pb::MessageAck, (String, Option<i64>)>,
        alive: bool,
    ) {
        let Sent { wish, attempt, action } = &sent[0];
        let Wish { key, text, talk, former, .. } = &self.wishes[*wish];
        let is_present = *attempt == former.len();
        let offset = |bytes: i32| usize::try_from(bytes).expect("not before the text");
        if let Ok(ack) = &answer {
            let row = self.tables.row(*talk, key);
            assert_eq!((&ack.message_key, i64::from(ack.sequence)), (key, row.sequence));
            let grows = former.is_empty();
            assert!(
                !grows || i64::from(ack.durable_offset) <= length(&row.text()),
                "acked before it is committed"
            );
            if let Some(Sent { action: Command::Delta(last), .. }) = sent.last() {
                assert!(
                    i64::from(ack.durable_offset) >= i64::from(last.offset) + length(&last.text),
                    "an ack of less than was sent"
                );
            }
            if ack.status() == MessageStatus::Completed {
                assert_eq!(row.status, MessageStatus::Completed);
                assert!(self.wishes[*wish].texts().any(|text| *text == row.text()));
            }
        }
        let progress = &mut self.progress[*wish];
        if !is_present {
            // Answers from before the restart no longer matter, unless the message is complete.
            progress.done |= alive && answer.is_ok_and(|ack| ack.status() == MessageStatus::Completed);
            return;
        }
        if !alive {
            return;
        }
        match answer {
            Ok(ack) => {
                progress.done |= ack.status() == MessageStatus::Completed;
                progress.durable = progress.durable.max(offset(ack.durable_offset));
                progress.anew &= !matches!(action, Command::Start(start) if start.restart);
                match (ack.status(), action) {
                    (MessageStatus::Incomplete, Command::Abort(_)) => progress.started = false,
                    (_, Command::Start(_)) => progress.next = progress.next.max(offset(ack.durable_offset)),
                    _ => {}
                }
            }
            Err((reason, end)) => {
                progress.finished = false;
                match (reason.as_str(), end) {
                    ("OFFSET_OUT_OF_RANGE", Some(end)) => {
                        progress.next = usize::try_from(end).expect("an offset").min(text.len())
                    }
                    // Its restart was lost, and the present text is not the stored one.
                    ("TEXT_DIFFERS", None) if !former.is_empty() => {
                        *progress = Progress { anew: true, ..Progress::default() };
                    }
                    ("MESSAGE_NOT_STARTED" | "MESSAGE_HELD" | "DATABASE_UNAVAILABLE", None) => {
                        progress.started = false;
                        progress.next = progress.durable;
                    }
                    ("MESSAGE_CLOSED" | "IDEMPOTENCY_KEY_REUSED", None) => {
                        let stored = self.tables.row(*talk, key).text();
                        assert!(self.wishes[*wish].texts().any(|text| *text == stored));
                        progress.done = true;
                    }
                    other => panic!("{other:?} for {action:?}"),
                }
            }
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.clock += milliseconds;
        self.tables.clock += i64::try_from(milliseconds).expect("a short time");
        let now = self.now();
        for index in 0..self.connections.len() {
            let mut steps = Vec::new();
            self.connections[index].session.flush_due(now, &mut steps);
            self.take(index, steps);
            let session = &self.connections[index].session;
            for text in session.texts.values() {
                let Some((first, last)) = text.buffer.since else { continue };
                assert!(now < last + FLUSH_QUIET && now < first + FLUSH_AFTER, "text is stored too late");
            }
        }
    }

    /// The server notices that connections broke, and stores what they sent.
    fn notice(&mut self) {
        for index in 0..self.connections.len() {
            if self.connections[index].alive || self.connections[index].ended {
                continue;
            }
            let mut steps = Vec::new();
            self.connections[index].ended = true;
            self.connections[index].session.flush_all(&mut steps);
            self.take(index, steps);
        }
    }

    fn expire(&mut self) {
        self.tables.clock += 121_000;
        let open = |row: &crate::conversations::messages::model::Row| row.status == MessageStatus::InProgress;
        for ((conversation_id, message_key), row) in &self.tables.messages {
            if open(row) {
                let (conversation_id, message_key) = (*conversation_id, message_key.clone());
                let write = Write { conversation_id, message_key, change: Change::Expire };
                self.lane.push_back((usize::MAX, 0, write));
            }
        }
    }

    /// Checks what holds for every session at any time.
    fn check(&self) {
        for Connection { session, slots, buffered, .. } in &self.connections {
            let buffers = || session.texts.values().map(|text| &text.buffer);
            let requests: usize = slots.values().chain(buffered.values()).map(Vec::len).sum();
            assert_eq!(session.requests, requests, "every request is counted until it is answered");
            let in_slots: usize = session.slots.iter().map(|slot| slot.bytes).sum();
            assert_eq!(session.bytes, in_slots + buffers().map(|buffer| buffer.bytes).sum::<usize>());
            assert_eq!(session.has_room(), requests < 256 && session.bytes < 4 << 20);
            assert!(requests <= 256);
            for text in session.texts.values().filter(|text| text.starts == 0) {
                assert!(text.buffer.deltas < 32 && text.buffer.text.len() < 4 << 10, "{:?}", text.buffer);
            }
            let due = buffers().filter_map(Buffer::due).min();
            assert!(due.is_none_or(|due| session.due().is_some_and(|woken| woken <= due)), "nobody wakes up");
        }
    }

    /// From now on everything works, until all texts are sent.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            self.notice();
            for wish in 0..self.wishes.len() {
                (0..8).for_each(|_| self.go_on(wish, 50));
            }
            self.wait(300);
            while !self.lane.is_empty() {
                self.commit(64);
                self.hear(usize::MAX);
            }
            self.hear(usize::MAX);
            self.read(usize::MAX);
            self.check();
            if self.progress.iter().any(|progress| !progress.done) {
                self.tables.clock += 60_000;
            } else if self.connections.iter().all(|connection| connection.session.is_settled()) {
                return;
            }
        }
        panic!("it does not come to an end: {:?}", self.progress);
    }
}

impl Wish {
    /// Returns all texts that it ever wanted to send.
    fn texts(&self) -> impl Iterator<Item = &String> {
        self.former.iter().chain([&self.text])
    }
}

/// Returns the first characters of a text.
fn beginning(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(index, _)| index);
    &text[..end]
}

proptest! {
    #[test]
    fn every_text_arrives_as_it_was_sent(
        wishes in prop::collection::vec(wish(), 1..6),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(wishes);
        for event in events {
            world.happen(event);
        }
        world.finish();
        for wish in &world.wishes {
            let row = world.tables.row(wish.talk, &wish.key);
            prop_assert_eq!(row.status, MessageStatus::Completed);
            prop_assert!(wish.texts().any(|text| *text == row.text()), "{} of {:?}", row.text(), wish);
        }
        let stored = world.tables.messages.len();
        prop_assert_eq!(stored, world.wishes.len(), "one place per key");
        for connection in &world.connections {
            prop_assert!(connection.slots.is_empty() && connection.buffered.values().all(Vec::is_empty));
        }
    }
}
