//! Tests of one session, and of the sessions of a client whose connections break. The tables are plain values.

mod client;

use std::time::Duration;

use tonic_types::StatusExt;

use super::text::{FLUSH_AFTER, FLUSH_QUIET};
use super::*;
use crate::conversations::messages::model::Tables;
use crate::conversations::messages::rules::length;
use crate::pb::add_message_response::Result as Answer;

/// The conversations of these tests.
const TALKS: [u128; 2] = [1, 2];

fn request(conversation: u128, action: Command) -> AddMessageRequest {
    let conversation_id = Uuid::from_u128(conversation).to_string();
    AddMessageRequest { conversation_id, command: Some(action) }
}

fn start(key: &str, producer: &str) -> Command {
    Command::Start(pb::MessageStart {
        message_key: key.to_owned(),
        role: pb::MessageRole::Assistant.into(),
        producer_id: producer.to_owned(),
        ..Default::default()
    })
}

fn restart(key: &str, producer: &str) -> Command {
    let Command::Start(start) = start(key, producer) else { panic!("it is a start") };
    Command::Start(pb::MessageStart { restart: true, ..start })
}

fn delta(key: &str, offset: usize, text: &str) -> Command {
    let offset = i32::try_from(offset).expect("a short text");
    Command::Delta(pb::MessageDelta { message_key: key.to_owned(), offset, text: text.to_owned() })
}

fn finish(key: &str, length: usize) -> Command {
    let length = i32::try_from(length).expect("a short text");
    Command::Finish(pb::MessageFinish { message_key: key.to_owned(), length, ..Default::default() })
}

fn abort(key: &str) -> Command {
    Command::Abort(pb::MessageAbort { message_key: key.to_owned() })
}

fn message(key: &str, content: &str) -> Command {
    Command::Message(pb::Message {
        message_key: key.to_owned(),
        role: pb::MessageRole::User.into(),
        content: content.to_owned(),
        ..Default::default()
    })
}

fn tables() -> Tables {
    let mut tables = Tables::new(Duration::from_secs(120));
    TALKS.into_iter().for_each(|talk| tables.open(talk));
    tables
}

/// Returns an answer as its client reads it: the ack, or the reason of the error and the end of the text.
fn read(answer: AddMessageResponse) -> Result<pb::MessageAck, (String, Option<i64>)> {
    match answer.result {
        Some(Answer::Ack(ack)) => Ok(ack),
        Some(Answer::Error(error)) => {
            let status = error.status.expect("a status");
            let details = status.encode_to_vec();
            let status = tonic::Status::with_details(status.code.into(), status.message, details.into());
            let details = status.get_error_details();
            let info = details.error_info().expect("an ErrorInfo");
            let end = info.metadata.get("expected_offset").map(|end| end.parse().expect("a number"));
            Err((info.reason.clone(), end))
        }
        other => panic!("neither ack nor error: {other:?}"),
    }
}

/// One session whose writes are committed when the test says so.
struct Bench {
    session: Session,
    steps: Vec<Step>,
    waiting: Vec<(u64, Write)>,
    shown: Vec<(i64, String)>,
    lost: Vec<i64>,
    begin: Instant,
    tables: Tables,
}

impl Bench {
    fn new() -> Self {
        Self {
            session: Session::new(Uuid::new_v4()),
            steps: Vec::new(),
            waiting: Vec::new(),
            shown: Vec::new(),
            lost: Vec::new(),
            begin: Instant::now(),
            tables: tables(),
        }
    }

    /// Sends requests to the first conversation, at so many milliseconds after `begin`.
    fn send(&mut self, at: u64, actions: impl IntoIterator<Item = Command>) {
        let now = self.begin + Duration::from_millis(at);
        for action in actions {
            self.session.accept(request(TALKS[0], action), now, &mut self.steps);
        }
        self.take_steps();
    }

    /// Lets time pass, and returns how many writes that starts.
    fn wait_until(&mut self, at: u64) -> usize {
        let before = self.waiting.len();
        self.session.flush_due(self.begin + Duration::from_millis(at), &mut self.steps);
        self.take_steps();
        self.waiting.len() - before
    }

    /// Returns when text is due, in milliseconds after `begin`.
    fn due(&self) -> Option<u128> {
        self.session.due().map(|due| due.duration_since(self.begin).as_millis())
    }

    /// Commits all writes that wait, and tells the session.
    fn commit(&mut self) {
        while !self.waiting.is_empty() {
            let (tickets, writes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
            let outcomes = self.tables.commit_all(&writes);
            for (ticket, outcome) in tickets.into_iter().zip(outcomes) {
                self.session.settle(ticket, outcome, &mut self.steps);
                self.take_steps();
            }
        }
    }

    fn drain(&mut self) {
        self.session.flush_all(&mut self.steps);
        self.take_steps();
        self.commit();
    }

    fn answers(&mut self) -> Vec<Result<i64, (String, Option<i64>)>> {
        std::iter::from_fn(|| self.session.answer())
            .map(|answer| read(answer).map(|ack| ack.durable_offset.into()))
            .collect()
    }

    fn take_steps(&mut self) {
        for step in self.steps.drain(..) {
            match step {
                Step::Write(ticket, write) => self.waiting.push((ticket, write)),
                Step::Show(_, shown) => self.shown.push((shown.offset, shown.text.to_string())),
                Step::Lose(_, mark) => self.lost.push(mark.offset),
            }
        }
    }

    fn text(&self) -> String {
        self.tables.row(TALKS[0], "a").text()
    }
}

#[test]
fn text_is_stored_when_nothing_came_for_a_while() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "x")]);
    bench.commit();
    assert_eq!(bench.due(), Some(40));
    bench.send(30, [delta("a", 1, "y")]);
    assert_eq!(bench.wait_until(40), 0);
    assert_eq!(bench.due(), Some(70));
    assert_eq!(bench.wait_until(69), 0);
    assert_eq!(bench.wait_until(70), 1);
    assert_eq!(bench.due(), None);
    bench.commit();
    assert_eq!(bench.answers(), [Ok(0), Ok(2)]);
}

#[test]
fn text_is_stored_after_a_while_whatever_comes() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p")]);
    bench.commit();
    let mut stored = Vec::new();
    for token in 0..30_u64 {
        let at = 20 * token;
        if bench.wait_until(at) > 0 {
            stored.push(at);
        }
        bench.send(at, [delta("a", usize::try_from(token).expect("small"), "x")]);
    }
    // 250 ms after the first delta, and again after the first one since. The test looks every 20 ms.
    assert_eq!(stored, [260, 520]);
}

#[test]
fn text_is_stored_by_pieces_and_by_bytes() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p")]);
    bench.commit();
    bench.send(0, (0..31).map(|offset| delta("a", offset, "x")));
    assert_eq!(bench.waiting.len(), 0);
    bench.send(0, [delta("a", 31, "x")]);
    assert_eq!(bench.waiting.len(), 1, "32 deltas");
    bench.send(0, [delta("a", 32, &"x".repeat(4_095))]);
    assert_eq!(bench.waiting.len(), 1);
    bench.send(0, [delta("a", 32 + 4_095, "x")]);
    assert_eq!(bench.waiting.len(), 2, "4 KiB");
    bench.commit();
    assert_eq!(bench.answers(), [Ok(0), Ok(32), Ok(32 + 4_096)]);
}

#[test]
fn a_finish_stores_what_is_left_before_it() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hel"), delta("a", 3, "lo"), finish("a", 5)]);
    bench.commit();
    assert_eq!(bench.answers(), [Ok(0), Ok(5), Ok(5)]);
    assert!(bench.session.is_settled());
    assert_eq!(bench.text(), "Hello");
}

#[test]
fn a_window_is_full_at_256_requests_or_4_mebibytes() {
    let mut bench = Bench::new();
    bench.send(0, (0..255).map(|key| message(&key.to_string(), "x")));
    assert!(bench.session.has_room());
    bench.send(0, [delta("a", 0, "text that is not stored yet counts too")]);
    assert!(!bench.session.has_room());
    bench.commit();
    assert!(!bench.session.has_room(), "what is not read yet is not answered");
    bench.session.answer().expect("the first");
    assert!(bench.session.has_room());

    let mut bench = Bench::new();
    let long = "x".repeat(262_000);
    bench.send(0, (0..16).map(|key| message(&key.to_string(), &long)));
    assert!(bench.session.has_room());
    bench.send(0, [message("last", &long)]);
    assert!(!bench.session.has_room());
    bench.drain();
    bench.answers();
    assert!(bench.session.has_room() && bench.session.is_settled());
}

#[test]
fn a_drain_answers_everything() {
    let mut bench = Bench::new();
    bench.send(
        0,
        [start("a", "p"), start("b", "p"), delta("a", 0, "x"), delta("b", 0, "y"), delta("c", 0, "z")],
    );
    bench.drain();
    let mut answers = bench.answers();
    answers.sort_by_key(|answer| answer.clone().unwrap_or(-1));
    assert_eq!(answers, [Err(("MESSAGE_NOT_STARTED".to_owned(), None)), Ok(0), Ok(0), Ok(1), Ok(1)]);
    assert!(bench.session.is_settled());
    assert_eq!(bench.due(), None);
}

#[test]
fn answers_wait_for_those_before_them() {
    let mut bench = Bench::new();
    bench.send(0, [message("a", "x"), message("b", "x"), message("", "x")]);
    let writes: Vec<Write> = bench.waiting.iter().map(|(_, write)| write.clone()).collect();
    let mut outcomes = bench.tables.commit_all(&writes).into_iter();
    let (first, second) = (outcomes.next().expect("two"), outcomes.next().expect("two"));
    bench.session.settle(1, second, &mut bench.steps);
    assert!(!bench.session.has_answer());
    bench.session.settle(0, first, &mut bench.steps);
    let answers = bench.answers();
    assert_eq!(answers[..2], [Ok(1), Ok(1)]);
    assert!(matches!(&answers[2], Err((reason, None)) if reason == "FIELD_INVALID"));
}

#[test]
fn outcomes_that_nobody_asked_for_change_nothing() {
    let mut bench = Bench::new();
    bench.send(0, [message("a", "x")]);
    let outcome = || Err(Error::DeadlineExceeded);
    for ticket in [1, 7, u64::MAX] {
        bench.session.settle(ticket, outcome(), &mut bench.steps);
    }
    assert!(!bench.session.has_answer());
    bench.commit();
    bench.session.settle(0, outcome(), &mut bench.steps);
    assert_eq!(bench.answers(), [Ok(1)]);
    bench.session.settle(0, outcome(), &mut bench.steps);
    assert!(bench.session.is_settled());
}

#[test]
fn a_delta_beyond_the_end_sends_the_client_back() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hello"), delta("a", 6, "x"), delta("a", 5, "!")]);
    bench.drain();
    let back = Err(("OFFSET_OUT_OF_RANGE".to_owned(), Some(5)));
    let mut answers = bench.answers();
    // The refusal needs no commit, so it may come before the ack of the text before it.
    answers.sort_by_key(Result::is_err);
    assert_eq!(answers, [Ok(0), Ok(6), back]);
    assert_eq!(bench.text(), "Hello!");
}

/// Returns the reasons of the answers that are errors, in their order.
fn reasons(answers: &[Result<i64, (String, Option<i64>)>]) -> Vec<&str> {
    answers.iter().filter_map(|answer| answer.as_ref().err()).map(|(reason, _)| reason.as_str()).collect()
}

#[test]
fn another_text_is_refused_wherever_the_first_one_is() {
    // In the buffer, on its way, and stored.
    for stage in 0..3 {
        let mut bench = Bench::new();
        bench.send(0, [start("a", "p")]);
        bench.commit();
        bench.send(0, [delta("a", 0, "Yes, we do.")]);
        if stage > 0 {
            assert_eq!(bench.wait_until(40), 1);
        }
        if stage > 1 {
            bench.commit();
        }
        bench.send(50, [delta("a", 0, "No, unfortunately not."), delta("a", 22, " Sorry."), finish("a", 29)]);
        bench.commit();
        bench.drain();
        let answers = bench.answers();
        // Pieces that are stored together are answered together.
        assert_eq!(reasons(&answers), ["TEXT_DIFFERS", "MESSAGE_NOT_STARTED"], "{stage}: {answers:?}");
        assert_eq!(bench.text(), "Yes, we do.");
        let shown: String = bench.shown.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(shown, "Yes, we do.", "nobody saw a weld");
        bench.send(60, [restart("a", "p"), delta("a", 0, "No, unfortunately not."), finish("a", 22)]);
        bench.commit();
        assert_eq!(reasons(&bench.answers()), [""; 0]);
        assert_eq!(bench.text(), "No, unfortunately not.");
        assert!(bench.session.is_settled());
    }
}

#[test]
fn a_piece_that_says_the_same_again_and_more_is_taken() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p")]);
    bench.commit();
    bench.send(0, [delta("a", 0, "abc"), delta("a", 2, "cü"), delta("a", 0, "ab")]);
    bench.send(0, [delta("a", 3, "üd"), delta("a", 1, "b"), delta("a", 6, "!")]);
    bench.drain();
    assert_eq!(bench.answers(), [Ok(0), Ok(7)], "one piece, as long as it is at hand");
    bench.send(50, [delta("a", 0, "abcü"), delta("a", 5, "d!?"), delta("a", 8, ".")]);
    bench.drain();
    assert_eq!(reasons(&bench.answers()), [""; 0]);
    assert_eq!(bench.text(), "abcüd!?.");
    // The text that follows on text that was sent again is shown once it is stored.
    let shown: String = bench.shown.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(shown, "abcüd!");
    bench.send(100, [delta("a", 9, "x")]);
    assert_eq!(bench.shown.last(), Some(&(9, "x".to_owned())));
}

#[test]
fn after_a_restart_the_new_text_is_shown_from_its_beginning() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Yes, we do.")]);
    bench.commit();
    bench.send(0, [restart("a", "p"), delta("a", 0, "No, un")]);
    assert_eq!(bench.shown, [(0, "Yes, we do.".to_owned())], "not before the first is gone");
    bench.commit();
    bench.send(0, [delta("a", 6, "fort"), finish("a", 10)]);
    bench.commit();
    let later: Vec<_> = bench.shown[1..].iter().map(|(offset, text)| (*offset, text.as_str())).collect();
    assert_eq!(later, [(0, "No, un"), (6, "fort")]);
    assert_eq!(bench.text(), "No, unfort");
}

#[test]
fn watchers_are_told_that_text_may_be_lost() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hel")]);
    bench.commit();
    bench.wait_until(40);
    bench.commit();
    bench.send(50, [delta("a", 3, "lo")]);
    bench.wait_until(90);
    let (ticket, _) = bench.waiting.pop().expect("a write");
    bench.session.settle(ticket, Err(Error::database_unavailable("nobody knows")), &mut bench.steps);
    bench.take_steps();
    assert_eq!(bench.lost, [3]);
    // The same stream may go on with other text. It is shown once its place is known.
    bench.send(100, [delta("a", 3, "met!")]);
    bench.wait_until(140);
    bench.send(140, [delta("a", 7, "?")]);
    bench.commit();
    bench.send(150, [delta("a", 8, "!")]);
    assert_eq!(bench.text(), "Helmet!");
    let shown: Vec<_> = bench.shown.iter().map(|(offset, text)| (*offset, text.as_str())).collect();
    assert_eq!(shown, [(0, "Hel"), (3, "lo"), (7, "?"), (8, "!")]);
}

#[test]
fn watchers_are_shown_text_before_it_is_stored() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hel")]);
    assert_eq!(bench.shown, [], "not before the message has its place");
    bench.commit();
    bench.send(0, [delta("a", 3, "lo"), delta("a", 1, "ello!")]);
    let expected = [(0, "Hel"), (3, "lo"), (5, "!")].map(|(offset, text)| (offset, text.to_owned()));
    assert_eq!(bench.shown, expected);
}

#[test]
fn a_start_again_neither_repeats_nor_ends_what_watchers_are_shown() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p")]);
    bench.commit();
    bench.send(0, [delta("a", 0, "Hel"), start("a", "p"), delta("a", 3, "lo")]);
    bench.wait_until(40);
    bench.commit();
    bench.send(50, [delta("a", 5, "!")]);
    let expected = [(0, "Hel"), (3, "lo"), (5, "!")].map(|(offset, text)| (offset, text.to_owned()));
    assert_eq!(bench.shown, expected);
}

#[test]
fn a_delta_sent_again_after_the_finish_is_answered() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hello"), finish("a", 5), delta("a", 0, "Hello")]);
    bench.commit();
    bench.drain();
    assert_eq!(bench.answers(), [Ok(0), Ok(5), Ok(5), Ok(5)]);
    assert!(bench.session.is_settled());
}

#[test]
fn a_message_that_is_given_up_may_go_on_without_waiting() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hel"), abort("a"), start("a", "p"), delta("a", 3, "lo")]);
    bench.commit();
    bench.drain();
    assert_eq!(bench.answers(), [Ok(0), Ok(3), Ok(3), Ok(3), Ok(5)]);
    assert!(bench.session.is_settled());
    assert_eq!(bench.text(), "Hello");
}

#[test]
fn text_after_a_start_that_came_too_late_for_a_delta_goes_on() {
    let mut bench = Bench::new();
    bench.send(0, [delta("a", 0, "lost"), start("a", "p"), delta("a", 0, "Hello")]);
    bench.wait_until(40);
    bench.commit();
    bench.send(50, [delta("a", 5, "!"), finish("a", 6)]);
    bench.commit();
    let answers = bench.answers();
    assert_eq!(answers[0], Err(("MESSAGE_NOT_STARTED".to_owned(), None)));
    assert_eq!(bench.text(), "Hello!", "{answers:?}");
}

#[test]
fn text_that_is_sent_again_does_not_hide_what_is_stored() {
    let mut bench = Bench::new();
    bench.send(0, [start("a", "p"), delta("a", 0, "Hello, you"), start("a", "p"), delta("a", 0, "Hel")]);
    bench.wait_until(40);
    bench.commit();
    bench.send(50, [delta("a", 10, "!")]);
    bench.drain();
    bench.send(50, [delta("a", 0, "Hel"), delta("a", 11, "?"), finish("a", 12)]);
    bench.commit();
    let answers = bench.answers();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(bench.text(), "Hello, you!?");
}

#[test]
fn a_stream_forgets_messages_that_it_does_not_write() {
    let mut bench = Bench::new();
    for key in 0..5_000 {
        bench.send(0, [delta(&format!("never started {key}"), 0, "x")]);
        if !bench.session.has_room() {
            bench.drain();
            bench.answers();
        }
    }
    assert!(bench.session.texts.len() <= OPEN_MESSAGES, "{}", bench.session.texts.len());
}
