//! WatchConversation: past events, then new ones.

use std::time::{Duration, Instant};

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{
    AiMetadata, Conversation, ConversationStatus, CreateMessageRequest, EndConversationRequest, Message,
    MessageAction, MessageStatus, WatchConversationRequest,
};
use crm_testkit::Sql;
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::{message, restart};
use crate::support::postgres::waiting_statements;
use crate::support::samples::analysis;
use crate::support::sql::columns;
use crate::support::watch::{BEGINNING, Watch};
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually, soon};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// The connections of replicas that hear each other.
const LISTENERS: &str = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()";

/// Adds messages without waiting between them.
async fn add_many(tenant: Tenant, talk: String, name: String, count: usize) {
    let mut stream = tenant.stream().await;
    for number in 0..count {
        stream.send(&talk, message(&format!("{name}/{number}"), "Hello"));
    }
    stream.close();
    for _ in 0..count {
        stream.outcome().await.expect("an ack");
    }
}

fn after(sequence: i32) -> Option<Start> {
    Some(Start::AfterSequence(sequence))
}

fn resume(token: &str) -> Option<Start> {
    Some(Start::ResumeToken(token.to_owned()))
}

/// Returns the kind of an event, and its message.
fn name(event: &Event) -> String {
    let of = |kind: &str, message: &Option<Message>| {
        let message = message.as_ref().expect("a message");
        format!("{kind} {} {:?}", message.sequence, message.content)
    };
    match event {
        Event::MessageAdded(it) => of("added", &it.message),
        Event::MessageStarted(it) => of("started", &it.message),
        Event::MessageFinished(it) => of("finished", &it.message),
        Event::MessageAborted(it) => of("aborted", &it.message),
        Event::MessageDelta(text) => format!("delta {} {} {:?}", text.sequence, text.offset, text.text),
        Event::MessageSnapshot(text) => format!("snapshot {} {:?}", text.sequence, text.text),
        Event::ConversationUpdated(_) => "updated".to_owned(),
        Event::ConversationEnded(_) => "ended".to_owned(),
        Event::AnalysisRecorded(_) => "analysis".to_owned(),
        Event::Checkpoint(it) => format!("checkpoint {}", it.last_sequence),
        Event::GoAway(_) => "go away".to_owned(),
    }
}

/// Returns the next events, as names.
async fn names(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(name(&watch.next().await));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_then_what_happens_without_a_gap_through_every_replica() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    add_many(tenant.clone(), talk.clone(), "before".to_owned(), 250).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let tenant = if writer % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
            add_many(tenant, talk.clone(), writer.to_string(), 100)
        })
        .collect();
    let writing = tokio::task::JoinSet::from_iter(writers);
    let readers = (0..6_i32).map(|reader| {
        let tenant = if reader % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let talk = talk.clone();
        async move {
            let mut watch = tenant.watch(&talk, after(reader * 30)).await;
            watch.log.after = reader * 30;
            let left = 650 - usize::try_from(reader).expect("a number") * 30;
            watch.until_messages(left).await;
            watch.log.messages
        }
    });
    let seen = at_once(readers).await;
    soon(writing.join_all()).await;
    let stored = tenant.messages(&talk, 500).await;
    for (reader, seen) in seen.iter().enumerate() {
        assert_eq!(seen.as_slice(), &stored[reader * 30..], "as it is stored, and nothing else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_where_it_is_told_to() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let (mut from_nothing, mut from_now) =
        (tenant.watch(&talk, BEGINNING).await, tenant.watch(&talk, None).await);
    add_many(tenant.clone(), talk.clone(), "a".to_owned(), 5).await;
    from_nothing.until_messages(5).await;
    from_now.until_messages(5).await;
    let (mut after_two, mut after_last, mut now) = (
        tenant.watch(&talk, after(2)).await,
        tenant.watch(&talk, after(5)).await,
        tenant.watch(&talk, None).await,
    );
    tenant.add(&talk, message("last", "Bye")).await.expect("added");
    assert_eq!(names(&mut after_two, 4).await.last().expect("four"), "added 6 \"Bye\"");
    assert_eq!(after_two.log.messages[0].sequence, 3);
    assert_eq!(names(&mut after_last, 1).await, ["added 6 \"Bye\""]);
    assert_eq!(names(&mut now, 1).await, ["added 6 \"Bye\""]);
    for (sequence, code, reason) in [
        (7, Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE"),
        (i32::MAX, Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE"),
        (-1, Code::InvalidArgument, "FIELD_INVALID"),
    ] {
        let error = tenant.try_watch(&talk, after(sequence), true).await.err().expect("no such place");
        error.is(code, reason);
        assert_eq!(error.fields(), ["after_sequence"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_not_ours_answer_alike() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let talk = tenant.conversation().await.id;
    for start in [None, BEGINNING, after(9), resume("nonsense")] {
        let unknown = tenant.try_watch(UNKNOWN, start.clone(), true).await.err().expect("not there");
        let foreign = other.try_watch(&talk, start, true).await.err().expect("not ours");
        unknown.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
        assert_eq!(unknown.seen(UNKNOWN, "ID"), foreign.seen(&talk, "ID"));
    }
    let error = tenant.try_watch("nonsense", None, true).await.err().expect("no id");
    error.is_invalid(&["conversation_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_fits_one_conversation_of_one_tenant() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (talk, sibling) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let foreign = other.conversation().await.id;
    let mut tokens = Vec::new();
    for (tenant, talk) in [(&tenant, &talk), (&tenant, &sibling), (&other, &foreign)] {
        tenant.add(talk, message("a", "Hello")).await.expect("added");
        tokens.push(tenant.watch(talk, BEGINNING).await.next_with_token().await.0);
    }
    let ours = tokens.remove(0);
    assert!(tenant.try_watch(&talk, resume(&ours), true).await.is_ok());
    for place in 0..ours.len() {
        let mut bytes = ours.clone().into_bytes();
        // Another letter of the same alphabet, so that only some bits of the token differ.
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        tokens.push(String::from_utf8(bytes).expect("text"));
    }
    tokens.extend(["", "nonsense", &ours[1..], &"A".repeat(256)].map(ToOwned::to_owned));
    for token in tokens {
        let error = tenant.try_watch(&talk, resume(&token), true).await.err().expect("not our token");
        error.is(Code::InvalidArgument, "RESUME_TOKEN_INVALID");
        assert_eq!(error.fields(), ["resume_token"]);
    }
    let long = tenant.try_watch(&talk, resume(&"A".repeat(10_240)), true).await.err().expect("10 KB");
    long.is_invalid(&["resume_token"]);
}

/// Creates a conversation with every kind of event. It ends with the message "end".
async fn eventful(tenant: &Tenant) -> String {
    let talk = tenant.conversation().await.id;
    let mut stream = tenant.stream().await;
    tenant.add(&talk, message("a", "Hello")).await.expect("added");
    stream.start(&talk, "b").await;
    stream.say(&talk, "b", 0, "Grüß ").await;
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    stream.say(&talk, "b", 7, "dich").await;
    stream.abort(&talk, "b").await;
    stream.start(&talk, "c").await;
    stream.start(&talk, "b").await;
    stream.say(&talk, "b", 11, "!").await;
    stream.finish(&talk, "b", 12);
    stream.outcome().await.expect("an ack");
    stream.say(&talk, "c", 0, "Yes").await;
    let notes = Conversation { id: talk.clone(), outcome_notes: "New.".to_owned(), ..Default::default() };
    tenant.revise(notes, &[]).await.expect("updated");
    stream.finish(&talk, "c", 3);
    stream.outcome().await.expect("an ack");
    tenant.add(&talk, message("end", "Bye")).await.expect("added");
    tenant.finish(&talk).await;
    talk
}

/// Returns a message with every field set.
fn rich(key: &str) -> Message {
    let text = |text: &str| text.to_owned();
    let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(0.1)) };
    let second = prost_types::Duration { seconds: 1, nanos: 5_999 };
    Message {
        content_type: text("text/markdown"),
        author: text("Ada"),
        sent_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_999 }),
        ai: Some(AiMetadata { model: text("m-1"), response_duration: Some(second), ..Default::default() }),
        actions: vec![MessageAction { name: text("search"), result: text("{ }"), ..Default::default() }],
        metadata: Some(prost_types::Struct { fields: [(text("k"), number)].into() }),
        ..message(key, "Grüß dich 👋")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_as_it_stands() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let (added, _) = tenant.add(&talk, rich("a")).await.expect("added");
    assert_eq!(
        watch.next().await,
        Event::MessageAdded(crm_backend::pb::MessageAdded { message: Some(added) })
    );
    let request = CreateMessageRequest {
        conversation_id: talk.clone(),
        message: Some(message("b", "Again")),
        request_id: Uuid::new_v4().to_string(),
    };
    let added = tenant.conversations().create_message(request).await.expect("added").into_inner().message;
    assert_eq!(watch.next().await, Event::MessageAdded(crm_backend::pb::MessageAdded { message: added }));
    let recorded = tenant.analyse(analysis(&talk)).await.expect("recorded");
    let Event::AnalysisRecorded(told) = watch.next().await else { panic!("no analysis") };
    assert_eq!(told.analysis, Some(recorded));
    let notes = Conversation { id: talk.clone(), outcome_notes: "New.".to_owned(), ..Default::default() };
    let revised = tenant.revise(notes, &[]).await.expect("updated");
    let Event::ConversationUpdated(told) = watch.next().await else { panic!("no update") };
    assert_eq!(told.conversation, Some(revised));
    let abandoned = ConversationStatus::Abandoned.into();
    let request = EndConversationRequest { id: talk.clone(), status: abandoned, ..Default::default() };
    let ended = tenant.end(request).await.expect("ended");
    let Event::ConversationEnded(told) = watch.next().await else { panic!("no end") };
    assert_eq!(told.conversation, Some(ended));
    // The watch continues after the end, and a watch may begin there. The end is not reported again.
    let mut late = tenant.watch(&talk, None).await;
    let notes = Conversation { id: talk.clone(), outcome_notes: "Newer.".to_owned(), ..Default::default() };
    let revised = tenant.revise(notes, &[]).await.expect("updated");
    for watch in [&mut watch, &mut late] {
        let Event::ConversationUpdated(told) = watch.next().await else { panic!("no update") };
        assert_eq!(told.conversation.as_ref(), Some(&revised));
    }
    let recorded = tenant.analyse(analysis(&talk)).await.expect("recorded");
    for watch in [&mut watch, &mut late] {
        let Event::AnalysisRecorded(told) = watch.next().await else { panic!("no analysis") };
        assert_eq!(told.analysis.as_ref(), Some(&recorded));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_progress_is_told_from_start_to_end() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut brief = tenant.try_watch(&talk, None, false).await.expect("a watch");
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.say(&talk, "a", 0, "Grüß ").await;
    stream.say(&talk, "a", 7, "dich").await;
    stream.abort(&talk, "a").await;
    let expected = ["started 1 \"\"", "delta 1 0 \"Grüß \"", "delta 1 7 \"dich\"", "aborted 1 \"Grüß dich\""];
    assert_eq!(names(&mut watch, 4).await, expected);
    assert_eq!(names(&mut brief, 2).await, [expected[0], expected[3]]);
    assert_eq!(watch.log.messages[0].status(), MessageStatus::Incomplete);

    stream.start(&talk, "a").await;
    for watch in [&mut watch, &mut brief] {
        assert_eq!(names(watch, 1).await, ["started 1 \"Grüß dich\""]);
    }
    stream.say(&talk, "a", 11, "!").await;
    stream.finish(&talk, "a", 12);
    stream.outcome().await.expect("an ack");
    assert_eq!(names(&mut watch, 2).await, ["delta 1 11 \"!\"", "finished 1 \"Grüß dich!\""]);
    assert_eq!(names(&mut brief, 1).await, ["finished 1 \"Grüß dich!\""]);
    assert_eq!(watch.log.messages, tenant.messages(&talk, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_exactly_after_every_event() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    // Everything happens during the watch, so that every kind of event comes.
    let talk = tenant.conversation().await.id;
    let mut live = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    tenant.add(&talk, message("a", "Hello")).await.expect("added");
    for key in ["b", "c"] {
        stream.start(&talk, key).await;
        stream.say(&talk, key, 0, "Well").await;
    }
    live.until(|log| log.messages.len() == 3 && log.messages[2].content == "Well").await;
    let mut tokens = Vec::new();
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    tokens.push(live.next_with_token().await.0);
    stream.abort(&talk, "b").await;
    tokens.push(live.next_with_token().await.0);
    let notes = Conversation { id: talk.clone(), outcome_notes: "New.".to_owned(), ..Default::default() };
    tenant.revise(notes, &[]).await.expect("updated");
    tokens.push(live.next_with_token().await.0);
    tenant.add(&talk, message("d", "Hello")).await.expect("added");
    tokens.push(live.next_with_token().await.0);
    stream.finish(&talk, "c", 4);
    stream.outcome().await.expect("an ack");
    tokens.push(live.next_with_token().await.0);
    tenant.finish(&talk).await;
    tokens.push(live.next_with_token().await.0);

    // After each of them, the next events come again, except those that were superseded.
    let rest: Vec<&[&str]> = vec![
        &["aborted 2 \"Well\"", "finished 3 \"Well\"", "added 4 \"Hello\"", "ended"],
        &["finished 3 \"Well\"", "added 4 \"Hello\"", "ended"],
        &["finished 3 \"Well\"", "added 4 \"Hello\"", "ended"],
        &["finished 3 \"Well\"", "ended"],
        &["ended"],
        &[],
    ];
    for (token, rest) in tokens.iter().zip(&rest) {
        for include_deltas in [true, false] {
            let mut watch = tenant.try_watch(&talk, resume(token), include_deltas).await.expect("resumed");
            assert_eq!(names(&mut watch, rest.len()).await, *rest);
        }
    }
    let last = tenant.try_watch(&talk, resume(&tokens[5]), true).await;
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    assert_eq!(names(&mut last.expect("resumed"), 1).await, ["analysis"], "and nothing before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_the_past_resumes_exactly_after_every_event() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = eventful(&tenant).await;
    // From before the first event, which only a token can name: history has a message in its final state.
    let mut watch = tenant.watch(&talk, BEGINNING).await;
    let stored = tenant.messages(&talk, 0).await;
    let mut tokens = Vec::new();
    while tokens.len() < stored.len() {
        tokens.push(watch.next_with_token().await.0);
    }
    assert_eq!(watch.log.messages, stored);
    for (index, token) in tokens.iter().enumerate() {
        let mut watch = tenant.through(&replica).watch(&talk, resume(token)).await;
        watch.log.after = i32::try_from(index).expect("a number") + 1;
        watch.until_messages(stored.len() - index - 1).await;
        assert_eq!(watch.log.messages, stored[index + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_gets_the_text_so_far_and_then_the_rest() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.say(&talk, "a", 0, "One, ").await;
    let mut late = tenant.watch(&talk, after(1)).await;
    assert_eq!(names(&mut late, 1).await, ["snapshot 1 \"One, \""]);
    let mut from_the_start = tenant.watch(&talk, BEGINNING).await;
    assert_eq!(names(&mut from_the_start, 1).await, ["started 1 \"One, \""]);
    stream.say(&talk, "a", 5, "two, ").await;
    stream.say(&talk, "a", 10, "three.").await;
    stream.finish(&talk, "a", 16);
    stream.outcome().await.expect("an ack");
    let rest = ["delta 1 5 \"two, \"", "delta 1 10 \"three.\"", "finished 1 \"One, two, three.\""];
    for watch in [&mut late, &mut from_the_start] {
        assert_eq!(names(watch, 3).await, rest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_in_the_middle_of_a_message() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.say(&talk, "a", 0, "One, ").await;
    let (started, _) = watch.next_with_token().await;
    let (delta, event) = watch.next_with_token().await;
    assert_eq!(name(&event), "delta 1 0 \"One, \"");
    let mut resumed = tenant.watch(&talk, resume(&delta)).await;
    let (snapshot, event) = resumed.next_with_token().await;
    assert_eq!(name(&event), "snapshot 1 \"One, \"");
    stream.say(&talk, "a", 5, "two.").await;
    for token in [&started, &delta, &snapshot] {
        let mut resumed = tenant.through(&replica).watch(&talk, resume(token)).await;
        assert_eq!(names(&mut resumed, 1).await, ["snapshot 1 \"One, two.\""]);
    }
    stream.finish(&talk, "a", 9);
    stream.outcome().await.expect("an ack");
    for token in [&started, &delta, &snapshot] {
        let mut resumed = tenant.through(&replica).watch(&talk, resume(token)).await;
        assert_eq!(names(&mut resumed, 1).await, ["finished 1 \"One, two.\""]);
    }
}

/// Joins while unstored text is on its way, shortly before the end. Returns how late the end comes.
async fn lateness_of_the_end(tenant: &Tenant) -> Duration {
    let talk = tenant.conversation().await.id;
    let mut first = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.delta(&talk, "a", 0, "Not stored yet, ");
    first.until(|log| log.messages.first().is_some_and(|message| !message.content.is_empty())).await;
    let mut late = tenant.watch(&talk, None).await;
    // This continues after a point that the late watcher does not know.
    stream.delta(&talk, "a", 16, "nor is this.");
    first.until(|log| log.messages[0].content.len() == 28).await;
    stream.finish(&talk, "a", 28);
    for _ in 0..2 {
        stream.outcome().await.expect("an ack");
    }
    let began = Instant::now();
    while !matches!(late.next().await, Event::MessageFinished(_)) {}
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_just_before_the_end_is_told_of_it_at_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut lateness = Vec::new();
    for _ in 0..9 {
        lateness.push(lateness_of_the_end(&tenant).await);
    }
    lateness.sort_unstable();
    // Without its special handling it would nearly always ask for obsolete text for more than a second. A busy
    // machine may be slow, but not most of the time.
    assert!(lateness[4] < Duration::from_millis(1_000), "{lateness:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_told_before_it_is_stored_and_acked() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    let sql = crm.sql().await;
    // Nothing more is stored while this lock is held.
    sql.run("BEGIN; LOCK TABLE message_pieces IN ACCESS EXCLUSIVE MODE").await;
    for number in 0..20_usize {
        stream.delta(&talk, "a", 2 * number, "ab");
        watch.until(|log| log.messages.first().is_some_and(|it| it.content.len() == 2 * (number + 1))).await;
    }
    assert_eq!(sql.number("SELECT count(*) FROM message_pieces").await, 0);
    sql.run("COMMIT").await;
    stream.finish(&talk, "a", 40);
    let events = watch.until_closed(1).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), [format!("finished 1 {:?}", "ab".repeat(20))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_lease_runs_out_is_told_as_aborted() {
    let crm = Crm::with(Settings { lease: Duration::from_millis(400), ..Settings::default() }).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.delta(&talk, "a", 0, "Well");
    let events = watch.until_closed(1).await;
    assert_eq!(name(events.last().expect("an event")), "aborted 1 \"Well\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_that_goes_on_with_a_message_replaces_what_was_not_stored() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut first = tenant.stream().await;
    first.start(&talk, "a").await;
    first.say(&talk, "a", 0, "One, ").await;
    let mut second = tenant.through(&replica).stream().await;
    assert_eq!(second.start(&talk, "a").await.durable_offset, 5);
    // The first stream does not know yet. Its text is shown, and then taken back.
    first.delta(&talk, "a", 5, "nonsense");
    first.outcome().await.expect_err("taken over").is(Code::FailedPrecondition, "MESSAGE_NOT_STARTED");
    second.say(&talk, "a", 5, "two.").await;
    second.finish(&talk, "a", 9);
    watch.until_closed(1).await;
    assert_eq!(watch.log.messages[0].content, "One, two.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_told_as_a_snapshot_of_nothing() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut brief = tenant.try_watch(&talk, None, false).await.expect("a watch");
    let mut far = tenant.through(&replica).watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.say(&talk, "a", 0, "Yes, we do.").await;
    // Text that is not stored when the message restarts.
    stream.delta(&talk, "a", 11, " Indeed");
    let (token, _) = {
        watch.until(|log| log.messages.first().is_some_and(|it| it.content.ends_with("eed"))).await;
        stream.tell(&talk, [restart("a", "")]);
        assert_eq!(stream.acked(18).await.durable_offset, 18);
        assert_eq!(stream.acked(0).await.status(), MessageStatus::InProgress);
        watch.next_with_token().await
    };
    assert_eq!(watch.log.messages[0].content, "");
    stream.say(&talk, "a", 0, "No, unfortunately not.").await;
    assert_eq!(names(&mut watch, 1).await, ["delta 1 0 \"No, unfortunately not.\""]);
    stream.finish(&talk, "a", 22);
    stream.acked(22).await;
    let end = "finished 1 \"No, unfortunately not.\"";
    assert_eq!(names(&mut watch, 1).await, [end]);
    // Without deltas the restart comes as another start; another replica notices it, at the latest by its end.
    assert_eq!(names(&mut brief, 3).await, ["started 1 \"\"", "started 1 \"\"", end]);
    far.until_closed(1).await;
    assert_eq!(far.log.messages, watch.log.messages);
    let mut resumed = tenant.watch(&talk, resume(&token)).await;
    assert_eq!(names(&mut resumed, 1).await, [end]);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_was_told_and_lost_is_taken_back_before_the_end() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let sql = crm.sql().await;
    // The database loses text that watchers have and that is not committed.
    sql.run("ALTER TABLE message_pieces ADD CHECK (text NOT LIKE '%lost%')").await;
    let mut watch = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    stream.say(&talk, "a", 0, "Well, ").await;
    stream.delta(&talk, "a", 6, "this is lost");
    watch.until(|log| log.messages.first().is_some_and(|it| it.content.ends_with("lost"))).await;
    stream.outcome().await.expect_err("not stored").is(Code::InvalidArgument, "FIELD_INVALID");
    stream.abort(&talk, "a").await;
    assert_eq!(names(&mut watch, 2).await, ["snapshot 1 \"Well, \"", "aborted 1 \"Well, \""]);

    // The same stream continues with other words of the same length.
    stream.start(&talk, "b").await;
    stream.delta(&talk, "b", 0, "lost!");
    watch.until(|log| log.messages.get(1).is_some_and(|it| it.content == "lost!")).await;
    stream.outcome().await.expect_err("not stored").is(Code::InvalidArgument, "FIELD_INVALID");
    stream.say(&talk, "b", 0, "found").await;
    stream.say(&talk, "b", 5, ".").await;
    stream.finish(&talk, "b", 6);
    stream.acked(6).await;
    let told: Vec<_> = watch.until_closed(2).await.iter().map(name).collect();
    assert!(told.contains(&"snapshot 2 \"found\"".to_owned()), "{told:?}");
    assert_eq!(watch.log.messages, tenant.messages(&talk, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_one_replica_is_seen_through_the_other() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let sql = crm.sql().await;
    eventually("they hear each other", async || sql.texts(LISTENERS).await.len() == 2).await;
    let mut watch = tenant.through(&replica).watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "a").await;
    let long = "ä".repeat(20_000);
    stream.say(&talk, "a", 0, "Short, ").await;
    // More than replicas send each other at once.
    stream.say(&talk, "a", 7, &long).await;
    stream.say(&talk, "a", 40_007, ".").await;
    stream.finish(&talk, "a", 40_008);
    let events = watch.until_closed(1).await;
    assert!(events.iter().any(|event| matches!(event, Event::MessageDelta(_))), "{events:?}");
    tenant.add(&talk, message("b", "Hello")).await.expect("added");
    assert_eq!(names(&mut watch, 1).await, ["added 2 \"Hello\""]);
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    tenant.finish(&talk).await;
    assert_eq!(names(&mut watch, 2).await, ["analysis", "ended"]);
    assert_eq!(watch.log.messages, tenant.messages(&talk, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_tells_is_found_by_looking() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.through(&replica).watch(&talk, None).await;
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    watch.until_messages(1).await;
    let columns = columns(&sql, "conversation_messages").await;
    // As from a replica that cannot send signals.
    for number in 2..=3 {
        sql.run(&format!(
            "BEGIN; INSERT INTO conversation_messages ({columns}) SELECT {columns} FROM (
             SELECT copy.* FROM conversation_messages m,
             LATERAL jsonb_populate_record(m, jsonb_build_object('id', gen_random_uuid(),
                 'message_key', '{number}', 'sequence', {number})) copy
             WHERE m.conversation_id = '{talk}' AND m.sequence = 1) AS copies;
             UPDATE conversations SET last_sequence = {number} WHERE id = '{talk}'; COMMIT"
        ))
        .await;
        watch.until_messages(number).await;
    }
    for _ in 0..2 {
        sql.run(&format!("SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) listener")).await;
        add_many(tenant.clone(), talk.clone(), Uuid::new_v4().to_string(), 50).await;
    }
    watch.until_messages(103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_a_database_that_is_gone_for_a_moment() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await.id;
    let mut watches =
        [tenant.watch(&talk, BEGINNING).await, tenant.try_watch(&talk, None, false).await.expect("a watch")];
    for round in 1..=3 {
        sql.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'crm-backend'",
        )
        .await;
        let key = format!("{round}");
        eventually("a message is added", async || tenant.add(&talk, message(&key, "Hello")).await.is_ok())
            .await;
        for watch in &mut watches {
            watch.until_messages(round).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_shutdown_a_watch_is_told_to_go_and_goes_on_elsewhere() {
    let mut crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    watch.until_messages(1).await;
    crm.begin_shutdown();
    let (token, event) = watch.next_with_token().await;
    let Event::GoAway(go_away) = event else { panic!("{event:?}") };
    assert!(!go_away.reason.is_empty());
    assert!(watch.try_next().await.expect("OK").is_none());
    crm.shut_down().await.expect("a clean end");
    let tenant = tenant.through(&replica);
    tenant.add(&talk, message("2", "Hello")).await.expect("added");
    let mut resumed = tenant.watch(&talk, resume(&token)).await;
    assert_eq!(names(&mut resumed, 1).await, ["added 2 \"Hello\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_shutdown_a_watch_is_told_to_go_also_while_the_database_does_not_answer() {
    let mut crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    // From here on no page can be read, which the analysis makes the watch do.
    sql.run("BEGIN; LOCK TABLE conversation_messages IN ACCESS EXCLUSIVE MODE").await;
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    crm.begin_shutdown();
    let (token, event) = watch.next_with_token().await;
    assert!(matches!(event, Event::GoAway(_)), "{event:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    sql.run("COMMIT").await;
    crm.shut_down().await.expect("a clean end");
    let mut resumed = tenant.through(&replica).watch(&talk, resume(&token)).await;
    assert_eq!(names(&mut resumed, 1).await, ["analysis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_misses_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, None).await;
    let mut stream = tenant.stream().await;
    stream.start(&talk, "open").await;
    add_many(tenant.clone(), talk.clone(), "a".to_owned(), 2_500).await;
    stream.say(&talk, "open", 0, "One, ").await;
    tenant.analyse(analysis(&talk)).await.expect("recorded");
    add_many(tenant.clone(), talk.clone(), "b".to_owned(), 2_499).await;
    stream.say(&talk, "open", 5, "two.").await;
    stream.finish(&talk, "open", 9);
    stream.outcome().await.expect("an ack");
    let (mut analyses, mut finished) = (0, 0);
    while watch.log.messages.len() < 5_000 || analyses == 0 || finished == 0 {
        match watch.next().await {
            Event::AnalysisRecorded(_) => analyses += 1,
            Event::MessageFinished(_) => finished += 1,
            _ => {}
        }
    }
    assert_eq!((analyses, finished), (1, 1));
    assert_eq!(watch.log.messages[0].content, "One, two.");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_all_are_told_everything() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let mut talks = Vec::new();
    for _ in 0..20 {
        talks.push(tenant.conversation().await.id);
    }
    let mut opening = Vec::new();
    for watcher in 0..500_usize {
        let tenant = if watcher % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let talk = talks[watcher % 20].clone();
        opening.push(async move { tenant.watch(&talk, BEGINNING).await });
    }
    let watches = at_once(opening).await;
    let reading = tokio::task::JoinSet::from_iter(watches.into_iter().map(|mut watch| async move {
        watch.until_messages(25).await;
    }));
    let mut stream = tenant.through(&replica).stream().await;
    for number in 0..500_usize {
        stream.send(&talks[number % 20], message(&number.to_string(), "Hello"));
    }
    for _ in 0..500 {
        stream.outcome().await.expect("an ack");
    }
    soon(reading.join_all()).await;
}

/// Whether a connection of the service looks at conversations within more than the time between two looks.
async fn is_looked_at(sql: &Sql, other: &Sql) -> bool {
    sql.run("BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE").await;
    let began = Instant::now();
    let mut looked = false;
    while !looked && began.elapsed() < Duration::from_millis(1_500) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        looked = waiting_statements(other).await > 0;
    }
    sql.run("COMMIT").await;
    looked
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_leaves_nothing_behind() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (sql, other) = (crm.sql().await, crm.sql().await);
    let talk = tenant.conversation().await.id;
    let watch = async || tenant.watch(&talk, None).await;
    let mut watches = Vec::new();
    for _ in 0..40 {
        watches.push(watch().await);
    }
    eventually("what is watched is looked at", async || is_looked_at(&sql, &other).await).await;
    drop(watches);
    eventually("what is not watched is not", async || !is_looked_at(&sql, &other).await).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'crm-backend' AND state LIKE 'idle in transaction%'";
    assert_eq!(other.number(open).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_at_its_deadline() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut request = tonic::Request::new(WatchConversationRequest {
        conversation_id: talk.clone(),
        start: BEGINNING,
        include_deltas: true,
    });
    request.set_timeout(Duration::from_millis(500));
    let began = Instant::now();
    let watch = tenant.conversations().watch_conversation(request).await;
    tenant.add(&talk, message("a", "Hello")).await.expect("added");
    let error = match watch {
        Err(error) => error,
        Ok(events) => {
            let mut events = events.into_inner();
            loop {
                match soon(events.message()).await {
                    Ok(event) => assert!(event.is_some(), "a watch does not end by itself"),
                    Err(error) => break error,
                }
            }
        }
    };
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits for fifteen seconds"]
async fn an_idle_watch_says_where_it_stands() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    tenant.add(&talk, message("a", "Hello")).await.expect("added");
    let began = Instant::now();
    let mut watch = tenant.watch(&talk, None).await;
    let (token, event) = watch.next_with_token().await;
    assert_eq!(name(&event), "checkpoint 1");
    assert!(began.elapsed() < Duration::from_secs(17), "{:?}", began.elapsed());
    let mut resumed = tenant.watch(&talk, resume(&token)).await;
    tenant.add(&talk, message("b", "Hello")).await.expect("added");
    for watch in [&mut watch, &mut resumed] {
        assert_eq!(names(watch, 1).await, ["added 2 \"Hello\""]);
    }
}
