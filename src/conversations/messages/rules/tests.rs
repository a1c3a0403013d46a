use proptest::prelude::*;

use super::*;
use crate::conversations::messages::model::Tables;
use crate::db::json::Json;
use crate::pb::{ConversationStatus, ErrorReason, MessageRole};

fn message(conversation: u128, key: &str, text: &str) -> Write {
    let message = NewMessage {
        id: Uuid::new_v4(),
        conversation_id: Uuid::from_u128(conversation),
        message_key: key.to_owned(),
        role: Text(MessageRole::User),
        author: String::new(),
        content: text.to_owned(),
        content_type: String::new(),
        ai: None,
        actions: Json(Vec::new()),
        metadata: serde_json::Value::Null,
        sent_at: None,
        token_count: None,
        fingerprint: text.as_bytes().to_vec(),
    };
    Write {
        conversation_id: message.conversation_id,
        message_key: message.message_key.clone(),
        change: Change::Add(Box::new(message)),
    }
}

fn known(conversation: u128, key: &str, sequence: i64, text: &str) -> StoredMessage {
    StoredMessage {
        conversation_id: Uuid::from_u128(conversation),
        message_key: key.to_owned(),
        id: Uuid::new_v4(),
        sequence,
        fingerprint: text.as_bytes().to_vec(),
        status: Text(MessageStatus::Completed),
        durable_offset: length(text),
        since: 0,
        producer_id: None,
        holder: None,
        idle_ms: None,
    }
}

fn plan<'w>(writes: &'w [Write], heads: &[Head], known: Vec<StoredMessage>) -> Plan<'w> {
    let found = BatchState { heads: heads.to_vec(), known, ..BatchState::default() };
    super::plan(writes, found, Duration::from_secs(120))
}

fn head(conversation: u128, status: ConversationStatus, last_sequence: i64) -> Head {
    Head { id: Uuid::from_u128(conversation), status: Text(status), last_sequence, change_count: 0 }
}

fn sequences(plan: &Plan<'_>) -> Vec<Result<i64, ErrorReason>> {
    let sequence = |outcome: &Option<Outcome>| match outcome.as_ref().expect("decided") {
        Ok(placed) => Ok(placed.sequence),
        Err(error) => Err(error.reason()),
    };
    plan.outcomes.iter().map(sequence).collect()
}

#[test]
fn messages_get_the_next_places_of_their_conversations() {
    let batch = [message(1, "a", "x"), message(2, "a", "x"), message(1, "b", "x"), message(3, "a", "x")];
    let heads = [head(1, ConversationStatus::Open, 7), head(2, ConversationStatus::Snoozed, 0)];
    let plan = plan(&batch, &heads, Vec::new());
    assert_eq!(sequences(&plan), [Ok(8), Ok(1), Ok(9), Err(ErrorReason::ConversationNotFound)]);
    let heads: Vec<_> = plan.heads.iter().map(|head| (head.id, head.last_sequence)).collect();
    assert_eq!(heads, [(Uuid::from_u128(1), 9), (Uuid::from_u128(2), 1)]);
    assert_eq!(plan.additions.len(), 3);
}

#[test]
fn a_key_has_one_place_also_within_a_batch() {
    let batch =
        [message(1, "a", "yes"), message(1, "a", "yes"), message(1, "a", "no"), message(1, "b", "yes")];
    let mut tables = tables();
    let outcomes = tables.commit_all(&batch);
    let places: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map(|placed| placed.sequence)).collect();
    let [Ok(1), Ok(1), Err(other), Ok(2)] = places.as_slice() else { panic!("{places:?}") };
    assert!(other.to_string().contains("differs from this one in: content; "), "{other}");
    assert!(outcomes[1].as_ref().is_ok_and(|placed| placed.deduplicated));
}

#[test]
fn an_ended_conversation_takes_nothing_but_answers_resends() {
    let batch = [message(1, "a", "x"), message(1, "b", "x")];
    let plan = plan(&batch, &[head(1, ConversationStatus::Ended, 4)], vec![known(1, "a", 4, "x")]);
    assert_eq!(sequences(&plan), [Ok(4), Err(ErrorReason::ConversationEnded)]);
    assert!(plan.additions.is_empty() && plan.heads.is_empty());
}

proptest! {
    /// For any writes, in any batches, the sequences of a conversation are 1..=n without a hole, and a key has
    /// one place.
    #[test]
    fn there_is_never_a_hole(batches in prop::collection::vec(prop::collection::vec((0..3u128, 0..12u8), 1..20), 1..10)) {
        let mut stored: Vec<StoredMessage> = Vec::new();
        for batch in batches {
            let messages: Vec<_> =
                batch.iter().map(|(conversation, key)| message(*conversation, &key.to_string(), "x")).collect();
            let heads: Vec<_> = (0..3)
                .map(|id| {
                    let count = stored.iter().filter(|known| known.conversation_id == Uuid::from_u128(id)).count();
                    head(id, ConversationStatus::Open, i64::try_from(count).expect("a small count"))
                })
                .collect();
            let plan = plan(&messages, &heads, stored.clone());
            for Addition { message, sequence, .. } in plan.additions {
                let id = message.conversation_id.as_u128();
                stored.push(known(id, &message.message_key, sequence, "x"));
            }
        }
        for id in 0..3 {
            let mut found: Vec<_> = stored
                .iter()
                .filter(|known| known.conversation_id == Uuid::from_u128(id))
                .map(|known| (known.sequence, known.message_key.clone()))
                .collect();
            found.sort();
            let expected: Vec<_> = (1..).take(found.len()).collect();
            let sequences: Vec<i64> = found.iter().map(|(sequence, _)| *sequence).collect();
            prop_assert_eq!(sequences, expected);
            let keys: std::collections::BTreeSet<_> = found.iter().map(|(_, key)| key).collect();
            prop_assert_eq!(keys.len(), found.len());
        }
    }
}

const LEASE: Duration = Duration::from_secs(120);

/// Returns the id under which a stream holds messages, by its number.
fn stream(number: u128) -> Uuid {
    Uuid::from_u128(1_000 + number)
}

fn start(key: &str, producer: &str, holder: u128) -> Write {
    let Write { conversation_id, message_key, change } = message(1, key, "");
    let Change::Add(message) = change else { unreachable!("a message is added") };
    let (producer_id, holder) = (producer.to_owned(), stream(holder));
    Write {
        conversation_id,
        message_key,
        change: Change::Start { message, producer_id, holder, restart: false },
    }
}

/// Returns the same start with `restart`.
fn restart(key: &str, producer: &str, holder: u128) -> Write {
    let mut write = start(key, producer, holder);
    if let Change::Start { restart, .. } = &mut write.change {
        *restart = true;
    }
    write
}

fn write(key: &str, change: Change) -> Write {
    Write { conversation_id: Uuid::from_u128(1), message_key: key.to_owned(), change }
}

fn delta(key: &str, holder: u128, offset: i64, text: &str) -> Write {
    write(key, Change::Extend { holder: stream(holder), offset, text: text.to_owned() })
}

fn finish(key: &str, holder: u128, length: i64) -> Write {
    write(key, Change::Finish { holder: stream(holder), length, ai: None, actions: Json(Vec::new()) })
}

fn abort(key: &str, holder: u128) -> Write {
    write(key, Change::Abort { holder: stream(holder) })
}

fn expire(key: &str) -> Write {
    write(key, Change::Expire)
}

/// Returns tables with one open conversation, 1.
fn tables() -> Tables {
    let mut tables = Tables::new(LEASE);
    tables.open(1);
    tables
}

/// Returns the outcome of one write in a transaction of its own.
fn one(tables: &mut Tables, write: Write) -> Outcome {
    tables.commit(&[write]).pop().flatten().expect("one write alone is decided")
}

#[track_caller]
fn refused(outcome: Outcome, reason: ErrorReason) {
    assert_eq!(outcome.expect_err("a refusal").reason(), reason);
}

#[track_caller]
fn sent_back(outcome: Outcome, end: i64) {
    let error = outcome.expect_err("the text ends elsewhere");
    assert!(matches!(error, Error::Offset { expected, .. } if expected == end), "{error:?}");
}

#[track_caller]
fn differs(outcome: Outcome, from: i64) {
    let error = outcome.expect_err("another text");
    assert!(matches!(error, Error::TextDiffers { from: found, .. } if found == from), "{error:?}");
}

/// Returns the offset of an ack, whether it was a repeat, and the effect of the write.
#[track_caller]
fn acked(outcome: Outcome) -> (i64, bool, Effect) {
    let placed = outcome.expect("an ack");
    (placed.durable_offset, placed.deduplicated, placed.effect)
}

#[test]
fn a_text_in_one_batch_has_one_place_and_is_whole() {
    let mut tables = tables();
    let batch = [start("a", "p", 1), delta("a", 1, 0, "Grüß "), delta("a", 1, 7, "dich"), finish("a", 1, 11)];
    let outcomes: Vec<_> = tables.commit(&batch).into_iter().flatten().map(acked).collect();
    let expected = [
        (0, false, Effect::Added),
        (7, false, Effect::Extended),
        (11, false, Effect::Extended),
        (11, false, Effect::Closed { change: 1 }),
    ];
    assert_eq!(outcomes, expected);
    let row = tables.row(1, "a");
    assert_eq!((row.sequence, row.status, &*row.text()), (1, MessageStatus::Completed, "Grüß dich"));
}

#[test]
fn a_start_again_answers_where_to_go_on() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    assert_eq!(acked(one(&mut tables, start("a", "p", 1))), (5, true, Effect::None));
    one(&mut tables, finish("a", 1, 5)).expect("finished");
    let done = one(&mut tables, start("a", "q", 2)).expect("an ack");
    assert_eq!((done.status, done.durable_offset, done.effect), (MessageStatus::Completed, 5, Effect::None));
}

#[test]
fn a_start_with_other_content_is_a_reuse_of_its_key() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    let mut other = start("a", "p", 1);
    if let Change::Start { message, .. } = &mut other.change {
        message.fingerprint = vec![9];
    }
    refused(one(&mut tables, other), ErrorReason::IdempotencyKeyReused);
    refused(one(&mut tables, message(1, "a", "Hello")), ErrorReason::IdempotencyKeyReused);
}

#[test]
fn a_message_that_was_streamed_is_acked_when_it_is_sent_whole() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    let mut whole = message(1, "a", "Hello");
    let Change::Add(said) = &mut whole.change else { panic!("a message") };
    said.fingerprint = vec![9];
    let error = one(&mut tables, whole.clone()).expect_err("it is in progress");
    assert!(error.to_string().contains("in: status; "), "{error}");
    one(&mut tables, finish("a", 1, 5)).expect("finished");
    assert_eq!(acked(one(&mut tables, whole)), (5, true, Effect::None));
    refused(one(&mut tables, message(1, "a", "Hello!")), ErrorReason::IdempotencyKeyReused);
}

#[test]
fn the_same_producer_takes_its_message_over_at_once() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    assert_eq!(acked(one(&mut tables, start("a", "p", 2))), (5, true, Effect::Held));
    // The former stream can write nothing any more, not even text that is stored already.
    for late in [delta("a", 1, 5, "x"), delta("a", 1, 0, "Hello"), finish("a", 1, 5), abort("a", 1)] {
        refused(one(&mut tables, late), ErrorReason::MessageNotStarted);
    }
    one(&mut tables, delta("a", 2, 5, "!")).expect("appended");
    one(&mut tables, finish("a", 2, 6)).expect("finished");
    assert_eq!(tables.row(1, "a").text(), "Hello!");
}

#[test]
fn another_producer_waits_for_the_end_of_the_lease() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    tables.clock = 100_000;
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    tables.clock = 219_999;
    let error = one(&mut tables, start("a", "q", 2)).expect_err("held since the delta");
    assert!(matches!(error, Error::Held { retry_after } if retry_after == Duration::from_millis(1)));
    tables.clock = 220_000;
    assert_eq!(acked(one(&mut tables, start("a", "q", 2))), (5, true, Effect::Held));
    refused(one(&mut tables, start("a", "p", 1)), ErrorReason::MessageHeld);
    refused(one(&mut tables, delta("a", 1, 5, "x")), ErrorReason::MessageNotStarted);
}

#[test]
fn a_start_that_was_just_added_in_the_same_batch_holds_its_message() {
    let mut tables = tables();
    let outcomes = tables.commit(&[start("a", "p", 1), start("a", "q", 2), start("a", "p", 3)]);
    let reasons: Vec<_> =
        outcomes.into_iter().flatten().map(|outcome| outcome.map(|placed| placed.effect)).collect();
    assert!(matches!(reasons[..], [Ok(Effect::Added), Err(Error::Held { .. }), Ok(Effect::Held)]));
    one(&mut tables, delta("a", 3, 0, "x")).expect("the last one holds it");
}

#[test]
fn a_delta_appends_skips_what_is_there_or_is_sent_back() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    assert_eq!(acked(one(&mut tables, delta("a", 1, 0, "Grüß"))), (6, false, Effect::Extended));
    assert_eq!(acked(one(&mut tables, delta("a", 1, 0, "Grüß"))), (6, true, Effect::None));
    assert_eq!(acked(one(&mut tables, delta("a", 1, 2, "ü"))), (6, true, Effect::None));
    assert_eq!(acked(one(&mut tables, delta("a", 1, 6, ""))), (6, true, Effect::None));
    assert_eq!(acked(one(&mut tables, delta("a", 1, 4, "ß dich"))), (11, false, Effect::Extended));
    sent_back(one(&mut tables, delta("a", 1, 12, "x")), 11);
    sent_back(one(&mut tables, delta("a", 1, i64::MAX, "x")), 11);
    sent_back(one(&mut tables, delta("a", 1, 12, "")), 11);
    assert_eq!(tables.row(1, "a").text(), "Grüß dich");
}

#[test]
fn texts_are_never_welded() {
    for together in [false, true] {
        let mut tables = tables();
        let first = [start("a", "p", 1), delta("a", 1, 0, "Yes, we do.")];
        let second = [
            delta("a", 1, 0, "No, unfortunately not."),
            delta("a", 1, 11, "nately not."),
            finish("a", 1, 22),
        ];
        let mut outcomes = if together {
            tables.commit(&[first, [second[0].clone(), second[1].clone()]].concat())
        } else {
            tables.commit(&first);
            second[..2].iter().map(|write| Some(one(&mut tables, write.clone()))).collect()
        };
        // What the stream had sent by then belongs to the other text, too.
        refused(outcomes.pop().flatten().expect("decided"), ErrorReason::MessageNotStarted);
        differs(outcomes.pop().flatten().expect("decided"), 0);
        refused(one(&mut tables, second[2].clone()), ErrorReason::MessageNotStarted);
        refused(one(&mut tables, finish("a", 1, 11)), ErrorReason::MessageNotStarted);
        refused(one(&mut tables, abort("a", 1)), ErrorReason::MessageNotStarted);
        assert_eq!(tables.row(1, "a").text(), "Yes, we do.");
        // The producer keeps its lease.
        refused(one(&mut tables, start("a", "q", 2)), ErrorReason::MessageHeld);
        assert_eq!(acked(one(&mut tables, start("a", "p", 1))), (11, true, Effect::Held));
        one(&mut tables, delta("a", 1, 4, " we do. Come by!")).expect("the same text, and more");
        one(&mut tables, finish("a", 1, 20)).expect("finished");
        assert_eq!(tables.row(1, "a").text(), "Yes, we do. Come by!");
        differs(one(&mut tables, delta("a", 1, 0, "Yes, we don't")), 10);
        assert_eq!(acked(one(&mut tables, delta("a", 1, 0, "Yes"))), (20, true, Effect::None));
    }
}

#[test]
fn a_text_that_differs_within_a_character_differs_from_there() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "aä")).expect("appended");
    for (offset, text, from) in [(1, "öx", 2), (2, "x", 2), (0, "abc", 1), (0, "a", 0)] {
        let outcome = one(&mut tables, delta("a", 1, offset, text));
        if from == 0 {
            acked(outcome);
        } else {
            differs(outcome, from);
            one(&mut tables, start("a", "p", 1)).expect("started again");
        }
    }
    assert_eq!(tables.row(1, "a").text(), "aä");
}

#[test]
fn a_restart_drops_the_text_and_is_a_change() {
    let mut tables = tables();
    assert_eq!(acked(one(&mut tables, restart("a", "p", 1))).2, Effect::Added);
    one(&mut tables, delta("a", 1, 0, "Yes, we do.")).expect("appended");
    let again = one(&mut tables, restart("a", "p", 1)).expect("restarted");
    assert_eq!((again.durable_offset, again.since, again.deduplicated), (0, 1, true));
    assert_eq!(again.effect, Effect::Restarted { change: 1 });
    one(&mut tables, delta("a", 1, 0, "No")).expect("another text");
    // Also by another stream of the producer, and by another producer once the lease has run out.
    assert_eq!(acked(one(&mut tables, restart("a", "p", 2))).2, Effect::Restarted { change: 2 });
    refused(one(&mut tables, delta("a", 1, 0, "No")), ErrorReason::MessageNotStarted);
    refused(one(&mut tables, restart("a", "q", 3)), ErrorReason::MessageHeld);
    tables.clock = 120_000;
    assert_eq!(acked(one(&mut tables, restart("a", "q", 3))).2, Effect::Restarted { change: 3 });
    one(&mut tables, delta("a", 3, 0, "Maybe")).expect("appended");
    one(&mut tables, abort("a", 3)).expect("given up");
    // An incomplete message restarts as well, and a complete one does not.
    let reopened = one(&mut tables, restart("a", "p", 1)).expect("restarted");
    assert_eq!((reopened.durable_offset, reopened.effect), (0, Effect::Reopened { change: 5 }));
    one(&mut tables, delta("a", 1, 0, "No.")).expect("appended");
    one(&mut tables, finish("a", 1, 3)).expect("finished");
    let whole = one(&mut tables, restart("a", "p", 1)).expect("an ack");
    assert_eq!(
        (whole.status, whole.durable_offset, whole.effect),
        (MessageStatus::Completed, 3, Effect::None)
    );
    assert_eq!((tables.row(1, "a").text(), tables.row(1, "a").change), ("No.".to_owned(), Some(6)));
}

#[test]
fn a_restart_in_a_batch_drops_what_the_batch_had_of_the_text() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "stored")).expect("appended");
    let batch = [
        delta("a", 1, 0, "stored and"),
        restart("a", "p", 1),
        delta("a", 1, 0, "other"),
        delta("a", 1, 3, "er text"),
        restart("a", "p", 1),
        delta("a", 1, 0, "The end."),
        delta("a", 1, 4, "end."),
        finish("a", 1, 8),
    ];
    let outcomes: Vec<i64> = tables.commit(&batch).into_iter().flatten().map(|one| acked(one).0).collect();
    assert_eq!(outcomes, [10, 0, 5, 10, 0, 8, 8, 8]);
    assert_eq!(tables.row(1, "a").text(), "The end.");
}

#[test]
fn a_text_is_as_long_as_it_may_be_and_not_longer() {
    let mut tables = tables();
    let half = "x".repeat(131_072);
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, &half)).expect("appended");
    let long = format!("{half}y");
    refused(one(&mut tables, delta("a", 1, 131_072, &long)), ErrorReason::FieldInvalid);
    one(&mut tables, delta("a", 1, 131_072, &half)).expect("262,144 bytes");
    refused(one(&mut tables, delta("a", 1, 262_144, "z")), ErrorReason::FieldInvalid);
    assert_eq!(acked(one(&mut tables, finish("a", 1, MAX_CONTENT_BYTES))).0, MAX_CONTENT_BYTES);
}

#[test]
fn a_finish_must_know_the_length() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    for wrong in [0, 4, 6, MAX_CONTENT_BYTES] {
        sent_back(one(&mut tables, finish("a", 1, wrong)), 5);
    }
    assert_eq!(tables.row(1, "a").status, MessageStatus::InProgress);
    assert_eq!(acked(one(&mut tables, finish("a", 1, 5))), (5, false, Effect::Closed { change: 1 }));
}

#[test]
fn an_end_sent_again_is_acked_and_another_end_is_refused() {
    let mut tables = tables();
    for key in ["a", "b"] {
        one(&mut tables, start(key, "p", 1)).expect("started");
        one(&mut tables, delta(key, 1, 0, "Hello")).expect("appended");
    }
    one(&mut tables, finish("a", 1, 5)).expect("finished");
    // Through any stream: the stream that finished it may be gone.
    assert_eq!(acked(one(&mut tables, finish("a", 2, 5))), (5, true, Effect::None));
    refused(one(&mut tables, finish("a", 1, 4)), ErrorReason::IdempotencyKeyReused);
    let mut other = finish("a", 1, 5);
    let Change::Finish { actions, .. } = &mut other.change else { panic!("a finish") };
    actions.0.push(Action { name: "search".to_owned(), ..Action::default() });
    let error = one(&mut tables, other).expect_err("other actions");
    assert!(error.to_string().ends_with("in: actions; nothing was changed"), "{error}");
    refused(one(&mut tables, abort("a", 1)), ErrorReason::MessageClosed);
    one(&mut tables, abort("b", 1)).expect("given up");
    assert_eq!(acked(one(&mut tables, abort("b", 2))), (5, true, Effect::None));
    sent_back(one(&mut tables, finish("b", 2, 4)), 5);
    assert_eq!(acked(one(&mut tables, finish("b", 2, 5))), (5, false, Effect::Closed { change: 3 }));
}

#[test]
fn what_is_closed_takes_no_more_text_but_acks_what_it_has() {
    let mut tables = tables();
    for key in ["a", "b"] {
        one(&mut tables, start(key, "p", 1)).expect("started");
        one(&mut tables, delta(key, 1, 0, "Hello")).expect("appended");
    }
    one(&mut tables, finish("a", 1, 5)).expect("finished");
    one(&mut tables, abort("b", 1)).expect("given up");
    for key in ["a", "b"] {
        assert_eq!(acked(one(&mut tables, delta(key, 1, 2, "llo"))), (5, true, Effect::None));
    }
    refused(one(&mut tables, delta("a", 1, 5, "!")), ErrorReason::MessageClosed);
    refused(one(&mut tables, delta("b", 1, 5, "!")), ErrorReason::MessageNotStarted);
}

#[test]
fn what_was_given_up_goes_on_with_a_start() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    one(&mut tables, abort("a", 1)).expect("given up");
    let reopened = one(&mut tables, start("a", "q", 2)).expect("an ack");
    assert_eq!(reopened.effect, Effect::Reopened { change: 2 });
    assert_eq!((reopened.durable_offset, reopened.status), (5, MessageStatus::InProgress));
    one(&mut tables, delta("a", 2, 5, "!")).expect("appended");
    one(&mut tables, finish("a", 2, 6)).expect("finished");
    let row = tables.row(1, "a");
    assert_eq!((row.sequence, &*row.text(), row.change), (1, "Hello!", Some(3)));
}

#[test]
fn without_a_start_there_is_nothing_to_write() {
    let mut tables = tables();
    for early in [delta("a", 1, 0, "x"), finish("a", 1, 0), abort("a", 1), expire("a")] {
        refused(one(&mut tables, early), ErrorReason::MessageNotStarted);
    }
    assert!(tables.messages.is_empty());
}

#[test]
fn only_a_lease_that_ran_out_expires() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    tables.clock = 119_999;
    assert_eq!(acked(one(&mut tables, expire("a"))), (5, true, Effect::None));
    tables.clock = 120_000;
    assert_eq!(acked(one(&mut tables, expire("a"))), (5, false, Effect::Closed { change: 1 }));
    assert_eq!(acked(one(&mut tables, expire("a"))), (5, true, Effect::None));
    let row = tables.row(1, "a");
    assert_eq!((row.status, &*row.text()), (MessageStatus::Incomplete, "Hello"));
    // The producer is late, but has sent all of the text.
    assert_eq!(acked(one(&mut tables, finish("a", 1, 5))).2, Effect::Closed { change: 2 });
    assert_eq!(acked(one(&mut tables, expire("a"))), (5, true, Effect::None));
    assert_eq!(tables.row(1, "a").status, MessageStatus::Completed);
}

#[test]
fn after_a_write_that_is_put_off_nothing_of_its_conversation_is_decided() {
    let mut tables = tables();
    tables.open(2);
    let batch = [
        start("a", "p", 1),
        abort("a", 1),
        start("a", "p", 1),
        message(2, "x", "elsewhere"),
        message(1, "b", "later"),
        delta("a", 1, 0, "Hello"),
    ];
    let decided: Vec<_> = tables.commit(&batch).iter().map(Option::is_some).collect();
    assert_eq!(decided, [true, true, false, true, false, false]);
    let again = tables.commit(&batch[2..]);
    assert!(again.iter().all(|outcome| outcome.as_ref().is_some_and(Result::is_ok)), "{again:?}");
    assert_eq!((tables.row(1, "a").sequence, tables.row(1, "b").sequence), (1, 2));
    assert_eq!(tables.row(1, "a").text(), "Hello");
}

#[test]
fn a_finish_after_giving_up_is_put_off_too() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, delta("a", 1, 0, "Hello")).expect("appended");
    let batch = [abort("a", 1), finish("a", 1, 5), message(1, "b", "later")];
    let decided: Vec<_> = tables.commit(&batch).iter().map(Option::is_some).collect();
    assert_eq!(decided, [true, false, false]);
    let outcomes = tables.commit_all(&batch[1..]);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(tables.row(1, "a").status, MessageStatus::Completed);
}

#[test]
fn what_another_transaction_holds_comes_again_and_what_does_not_exist_does_not() {
    let batch = [message(7, "a", "x")];
    let with = |held| BatchState { held: vec![held], ..BatchState::default() };
    let waiting = super::plan(&batch, with(batch[0].conversation_id), LEASE);
    assert!(waiting.outcomes[0].is_none());
    let mut missing = super::plan(&batch, with(Uuid::nil()), LEASE);
    refused(missing.outcomes.remove(0).expect("decided"), ErrorReason::ConversationNotFound);
}

#[test]
fn a_message_in_progress_is_written_to_its_end_after_its_conversation_ended() {
    let mut tables = tables();
    one(&mut tables, start("a", "p", 1)).expect("started");
    one(&mut tables, start("b", "p", 1)).expect("started");
    tables.end(1);
    refused(one(&mut tables, start("c", "p", 1)), ErrorReason::ConversationEnded);
    refused(one(&mut tables, message(1, "d", "Hello")), ErrorReason::ConversationEnded);
    assert_eq!(acked(one(&mut tables, start("a", "p", 2))), (0, true, Effect::Held));
    one(&mut tables, delta("a", 2, 0, "Hello")).expect("appended");
    one(&mut tables, finish("a", 2, 5)).expect("finished");
    tables.clock = 120_000;
    one(&mut tables, expire("b")).expect("given up");
    assert_eq!(tables.messages.len(), 2);
}

const TEXTS: [&str; 2] = ["0123456789ab", "012345cdefgh"];

/// The length of the beginning that both texts share.
const PART: usize = 6;

fn any_write() -> impl Strategy<Value = Write> {
    let key = || prop::sample::select(vec!["a", "b", "c"]);
    let holder = || 0..3u128;
    // A piece of one of two texts. It begins within the part that both share: a later piece could continue the
    // other text, and no check could tell.
    let piece = (0..=PART, 0..12usize, prop::bool::weighted(0.2)).prop_map(|(from, length, other)| {
        let text = if other { TEXTS[1] } else { TEXTS[0] };
        let text = &text[from..(from + length).min(text.len())];
        (i64::try_from(from).expect("small"), text)
    });
    let producer = prop::sample::select(vec!["p", "q"]);
    prop_oneof![
        4 => (key(), producer.clone(), holder())
            .prop_map(|(key, producer, holder)| start(key, producer, holder)),
        1 => (key(), producer, holder()).prop_map(|(key, producer, holder)| restart(key, producer, holder)),
        6 => (key(), holder(), piece).prop_map(|(key, holder, (offset, text))| delta(key, holder, offset, text)),
        2 => (key(), holder(), 0..12i64).prop_map(|(key, holder, length)| finish(key, holder, length)),
        2 => (key(), holder()).prop_map(|(key, holder)| abort(key, holder)),
        1 => key().prop_map(expire),
        1 => key().prop_map(|key| message(1, key, "whole")),
    ]
}

/// Returns what a client can see of an outcome.
fn seen(outcome: &Outcome) -> String {
    match outcome {
        Ok(placed) => format!(
            "{} {} {:?} {} {:?}",
            placed.message_key, placed.sequence, placed.status, placed.durable_offset, placed.effect
        ),
        Err(error) => format!("{:?} {error}", error.reason()),
    }
}

proptest! {
    /// Writes in any batches have the outcomes that they have one by one.
    #[test]
    fn batches_change_nothing(
        writes in prop::collection::vec(any_write(), 1..60),
        cuts in prop::collection::vec((1..20usize, 0..3i64), 1..40),
    ) {
        let (mut alone, mut together) = (tables(), tables());
        let mut rest = writes.as_slice();
        for (size, minutes) in cuts.into_iter().cycle() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let expected: Vec<_> =
                batch.iter().map(|write| seen(&one(&mut alone, write.clone()))).collect();
            let found: Vec<_> = together.commit_all(batch).iter().map(seen).collect();
            // The ids of messages are part of some errors, and are the same in both.
            prop_assert_eq!(found, expected);
            for tables in [&mut alone, &mut together] {
                tables.clock += minutes * 60_000;
            }
            if rest.is_empty() {
                break;
            }
        }
        for (key, row) in &alone.messages {
            prop_assert_eq!(together.messages[key].text(), row.text());
            prop_assert_eq!(together.messages[key].status, row.status);
            let whole = row.text() == "whole";
            // The stored text is one of the two, or the beginning of one. It is never a mix of both.
            prop_assert!(whole || TEXTS.iter().any(|text| text.starts_with(&row.text())), "{}", row.text());
        }
    }
}
