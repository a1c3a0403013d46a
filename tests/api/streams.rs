//! AddMessage: texts that arrive in pieces, and streams that share the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crm_backend::pb::add_message_request::Command as Ask;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::get_message_request::Name;
use crm_backend::pb::{
    ActionStatus, AddMessageRequest, AiMetadata, Message, MessageAck, MessageAction, MessageFinish,
    MessageRole, MessageStart, MessageStatus,
};
use prost_types::{Struct, Timestamp, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::conversations::{Stream, abort, delta, finish, message, restart, start};
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// Returns every answer until the stream ends with OK.
async fn rest(stream: &mut Stream) -> Vec<Result<MessageAck, Status>> {
    stream.close();
    let mut answers = Vec::new();
    while let Some(answer) = stream.answer().await.expect("the stream ends with OK") {
        answers.push(match answer {
            Answer::Ack(ack) => Ok(ack),
            Answer::Error(error) => Err(crate::support::raw::unary(error)),
            Answer::GoAway(_) => panic!("nobody stops the service"),
        });
    }
    answers
}

/// Returns the end of the text from an error.
#[track_caller]
fn expected_offset(error: &Status) -> String {
    error.is(Code::OutOfRange, "OFFSET_OUT_OF_RANGE");
    let details = error.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    info.metadata.get("expected_offset").expect("where the text ends").clone()
}

/// Returns the first byte at which the text differs, from an error.
#[track_caller]
fn differs_from(error: &Status) -> String {
    error.is(Code::FailedPrecondition, "TEXT_DIFFERS");
    let details = error.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    info.metadata.get("differs_from").expect("where they part").clone()
}

fn seen(messages: &[Message]) -> Vec<(i32, MessageStatus, &str)> {
    messages.iter().map(|message| (message.sequence, message.status(), message.content.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_text_may_be_sent_without_waiting() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, "Grüß "), delta("a", 7, "dich"), finish("a", 11)]);
    stream.send("", message("b", "Hello"));
    let started = stream.acked(0).await;
    assert_eq!((started.sequence, started.status()), (1, MessageStatus::InProgress));
    let written = stream.acked(11).await;
    assert_eq!((&written.message_id, written.deduplicated), (&started.message_id, false));
    let finished = stream.acked(11).await;
    assert_eq!((finished.sequence, finished.status()), (1, MessageStatus::Completed));
    assert_eq!(stream.acked(5).await.sequence, 2);
    assert_eq!(rest(&mut stream).await.len(), 0, "deltas are answered together");
    let expected = [(1, MessageStatus::Completed, "Grüß dich"), (2, MessageStatus::Completed, "Hello")];
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await), expected);
    let sql = crm.sql().await;
    for table in ["message_drafts", "message_pieces"] {
        assert_eq!(sql.number(&format!("SELECT count(*) FROM {table}")).await, 0, "nothing stays behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_are_acked_together_and_never_before_they_are_stored() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let sql = crm.sql().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p")]);
    stream.tell(&talk.id, (0..640).map(|offset| delta("a", offset, "x")));
    let (mut durable, mut acks) = (-1, 0);
    while durable < 640 {
        let ack = stream.outcome().await.expect("an ack");
        assert!(ack.durable_offset > durable, "{ack:?} after {durable}");
        let stored = sql.number("SELECT coalesce(sum(octet_length(text)), 0) FROM message_pieces").await;
        assert!(stored >= ack.durable_offset.into());
        durable = ack.durable_offset;
        acks += 1;
    }
    assert!(acks <= 1 + 640 / 4, "{acks} acks for 640 deltas");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_known_at_the_end_is_added_to_what_was_known_at_the_start() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let text = |text: &str| text.to_owned();
    let at_start = AiMetadata {
        provider: text("acme"),
        model: text("m-1"),
        prompt_tokens: Some(7),
        ..Default::default()
    };
    let action = MessageAction {
        id: text("call-1"),
        name: text("search"),
        arguments: text("{\"big\": 12345678901234567890, \"b\": 1.0, \"a\":  2}"),
        result: text("not JSON {"),
        status: ActionStatus::Succeeded.into(),
    };
    let begin = Ask::Start(MessageStart {
        message_key: text("a"),
        role: 2,
        author: text("Ada"),
        content_type: text("text/markdown"),
        ai: Some(at_start),
        producer_id: text("p"),
        ..Default::default()
    });
    let at_end = AiMetadata {
        model: text("m-2"),
        completion_tokens: Some(0),
        finish_reason: text("stop"),
        response_duration: Some(prost_types::Duration { seconds: 1, nanos: 500_000 }),
        ..Default::default()
    };
    let end = Ask::Finish(MessageFinish {
        message_key: text("a"),
        length: 5,
        ai: Some(at_end.clone()),
        actions: vec![action.clone()],
    });
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [begin, delta("a", 0, "Hello"), end]);
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
    let stored = tenant.messages(&talk.id, 0).await.remove(0);
    let merged = AiMetadata { provider: text("acme"), prompt_tokens: Some(7), ..at_end };
    assert_eq!(stored.ai, Some(merged));
    assert_eq!(stored.actions, [action]);
    assert_eq!((stored.author.as_str(), stored.content_type.as_str()), ("Ada", "text/markdown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_broke_off_goes_on_through_another_replica() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p")]);
    stream.acked(0).await;
    let first = stream.write(&talk.id, "a", 0, "Grüß").await;
    drop(stream);
    let half = [(1, MessageStatus::InProgress, "Grüß")];
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await), half);
    let read = tenant.message(&talk.id, &first.message_id).await.expect("there");
    assert_eq!(seen(&[read]), half);
    let now = tenant.read(&talk.id).await.expect("there");
    assert_eq!((now.message_count, now.last_sequence), (1, 1));

    let elsewhere = tenant.through(&replica);
    let mut stream = elsewhere.stream().await;
    stream.tell(&talk.id, [start("a", "p")]);
    let again = stream.acked(6).await;
    assert_eq!((&again.message_id, again.deduplicated), (&first.message_id, true));
    // Text that was sent and maybe not stored is sent again, from any earlier point.
    stream.tell(&talk.id, [delta("a", 4, "ß d"), delta("a", 8, "ich"), finish("a", 11)]);
    stream.acked(11).await;
    assert_eq!(stream.acked(11).await.status(), MessageStatus::Completed);
    assert_eq!(seen(&elsewhere.messages(&talk.id, 0).await), [(1, MessageStatus::Completed, "Grüß dich")]);
    stream.tell(&talk.id, [start("a", "q")]);
    let done = stream.acked(11).await;
    assert_eq!((done.status(), done.deduplicated), (MessageStatus::Completed, true));
}

/// Returns the first start of a message, with all fields, and that of a process that knows only the message's key.
fn full_and_bare(key: &str) -> (Ask, Ask) {
    let bare = MessageStart {
        message_key: key.to_owned(),
        role: MessageRole::Assistant.into(),
        ..Default::default()
    };
    let full = MessageStart {
        content_type: "text/markdown".to_owned(),
        author: "Zoë's assistant".to_owned(),
        sent_time: Some(Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        ai: Some(AiMetadata { model: "large".to_owned(), ..Default::default() }),
        metadata: Some(Struct { fields: [("turn".to_owned(), Value::from(7.0))].into() }),
        ..bare.clone()
    };
    (Ask::Start(full), Ask::Start(bare))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_key_goes_on_with_a_message() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let (full, bare) = full_and_bare("a");
    let mut stream = tenant.stream().await;
    stream.tell(&talk, [full.clone(), delta("a", 0, "Hel")]);
    stream.acked(0).await;
    stream.acked(3).await;
    drop(stream);
    let mut stream = tenant.through(&replica).stream().await;
    stream.tell(&talk, [bare.clone()]);
    assert!(stream.acked(3).await.deduplicated);
    stream.tell(&talk, [delta("a", 3, "lo"), abort("a"), bare.clone(), finish("a", 5)]);
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
    let message = tenant.message_named(&talk, Name::MessageKey("a".to_owned())).await.expect("there");
    assert_eq!((message.status(), &*message.content), (MessageStatus::Completed, "Hello"));
    // Its properties come from its first start, even if later ones say something else.
    let mut stream = tenant.stream().await;
    let later = MessageStart {
        message_key: "a".to_owned(),
        role: MessageRole::Assistant.into(),
        author: "Ben".to_owned(),
        sent_time: Some(Timestamp { seconds: 1_790_000_001, nanos: 0 }),
        ..Default::default()
    };
    stream.tell(&talk, [Ask::Start(later), full]);
    stream.acked(5).await;
    stream.acked(5).await;
    let again = tenant.message(&talk, &message.id).await.expect("there");
    assert_eq!(again, message);
    let ai = message.ai.expect("said at the start");
    assert_eq!(
        (&*message.author, &*message.content_type, &*ai.model),
        ("Zoë's assistant", "text/markdown", "large")
    );
    // Another role is another message.
    let other =
        MessageStart { role: MessageRole::Agent.into(), message_key: "a".to_owned(), ..Default::default() };
    stream.tell(&talk, [Ask::Start(other)]);
    stream.outcome().await.expect_err("an agent's").is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_needs_a_text_or_actions_however_it_comes() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let actions = vec![MessageAction { name: "opening_hours".to_owned(), ..Default::default() }];
    let call = |key: &str| Message { actions: actions.clone(), ..message(key, "") };
    let close = |key: &str, actions: &[MessageAction]| {
        let actions = actions.to_vec();
        Ask::Finish(MessageFinish { message_key: key.to_owned(), length: 0, actions, ..Default::default() })
    };
    let mut stream = tenant.stream().await;
    stream.send(&talk, call("whole"));
    stream.tell(&talk, [start("pieces", "p"), close("pieces", &actions)]);
    for answer in rest(&mut stream).await {
        assert_eq!(answer.expect("an ack").durable_offset, 0);
    }
    tenant.add(&talk, call("unary")).await.expect("added");
    let stored = tenant.messages(&talk, 0).await;
    assert_eq!(seen(&stored), [1, 2, 3].map(|sequence| (sequence, MessageStatus::Completed, "")));
    assert!(stored.iter().all(|message| message.actions == actions));

    let mut stream = tenant.stream().await;
    stream.send(&talk, message("nothing", ""));
    stream.outcome().await.expect_err("nothing at all").is_invalid(&["message.content"]);
    stream.tell(&talk, [start("nothing", "p"), close("nothing", &[])]);
    // A broken rule needs no commit, but answers come in order.
    stream.acked(0).await;
    stream.outcome().await.expect_err("nothing at all").is_invalid(&["finish.length"]);
    tenant
        .add(&talk, message("nothing too", ""))
        .await
        .expect_err("the same")
        .is_invalid(&["message.content"]);
    stream.tell(&talk, [close("nothing", &actions)]);
    assert_eq!(stream.acked(0).await.status(), MessageStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_takes_its_message_over_and_the_former_stream_is_told() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (mut former, mut later) = (tenant.stream().await, tenant.through(&replica).stream().await);
    former.tell(&talk.id, [start("a", "p")]);
    former.acked(0).await;
    former.write(&talk.id, "a", 0, "Hel").await;
    later.tell(&talk.id, [start("a", "q")]);
    let held = later.outcome().await.expect_err("another producer writes it");
    held.is(Code::Aborted, "MESSAGE_HELD");
    let retry =
        held.get_error_details().retry_info().and_then(|info| info.retry_delay).expect("when to retry");
    assert!(retry <= Duration::from_secs(120), "{retry:?}");
    later.tell(&talk.id, [delta("a", 3, "x")]);
    later.outcome().await.expect_err("not its own").is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");

    later.tell(&talk.id, [start("a", "p")]);
    later.acked(3).await;
    for late in [delta("a", 3, "x"), finish("a", 3), abort("a")] {
        former.tell(&talk.id, [late]);
        former.outcome().await.expect_err("taken over").is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");
    }
    later.tell(&talk.id, [delta("a", 3, "lo"), finish("a", 5)]);
    assert!(rest(&mut later).await.iter().all(Result::is_ok));
    former.send(&talk.id, message("b", "The stream lives"));
    assert_eq!(former.acked(16).await.sequence, 2);
    assert_eq!(tenant.messages(&talk.id, 0).await[0].content, "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_goes_on_with_is_incomplete_until_somebody_does() {
    let settings = Settings { lease: Duration::from_millis(200), ..Settings::default() };
    let crm = Crm::with(settings).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, "Hel")]);
    stream.acked(0).await;
    let id = stream.acked(3).await.message_id;
    let status = async || tenant.message(&talk.id, &id).await.expect("there").status();
    eventually("the lease runs out", async || status().await == MessageStatus::Incomplete).await;
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await), [(1, MessageStatus::Incomplete, "Hel")]);
    stream.tell(&talk.id, [delta("a", 3, "lo")]);
    stream.outcome().await.expect_err("given up").is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");
    // Any producer may continue it now. A slow machine could let it expire again.
    stream.tell(&talk.id, [start("a", "q"), delta("a", 3, "lo"), finish("a", 5)]);
    let answers: Vec<_> = rest(&mut stream).await.into_iter().map(|answer| answer.expect("an ack")).collect();
    assert_eq!(answers.last().map(MessageAck::status), Some(MessageStatus::Completed));
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await), [(1, MessageStatus::Completed, "Hello")]);
    assert_eq!(crm.sql().await.number("SELECT count(*) FROM message_drafts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_not_the_end_is_skipped_or_sent_back() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, "aä"), delta("a", 4, "x")]);
    stream.acked(0).await;
    // The refused one needs no commit, so its answer may come first.
    let mut answers = [stream.outcome().await, stream.outcome().await];
    answers.sort_by_key(Result::is_err);
    let [Ok(ack), Err(error)] = answers else { panic!("an ack and an error: {answers:?}") };
    assert_eq!(ack.durable_offset, 3);
    assert_eq!(expected_offset(&error), "3");
    for (offset, text) in [(0, "aä"), (1, "ä"), (3, ""), (0, "")] {
        stream.tell(&talk.id, [delta("a", offset, text)]);
        stream.acked(3).await;
    }
    for (offset, text, from) in [(2, "ö", "2"), (0, "abö", "1")] {
        stream.tell(&talk.id, [delta("a", offset, text), start("a", "p")]);
        assert_eq!(differs_from(&stream.outcome().await.expect_err("another text")), from);
        stream.acked(3).await;
    }
    for wrong in [1, 2, 4] {
        stream.tell(&talk.id, [finish("a", wrong)]);
        assert_eq!(expected_offset(&stream.outcome().await.expect_err("another length")), "3");
    }
    stream.tell(&talk.id, [finish("a", 3)]);
    stream.acked(3).await;
    assert_eq!(tenant.messages(&talk.id, 0).await[0].content, "aä");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_are_never_welded() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let (yes, no) = ("Yes, we do.", "No, unfortunately not.");
    // All at once; after the first is stored; through another replica; after the message was abandoned.
    for (number, key) in ["at once", "stored", "elsewhere", "given up"].into_iter().enumerate() {
        let mut stream = tenant.stream().await;
        stream.tell(&talk, [start(key, "p"), delta(key, 0, yes)]);
        stream.acked(0).await;
        if number > 0 {
            stream.acked(11).await;
        }
        if number == 2 {
            stream = tenant.through(&replica).stream().await;
            stream.tell(&talk, [start(key, "p")]);
            stream.acked(11).await;
        }
        if number == 3 {
            stream.tell(&talk, [abort(key), start(key, "p")]);
            stream.acked(11).await;
            stream.acked(11).await;
        }
        // The following text belongs to the other text too.
        stream.tell(&talk, [delta(key, 0, no), finish(key, 22)]);
        if number == 0 {
            stream.acked(11).await;
        }
        assert_eq!(differs_from(&stream.outcome().await.expect_err(key)), "0");
        let error = stream.outcome().await.expect_err("not started again");
        error.is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");
        stream.tell(&talk, [delta(key, 11, "nately not."), finish(key, 11)]);
        for _ in 0..2 {
            let error = stream.outcome().await.expect_err("not started again");
            error.is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");
        }
        stream.tell(&talk, [restart(key, "p"), delta(key, 0, no), finish(key, 22), delta(key, 0, yes)]);
        assert_eq!(stream.acked(0).await.status(), MessageStatus::InProgress);
        stream.acked(22).await;
        assert_eq!(stream.acked(22).await.status(), MessageStatus::Completed);
        assert_eq!(differs_from(&stream.outcome().await.expect_err("not any more")), "0");
        // A complete message stays unchanged.
        stream.tell(&talk, [restart(key, "p")]);
        assert_eq!(stream.acked(22).await.status(), MessageStatus::Completed);
    }
    let stored = tenant.messages(&talk, 0).await;
    assert_eq!(seen(&stored), [1, 2, 3, 4].map(|sequence| (sequence, MessageStatus::Completed, no)));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_sent_again_is_compared_byte_by_byte() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    // Many pieces, characters of all lengths, and a part that was stored before the message was continued.
    let text: String = "aß€👋".chars().cycle().take(400).collect();
    let half = text.char_indices().nth(200).expect("a half").0;
    let mut stream = tenant.stream().await;
    stream.tell(&talk, [start("a", "p")]);
    stream.acked(0).await;
    stream.write(&talk, "a", 0, &text[..half]).await;
    stream.tell(&talk, [abort("a"), start("a", "p")]);
    stream.acked(half).await;
    stream.acked(half).await;
    stream.write(&talk, "a", half, &text[half..]).await;
    for (from, character) in text.char_indices().step_by(37) {
        let other = if character == 'a' { "b" } else { "a" };
        let mut before = text.char_indices().map(|(index, _)| index).filter(|index| index + 50 < from);
        let again = before.next_back().unwrap_or(0);
        stream.tell(&talk, [delta("a", again, &text[again..from])]);
        stream.acked(text.len()).await;
        stream.tell(&talk, [delta("a", again, &format!("{}{other}", &text[again..from])), start("a", "p")]);
        assert_eq!(differs_from(&stream.outcome().await.expect_err("another text")), from.to_string());
        stream.acked(text.len()).await;
    }
    stream.tell(&talk, [delta("a", 0, &format!("{text}!")), finish("a", text.len() + 1)]);
    stream.acked(text.len() + 1).await;
    stream.acked(text.len() + 1).await;
    assert_eq!(tenant.messages(&talk, 0).await[0].content, format!("{text}!"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_has_as_many_bytes_as_allowed() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let half = "ä".repeat(65_536);
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, &half), delta("a", 131_072, &half)]);
    stream.acked(0).await;
    while stream.outcome().await.expect("an ack").durable_offset < 262_144 {}
    stream.tell(&talk.id, [delta("a", 262_144, "x")]);
    stream.outcome().await.expect_err("one more").is_invalid(&["delta.text"]);
    stream.tell(&talk.id, [finish("a", 262_145)]);
    stream.outcome().await.expect_err("no text is so long").is_invalid(&["finish.length"]);
    stream.tell(&talk.id, [finish("a", 262_144)]);
    stream.acked(262_144).await;
    assert_eq!(tenant.messages(&talk.id, 0).await[0].content.len(), 262_144);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_an_end_and_may_be_sent_again() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    for key in ["a", "b"] {
        stream.tell(&talk.id, [start(key, "p"), delta(key, 0, "Hello")]);
    }
    let end = |key| if key == "a" { finish("a", 5) } else { abort("b") };
    stream.tell(&talk.id, ["a", "b", "a", "b"].map(end));
    // Sent again without waiting: stored text is acked.
    stream.tell(&talk.id, [delta("a", 0, "Hello"), delta("b", 2, "llo")]);
    let answers = rest(&mut stream).await;
    assert_eq!(answers.len(), 10, "{answers:?}");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");

    let mut stream = tenant.stream().await;
    let closed = (Code::FailedPrecondition, "MESSAGE_CLOSED");
    let cases = [
        (delta("a", 5, "!"), closed),
        (abort("a"), closed),
        (finish("a", 4), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")),
        (delta("b", 5, "!"), (Code::FailedPrecondition, "MESSAGE_NOT_STARTED")),
        (finish("b", 4), (Code::OutOfRange, "OFFSET_OUT_OF_RANGE")),
    ];
    for (ask, (code, reason)) in cases {
        stream.tell(&talk.id, [ask]);
        stream.outcome().await.expect_err("closed").is(code, reason);
    }
    let expected = [(1, MessageStatus::Completed, "Hello"), (2, MessageStatus::Incomplete, "Hello")];
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await), expected);
    stream.tell(&talk.id, [start("b", "p"), delta("b", 5, "!"), abort("b"), start("b", "q"), finish("b", 6)]);
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
    assert_eq!(seen(&tenant.messages(&talk.id, 0).await)[1], (2, MessageStatus::Completed, "Hello!"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_with_other_content_is_refused_and_says_what_differs() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let action = |result: &str| MessageAction {
        name: "search".to_owned(),
        arguments: "{\"b\": 1.0,  \"a\": 2}".to_owned(),
        result: result.to_owned(),
        status: ActionStatus::Succeeded.into(),
        ..Default::default()
    };
    let ai = AiMetadata {
        model: "m-1".to_owned(),
        completion_tokens: Some(0),
        response_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let first = MessageFinish {
        message_key: "a".to_owned(),
        length: 5,
        ai: Some(ai.clone()),
        actions: vec![action("found")],
    };
    let mut stream = tenant.stream().await;
    // The same again, without waiting: possibly in the same batch as the first.
    let again = || Ask::Finish(first.clone());
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, "Hello"), again(), again()]);
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
    let message = tenant.messages(&talk.id, 0).await.remove(0);

    let other_ai = AiMetadata {
        completion_tokens: Some(7),
        response_duration: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..ai
    };
    let cases = [
        (MessageFinish { length: 6, ..first.clone() }, "length"),
        (MessageFinish { actions: vec![action("not found")], ..first.clone() }, "actions"),
        (MessageFinish { actions: Vec::new(), ..first.clone() }, "actions"),
        (
            MessageFinish { ai: Some(other_ai), actions: Vec::new(), length: 4, ..first.clone() },
            "length, actions, ai.completion_tokens, ai.response_duration",
        ),
    ];
    let mut stream = tenant.stream().await;
    for (finish, differing) in cases {
        stream.tell(&talk.id, [Ask::Finish(finish)]);
        let error = stream.outcome().await.expect_err("other content");
        error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
        assert!(error.message().contains(&format!("in: {differing};")), "{error:?}");
        stream.tell(&talk.id, [again()]);
        assert!(stream.outcome().await.expect("the same again").deduplicated);
    }
    assert_eq!(tenant.messages(&talk.id, 0).await, [message]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_in_a_wrong_place_gets_an_error_and_the_stream_lives() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (talk, ended) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let foreign = crm.tenant().conversation().await.id;
    let mut stream = tenant.stream().await;
    stream.send(&talk, message("taken", "Yes"));
    stream.tell(&ended, [start("open", "p"), start("done", "p"), delta("done", 0, "x"), finish("done", 1)]);
    for _ in 0..5 {
        stream.outcome().await.expect("an ack");
    }
    tenant.finish(&ended).await;
    let named = |key: &str| Ask::Start(MessageStart { message_key: key.to_owned(), ..Default::default() });
    let (missing, precondition, invalid) = (Code::NotFound, Code::FailedPrecondition, Code::InvalidArgument);
    let cases = [
        (UNKNOWN, start("k", "p"), missing, "CONVERSATION_NOT_FOUND"),
        (UNKNOWN, delta("k", 0, "x"), missing, "CONVERSATION_NOT_FOUND"),
        (&foreign, start("k", "p"), missing, "CONVERSATION_NOT_FOUND"),
        (&foreign, finish("k", 1), missing, "CONVERSATION_NOT_FOUND"),
        (&ended, start("new", "p"), precondition, "CONVERSATION_ENDED"),
        (&talk, start("taken", "p"), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
        (&talk, delta("never", 0, "x"), precondition, "MESSAGE_NOT_STARTED"),
        (&talk, finish("never", 1), precondition, "MESSAGE_NOT_STARTED"),
        (&talk, abort("never"), precondition, "MESSAGE_NOT_STARTED"),
        (&talk, named("k"), invalid, "FIELD_INVALID"),
        (&talk, start("", "p"), invalid, "FIELD_INVALID"),
        (&talk, start("k", "two\nlines"), invalid, "FIELD_INVALID"),
        (&talk, delta("k", 0, "\0"), invalid, "FIELD_INVALID"),
        ("nonsense", start("k", "p"), invalid, "FIELD_INVALID"),
    ];
    for (number, (conversation, ask, code, reason)) in cases.into_iter().enumerate() {
        stream.tell(conversation, [ask.clone()]);
        let error = stream.outcome().await.expect_err("refused");
        assert_eq!((error.code(), error.reason().as_str()), (code, reason), "{ask:?}: {error:?}");
        stream.send(&talk, message(&format!("good {number}"), "Hello"));
        stream.acked(5).await;
    }
    // A message that began before its conversation ended may be written to its end.
    stream.tell(&ended, [start("done", "p"), start("open", "p"), delta("open", 0, "Bye"), finish("open", 3)]);
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_shutdown_text_that_arrived_is_stored_and_acked() {
    let mut crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p"), delta("a", 0, "x")]);
    stream.acked(0).await;
    stream.acked(1).await;
    stream.tell(&talk.id, (1..2_000).map(|offset| delta("a", offset, "x")));
    let mut durable = stream.outcome().await.expect("an ack").durable_offset;
    crm.begin_shutdown();
    loop {
        match stream.answer().await.expect("the stream ends with OK") {
            Some(Answer::Ack(ack)) => durable = ack.durable_offset.max(durable),
            Some(Answer::GoAway(_)) => break,
            other => panic!("neither ack nor go_away: {other:?}"),
        }
    }
    assert_eq!(stream.answer().await.expect("OK"), None);
    crm.shut_down().await.expect("a clean end");
    let stored = crm.sql().await.number("SELECT sum(octet_length(text)) FROM message_pieces").await;
    assert_eq!(stored, i64::from(durable), "what is acked is stored, and what is stored is acked");

    let replica = crm.replica().await;
    let mut stream = tenant.through(&replica).stream().await;
    let durable = usize::try_from(durable).expect("some text");
    stream.tell(&talk.id, [start("a", "p"), finish("a", durable)]);
    stream.acked(durable).await;
    assert_eq!(stream.acked(durable).await.status(), MessageStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_does_not_read_its_acks_is_acked_once_it_reads() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    for key in 0..800 {
        let key = key.to_string();
        stream.tell(&talk.id, [start(&key, "p"), delta(&key, 0, "Hello"), finish(&key, 5)]);
    }
    let count = async || tenant.read(&talk.id).await.expect("there").message_count;
    eventually("messages arrive", async || count().await >= 85).await;
    let answers = rest(&mut stream).await;
    assert_eq!(answers.len(), 2_400);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(count().await, 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_streams_into_one_conversation_each_writes_its_own_text() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let streams = (0..64_usize).map(|number| {
        let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let id = talk.id.clone();
        async move {
            let mut stream = tenant.stream().await;
            let (key, word) = (number.to_string(), format!("{number:02} "));
            stream.tell(&id, [start(&key, "p")]);
            stream.tell(&id, (0..20).map(|turn| delta(&key, 3 * turn, &word)));
            stream.send(&id, message(&format!("whole {number}"), "beside it"));
            stream.tell(&id, [finish(&key, 60)]);
            let answers = rest(&mut stream).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
    });
    let calls = (0..16).map(|number| {
        let (tenant, id) = (tenant.clone(), talk.id.clone());
        async move { tenant.add(&id, message(&format!("call {number}"), "unary")).await.map(drop) }
    });
    let (_, added) = tokio::join!(at_once(streams), at_once(calls));
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    let stored = tenant.messages(&talk.id, 0).await;
    let sequences: Vec<_> = stored.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (1..=144).collect::<Vec<_>>());
    for message in stored {
        if let Ok(number) = message.message_key.parse::<usize>() {
            assert_eq!(message.content, format!("{number:02} ").repeat(20));
        }
        assert_eq!(message.status(), MessageStatus::Completed);
    }
    assert_eq!(tenant.read(&talk.id).await.expect("there").message_count, 144);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_share_transactions_share_nothing_else() {
    let crm = Crm::start().await;
    let tenants: Vec<Tenant> = (0..24).map(|_| crm.tenant()).collect();
    let mut talks = Vec::new();
    for tenant in &tenants {
        talks.push((tenant.clone(), tenant.conversation().await.id));
    }
    let streams = talks.iter().cloned().map(|(tenant, id)| async move {
        let mut stream = tenant.stream().await;
        // The same keys for all, and a text that names its owner.
        let text = tenant.id.to_string();
        for turn in 0..20 {
            let (whole, pieces, open) = (format!("w{turn}"), format!("p{turn}"), format!("o{turn}"));
            stream.send(&id, message(&whole, &text));
            stream.tell(&id, [start(&pieces, "p"), delta(&pieces, 0, &text), finish(&pieces, 36)]);
            stream.tell(&id, [start(&open, "p"), delta(&open, 0, &text)]);
        }
        let answers = rest(&mut stream).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    });
    at_once(streams).await;
    let sql = crm.sql().await;
    for (table, column, count) in [("conversation_messages", "content", 60), ("message_pieces", "text", 20)] {
        let strays = format!("SELECT count(*) FROM {table} WHERE {column} NOT IN ('', tenant_id::text)");
        assert_eq!(sql.number(&strays).await, 0, "{table}");
        let counts = format!("SELECT DISTINCT count(*) FROM {table} GROUP BY tenant_id");
        assert_eq!(sql.texts(&counts).await, [count.to_string()], "{table}");
    }
    let misplaced = "SELECT count(*) FROM conversation_messages m LEFT JOIN conversations c
                     ON c.id = m.conversation_id AND c.tenant_id = m.tenant_id WHERE c.id IS NULL";
    assert_eq!(sql.number(misplaced).await, 0);
    for (tenant, id) in &talks {
        let found = tenant.messages(id, 0).await;
        assert!(found.iter().all(|message| message.content == tenant.id.to_string()));
        assert_eq!(found.len(), 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_somebody_holds_holds_up_no_other() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (held, free) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let sql = crm.sql().await;
    sql.run(&format!(
        "BEGIN; SELECT id FROM conversations WHERE tenant_id = '{}' AND id = '{held}' FOR UPDATE",
        tenant.id
    ))
    .await;
    let mut waiting = tenant.stream().await;
    waiting.tell(&held, [start("a", "p"), delta("a", 0, "Hello"), finish("a", 5)]);
    let mut stream = tenant.stream().await;
    for key in 0..50 {
        let key = key.to_string();
        stream.send(&free, message(&key, "Hello"));
        stream.acked(5).await;
    }
    assert_eq!(crm.sql().await.number("SELECT count(*) FROM conversation_messages").await, 50);
    sql.run("COMMIT").await;
    for length in [0, 5, 5] {
        waiting.acked(length).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_write_harms_only_itself() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (talk, other) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let sql = crm.sql().await;
    sql.run("ALTER TABLE conversation_messages ADD CHECK (content <> 'poison')").await;
    sql.run("ALTER TABLE message_pieces ADD CHECK (text <> 'poison')").await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk, [start("text", "p"), start("poisoned", "p")]);
    for key in 0..40 {
        let poison = key % 10 == 3;
        stream.send(&talk, message(&key.to_string(), if poison { "poison" } else { "Hello" }));
        stream.send(&other, message(&key.to_string(), "Hello"));
    }
    stream.tell(&talk, [delta("text", 0, "Hello"), finish("text", 5)]);
    stream.tell(&talk, [delta("poisoned", 0, "poison"), abort("poisoned")]);
    let mut refused = BTreeSet::new();
    for answer in rest_with_errors(&mut stream).await {
        if let Err((key, error)) = answer {
            error.is(Code::InvalidArgument, "FIELD_INVALID");
            refused.insert(key);
        }
    }
    let expected = ["13", "23", "3", "33", "poisoned"].map(str::to_owned);
    assert_eq!(refused, BTreeSet::from(expected));
    let stored = tenant.messages(&talk, 0).await;
    let sequences: Vec<_> = stored.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (1..=38).collect::<Vec<_>>());
    assert_eq!(
        seen(&stored)[..2],
        [(1, MessageStatus::Completed, "Hello"), (2, MessageStatus::Incomplete, "")]
    );
    assert_eq!(tenant.messages(&other, 0).await.len(), 40);
}

/// Returns every answer until the end, errors with their key.
async fn rest_with_errors(stream: &mut Stream) -> Vec<Result<MessageAck, (String, Status)>> {
    stream.close();
    let mut answers = Vec::new();
    while let Some(answer) = stream.answer().await.expect("the stream ends with OK") {
        answers.push(match answer {
            Answer::Ack(ack) => Ok(ack),
            Answer::Error(error) => Err((error.message_key.clone(), crate::support::raw::unary(error))),
            Answer::GoAway(_) => panic!("nobody stops the service"),
        });
    }
    answers
}

/// Adds messages without end, with this many in progress, until the other tenant is `done`. Returns how many were
/// acked.
async fn keep_adding(mut stream: Stream, id: String, name: usize, done: Arc<AtomicBool>) -> usize {
    const UNDER_WAY: usize = 200;
    let mut sent = 0;
    let mut acked = 0;
    while !done.load(Ordering::Relaxed) {
        while sent < acked + UNDER_WAY {
            stream.send(&id, message(&format!("{name}/{sent}"), "Hello"));
            sent += 1;
        }
        stream.acked(5).await;
        acked += 1;
    }
    acked + rest(&mut stream).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tenant_does_not_keep_another_one_waiting() {
    const STREAMS: usize = 8;
    let crm = Crm::start().await;
    let (busy, calm) = (crm.tenant(), crm.tenant());
    let (of_busy, of_calm) = (busy.conversation().await.id, calm.conversation().await.id);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(busy.stream().await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let flood = at_once(
        streams
            .into_iter()
            .enumerate()
            .map(|(name, stream)| keep_adding(stream, of_busy.clone(), name, Arc::clone(&done))),
    );
    let wait_turn = async {
        eventually("the busy tenant is busy", async || {
            busy.read(&of_busy).await.expect("there").message_count > 0
        })
        .await;
        let mut stream = calm.stream().await;
        for key in ["a", "b"] {
            stream.send(&of_calm, message(key, "Hello"));
            stream.acked(5).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (acked, ()) = tokio::join!(flood, wait_turn);
    let stored = busy.read(&of_busy).await.expect("there").message_count;
    assert_eq!(i32::try_from(acked.iter().sum::<usize>()), Ok(stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_named_once_for_what_follows() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (ana, ben) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let mut stream = tenant.stream().await;
    stream.tell(&ana, [start("a", "p")]);
    stream.tell("", [delta("a", 0, "Ana")]);
    stream.tell(&ben, [start("a", "p")]);
    stream.tell("", [delta("a", 0, "Ben!"), finish("a", 4)]);
    stream.send_request(AddMessageRequest { conversation_id: ana.clone(), command: Some(finish("a", 3)) });
    assert!(rest(&mut stream).await.iter().all(Result::is_ok));
    assert_eq!(tenant.messages(&ana, 0).await[0].content, "Ana");
    assert_eq!(tenant.messages(&ben, 0).await[0].content, "Ben!");
}
