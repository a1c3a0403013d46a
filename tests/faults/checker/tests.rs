//! The checker finds each kind of fault in logs that are otherwise correct.

use std::sync::Arc;

use crm_backend::pb::MessageStatus;
use tonic::Code;

use super::{Kind, Stored, check};
use crate::log::{Ack, Copy, Entry, Event, Log, Meant, Request, Subject, Told, Watched};

const CONVERSATION: &str = "c";

/// Logs to spoil.
#[derive(Clone)]
struct Case {
    log: Log,
    rows: Vec<Copy>,
    told: Vec<Told>,
}

fn subject(key: &str) -> Subject {
    Subject { conversation: CONVERSATION.into(), key: key.into() }
}

fn copy(sequence: i32, key: &str, status: MessageStatus, text: &str) -> Copy {
    Copy { sequence, key: key.to_owned(), status, text: text.to_owned() }
}

fn ack(request: Request, sequence: i32, durable: i32, status: MessageStatus) -> Event {
    Event::Ok(Ack { request: Some(request), sequence, durable, deduplicated: false, status })
}

fn entry(key: &str, event: Event) -> Entry {
    Entry { stream: 0, subject: subject(key), event }
}

fn meant(text: &str, end: Option<MessageStatus>) -> Meant {
    Meant { text: text.to_owned(), end, reopened: false }
}

/// A whole message, one in pieces, and one with an unknown outcome.
fn right() -> Case {
    use MessageStatus::{Completed, InProgress};
    let entries = vec![
        entry("whole", Event::Invoke(Request::Whole)),
        entry("pieces", Event::Invoke(Request::Start)),
        entry("whole", ack(Request::Whole, 1, 3, Completed)),
        entry("pieces", ack(Request::Start, 2, 0, InProgress)),
        entry("pieces", Event::Invoke(Request::Finish)),
        entry("maybe", Event::Invoke(Request::Whole)),
        entry("pieces", ack(Request::Finish, 2, 6, Completed)),
        entry("maybe", Event::Unknown),
    ];
    let mut log = Log { entries, ..Default::default() };
    log.meant.insert(subject("whole"), meant("one", Some(Completed)));
    log.meant.insert(subject("pieces"), meant("twotwo", Some(Completed)));
    log.meant.insert(subject("maybe"), meant("three", None));
    let rows = vec![
        copy(1, "whole", Completed, "one"),
        copy(2, "pieces", Completed, "twotwo"),
        copy(3, "maybe", Completed, "three"),
    ];
    let told = vec![
        Told::Began,
        Told::Added(copy(1, "whole", Completed, "one")),
        Told::Started(copy(2, "pieces", InProgress, "")),
        Told::Delta { sequence: 2, offset: 0, text: "two".to_owned() },
        Told::Began,
        Told::Snapshot { sequence: 2, text: "two".to_owned() },
        Told::Delta { sequence: 2, offset: 3, text: "two".to_owned() },
        Told::Added(copy(3, "maybe", Completed, "three")),
        Told::Finished(copy(2, "pieces", Completed, "twotwo")),
        Told::Checkpoint(3),
    ];
    Case { log, rows, told }
}

fn kinds(case: Case) -> Vec<Kind> {
    let Case { log, rows, told } = case;
    let conversation: Arc<str> = CONVERSATION.into();
    let stored = Stored::from([(Arc::clone(&conversation), rows)]);
    match check(&[log], &stored, &[Watched { conversation, told }]) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| fault.kind).collect(),
    }
}

/// Spoils correct logs, and expects that a fault of this kind is found.
#[track_caller]
fn finds(kind: Kind, spoil: impl FnOnce(&mut Case)) {
    let mut case = right();
    spoil(&mut case);
    let kinds = kinds(case);
    assert!(kinds.contains(&kind), "found {kinds:?} and not {kind:?}");
}

#[test]
fn logs_that_are_right_have_no_fault() {
    assert_eq!(kinds(right()), []);
    let mut case = right();
    case.rows.pop();
    case.told.retain(|told| !matches!(told, Told::Added(copy) if copy.sequence == 3));
    case.told.pop();
    assert_eq!(kinds(case), [], "what is unknown may be missing");
}

#[test]
fn a_lost_ack_is_found() {
    finds(Kind::Lost, |case| drop(case.rows.remove(0)));
}

#[test]
fn an_ack_with_another_sequence_is_found() {
    finds(Kind::Lost, |case| case.log.entries[2].event = ack(Request::Whole, 3, 3, MessageStatus::Completed));
}

#[test]
fn two_sequences_of_one_key_are_found() {
    finds(Kind::Twice, |case| {
        case.log.entries.push(entry("whole", Event::Invoke(Request::Whole)));
        case.log.entries.push(entry("whole", ack(Request::Whole, 3, 3, MessageStatus::Completed)));
    });
}

#[test]
fn a_message_that_two_sends_added_is_found() {
    finds(Kind::Twice, |case| {
        case.log.entries.push(entry("whole", Event::Invoke(Request::Whole)));
        case.log.entries.push(entry("whole", ack(Request::Whole, 1, 3, MessageStatus::Completed)));
    });
}

#[test]
fn a_row_that_is_there_twice_is_found() {
    finds(Kind::Twice, |case| case.rows.push(copy(4, "whole", MessageStatus::Completed, "one")));
}

#[test]
fn a_hole_is_found() {
    finds(Kind::Hole, |case| case.rows[2].sequence = 4);
}

#[test]
fn rows_out_of_order_are_found() {
    finds(Kind::Hole, |case| case.rows.swap(0, 1));
}

#[test]
fn a_row_that_nobody_sent_is_found() {
    finds(Kind::Unsent, |case| case.rows.push(copy(4, "new", MessageStatus::Completed, "four")));
}

#[test]
fn a_refusal_with_an_effect_is_found() {
    finds(Kind::Unsent, |case| case.log.entries[7].event = Event::Fail(Code::NotFound));
}

#[test]
fn a_wrong_text_is_found() {
    finds(Kind::Text, |case| case.rows[0].text = "eno".to_owned());
    finds(Kind::Text, |case| case.rows[1].text = "twotwotwo".to_owned());
}

#[test]
fn a_text_that_ends_too_soon_is_found() {
    finds(Kind::Lost, |case| {
        case.rows[1].text = "two".to_owned();
        case.rows[1].status = MessageStatus::InProgress;
    });
}

#[test]
fn durable_text_that_became_less_is_found() {
    finds(Kind::Lost, |case| {
        case.log.entries.push(entry("pieces", Event::Invoke(Request::Start)));
        case.log.entries.push(entry("pieces", ack(Request::Start, 2, 5, MessageStatus::InProgress)));
    });
}

#[test]
fn answers_out_of_order_are_found() {
    finds(Kind::Order, |case| case.log.entries.swap(2, 3));
}

#[test]
fn what_a_client_saw_is_found() {
    finds(Kind::Client, |case| case.log.faults.push("a hang".to_owned()));
    finds(Kind::Client, |case| case.told.push(Told::Refused("INTERNAL".to_owned())));
}

#[test]
fn a_skipped_event_is_found() {
    for (place, kind) in [
        (1, Kind::Skipped),
        (2, Kind::Pieces),
        (3, Kind::Pieces),
        (6, Kind::Skipped),
        (7, Kind::Skipped),
        (8, Kind::Skipped),
    ] {
        let mut case = right();
        // Without it, the point at which the rest begins does not matter.
        if place == 3 {
            case.told.remove(5);
        }
        if place == 6 {
            case.told.remove(8);
        }
        case.told.remove(place);
        let kinds = kinds(case);
        assert!(kinds.contains(&kind), "without {place}: found {kinds:?} and not {kind:?}");
    }
}

#[test]
fn a_message_told_twice_is_found() {
    for place in [1, 2, 7, 8] {
        finds(Kind::Repeated, |case| {
            let again = case.told[place].clone();
            case.told.push(again);
        });
    }
}

#[test]
fn messages_told_out_of_order_are_found() {
    finds(Kind::Skipped, |case| case.told.swap(1, 2));
}

#[test]
fn a_piece_told_twice_is_found() {
    finds(Kind::Pieces, |case| {
        let again = case.told[3].clone();
        case.told.insert(4, again);
    });
}

#[test]
fn a_wrong_piece_is_found() {
    finds(Kind::Pieces, |case| {
        case.told[6] = Told::Delta { sequence: 2, offset: 3, text: "owt".to_owned() };
    });
}

#[test]
fn text_that_is_lost_is_taken_back_before_the_end_by_the_stream_that_told_it() {
    let lost = |case: &mut Case| {
        let Told::Delta { text, .. } = &mut case.told[6] else { panic!("it is a piece") };
        text.push_str(" and more");
    };
    finds(Kind::Pieces, lost);
    let mut case = right();
    lost(&mut case);
    case.told.insert(8, Told::Snapshot { sequence: 2, text: "twotwo".to_owned() });
    assert_eq!(kinds(case), []);
    // A stream that begins afterwards does not know the earlier events.
    let mut case = right();
    lost(&mut case);
    case.told.insert(8, Told::Began);
    assert_eq!(kinds(case), []);
}

#[test]
fn a_wrong_text_at_the_end_is_found() {
    finds(Kind::Text, |case| {
        case.told[8] = Told::Finished(copy(2, "pieces", MessageStatus::Completed, "twotwo!"));
    });
}

#[test]
fn a_checkpoint_beyond_what_was_told_is_found() {
    finds(Kind::Skipped, |case| case.told[9] = Told::Checkpoint(4));
}

#[test]
fn a_message_that_was_gone_on_with_is_told_again() {
    use MessageStatus::{Completed, InProgress, Incomplete};
    let mut case = right();
    case.told.splice(
        8..8,
        [
            Told::Aborted(copy(2, "pieces", Incomplete, "twotwo")),
            Told::Started(copy(2, "pieces", InProgress, "twotwo")),
        ],
    );
    assert!(kinds(case.clone()).contains(&Kind::Repeated), "nobody gave it up");
    case.log.meant.get_mut(&subject("pieces")).expect("it was meant").reopened = true;
    assert_eq!(kinds(case.clone()), []);
    case.told.push(Told::Finished(copy(2, "pieces", Completed, "twotwo")));
    assert!(kinds(case).contains(&Kind::Repeated), "its end was told already");
}
