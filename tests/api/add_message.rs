//! AddMessage: one stream, many messages.

use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::{AddMessageRequest, Message};
use tonic::Code;

use crate::support::conversations::message;
use crate::support::{Crm, Refusal, at_once, eventually};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_says_where_the_message_is() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.send(&talk.id, message("a", "Grüß dich"));
    let ack = stream.outcome().await.expect("an ack");
    assert_eq!((ack.message_key.as_str(), ack.sequence, ack.deduplicated), ("a", 1, false));
    assert_eq!((ack.durable_offset, ack.conversation_id.as_str()), (11, talk.id.as_str()));
    let stored = tenant.messages(&talk.id, 0).await;
    assert_eq!(stored.iter().map(|message| &message.id).collect::<Vec<_>>(), [&ack.message_id]);
    stream.close();
    assert_eq!(stream.answer().await.expect("OK"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_be_sent_without_waiting_and_are_acked_in_order() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    for number in 1..=1_000 {
        stream.send(if number == 1 { &talk.id } else { "" }, message(&number.to_string(), "Hello"));
    }
    stream.close();
    for number in 1..=1_000 {
        let ack = stream.outcome().await.expect("an ack");
        assert_eq!((ack.message_key, ack.sequence), (number.to_string(), number));
    }
    assert_eq!(stream.answer().await.expect("OK"), None);
    assert_eq!(tenant.read(&talk.id).await.expect("there").message_count, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_serves_many_conversations() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (ana, ben) = (tenant.conversation().await.id, tenant.conversation().await.id);
    let mut stream = tenant.stream().await;
    for (conversation, key) in [(&*ana, "1"), ("", "2"), (&*ben, "3"), ("", "4"), (&*ana, "5"), (&*ben, "1")]
    {
        stream.send(conversation, message(key, "Hello"));
    }
    let mut places = Vec::new();
    for _ in 0..6 {
        let ack = stream.outcome().await.expect("an ack");
        places.push((ack.conversation_id, ack.sequence));
    }
    let expected = [(&ana, 1), (&ana, 2), (&ben, 1), (&ben, 2), (&ana, 3), (&ben, 3)];
    assert_eq!(places, expected.map(|(conversation, sequence)| (conversation.clone(), sequence)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_gets_an_error_and_the_stream_lives() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let ended = tenant.conversation().await;
    tenant.finish(&ended.id).await;
    let foreign = crm.tenant().conversation().await;
    tenant.add(&talk.id, message("taken", "Yes")).await.expect("added");
    let mut stream = tenant.stream().await;
    stream.send("", message("a", "Hello"));
    stream.outcome().await.expect_err("to none").is_invalid(&["conversation_id"]);

    let long = "x".repeat(262_145);
    let unknown_role = Message { role: 99, ..message("k", "x") };
    let no_role = Message { role: 0, ..message("k", "x") };
    let cases = [
        (UNKNOWN, message("k", "x"), Code::NotFound, "CONVERSATION_NOT_FOUND", ""),
        (&foreign.id, message("k", "x"), Code::NotFound, "CONVERSATION_NOT_FOUND", ""),
        (&ended.id, message("k", "x"), Code::FailedPrecondition, "CONVERSATION_ENDED", ""),
        (&talk.id, message("taken", "No"), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", ""),
        ("nonsense", message("k", "x"), Code::InvalidArgument, "FIELD_INVALID", "conversation_id"),
        (&talk.id, message("", "x"), Code::InvalidArgument, "FIELD_INVALID", "message.message_key"),
        (&talk.id, message("k\n", "x"), Code::InvalidArgument, "FIELD_INVALID", "message.message_key"),
        (&talk.id, message("k", ""), Code::InvalidArgument, "FIELD_INVALID", "message.content"),
        (&talk.id, message("k", "\0"), Code::InvalidArgument, "FIELD_INVALID", "message.content"),
        (&talk.id, message("k", &long), Code::InvalidArgument, "FIELD_INVALID", "message.content"),
        (&talk.id, unknown_role, Code::InvalidArgument, "FIELD_INVALID", "message.role"),
        (&talk.id, no_role, Code::InvalidArgument, "FIELD_INVALID", "message.role"),
    ];
    // All at once, each with a valid one after it, so that invalid and valid ones share
    // transactions.
    for (number, (conversation, bad, ..)) in cases.iter().enumerate() {
        stream.send(conversation, bad.clone());
        stream.send(&talk.id, message(&format!("good {number}"), "Hello"));
    }
    for (number, (conversation, bad, code, reason, field)) in cases.iter().enumerate() {
        let Some(Answer::Error(error)) = stream.answer().await.expect("the stream lives") else {
            panic!("no error for {bad:?}");
        };
        assert_eq!((&*error.message_key, &*error.conversation_id), (&*bad.message_key, *conversation));
        let error = crate::support::raw::unary(error);
        error.is(*code, reason);
        assert_eq!(error.fields().join(" "), *field);
        let ack = stream.outcome().await.expect("an ack");
        assert_eq!(ack.message_key, format!("good {number}"));
    }
    stream.send_request(AddMessageRequest { conversation_id: talk.id.clone(), command: None });
    stream.outcome().await.expect_err("nothing to do").is_invalid(&["command"]);
    stream.send(&talk.id, message("last", "Bye"));
    assert_eq!(stream.outcome().await.expect("an ack").sequence, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_answers_the_first_ack_through_any_stream() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.send(&talk.id, message("a", "Yes"));
    stream.send(&talk.id, message("a", "Yes"));
    let first = stream.outcome().await.expect("an ack");
    let mut expected = first.clone();
    expected.deduplicated = true;
    assert_eq!(stream.outcome().await.expect("an ack"), expected);
    drop(stream);
    let mut stream = tenant.through(&replica).stream().await;
    stream.send(&talk.id, message("a", "Yes"));
    assert_eq!(stream.outcome().await.expect("an ack"), expected);
    let (unary, deduplicated) = tenant.add(&talk.id, message("a", "Yes")).await.expect("a resend");
    assert_eq!((unary.id, deduplicated), (first.message_id, true));
    tenant.finish(&talk.id).await;
    stream.send(&talk.id, message("a", "Yes"));
    assert_eq!(stream.outcome().await.expect("an ack, also after the end"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_once_from_many_streams_and_calls_is_one_message() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let sends = (0..24).map(|number| {
        let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let id = talk.id.clone();
        async move {
            if number % 3 == 0 {
                let (added, deduplicated) = tenant.add(&id, message("a", "Yes")).await.expect("an answer");
                return (added.id, added.sequence, deduplicated);
            }
            let mut stream = tenant.stream().await;
            stream.send(&id, message("a", "Yes"));
            let ack = stream.outcome().await.expect("an ack");
            (ack.message_id, ack.sequence, ack.deduplicated)
        }
    });
    let answers = at_once(sends).await;
    let stored = tenant.messages(&talk.id, 0).await;
    assert_eq!(stored.len(), 1);
    assert!(answers.iter().all(|(id, sequence, _)| (id, *sequence) == (&stored[0].id, 1)), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, _, deduplicated)| !deduplicated).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_into_the_same_conversations_leave_no_hole() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talks =
        [tenant.conversation().await.id, tenant.conversation().await.id, tenant.conversation().await.id];
    let streams = (0..8_usize).map(|writer| {
        let tenant = if writer % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let talks = talks.clone();
        async move {
            let mut stream = tenant.stream().await;
            for number in 0..60 {
                // Neighbouring writers take the conversations in opposite orders.
                let turn = if writer % 2 == 0 { number % 3 } else { 2 - number % 3 };
                stream.send(&talks[turn], message(&format!("{writer}/{number}"), "Hello"));
            }
            stream.close();
            for number in 0..60 {
                let ack = stream.outcome().await.expect("an ack");
                assert_eq!(ack.message_key, format!("{writer}/{number}"), "in the order sent");
            }
        }
    });
    at_once(streams).await;
    for talk in &talks {
        let found: Vec<_> = tenant.messages(talk, 50).await.iter().map(|message| message.sequence).collect();
        assert_eq!(found, (1..=160).collect::<Vec<_>>());
        assert_eq!(tenant.read(talk).await.expect("there").message_count, 160);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_committed_although_the_client_went_away() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    stream.send(&talk.id, message("0", "Hello"));
    stream.outcome().await.expect("an ack");
    for key in 1..=100 {
        stream.send(&talk.id, message(&key.to_string(), "Hello"));
    }
    stream.outcome().await.expect("the first of them is acked");
    drop(stream);
    // It is unknown which of the rest arrived; the stored messages must be a sequence without a
    // gap.
    let stored = async || tenant.messages(&talk.id, 0).await;
    let keys =
        |messages: &[Message]| messages.iter().map(|message| message.message_key.clone()).collect::<Vec<_>>();
    let found = keys(&stored().await);
    assert!(found.len() >= 2);
    assert_eq!(found, (0..found.len()).map(|key| key.to_string()).collect::<Vec<_>>());
    let mut stream = tenant.stream().await;
    for key in 0..=100 {
        stream.send(&talk.id, message(&key.to_string(), "Hello"));
    }
    for sequence in 1..=101 {
        assert_eq!(stream.outcome().await.expect("an ack").sequence, sequence);
    }
    assert_eq!(stored().await.len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_acks_is_acked_once_it_reads() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    for key in 0..3_000 {
        stream.send(&talk.id, message(&key.to_string(), "Hello"));
    }
    stream.close();
    let count = async || tenant.read(&talk.id).await.expect("there").message_count;
    eventually("messages arrive", async || count().await >= 256).await;
    for key in 0..3_000 {
        assert_eq!(stream.outcome().await.expect("an ack").message_key, key.to_string());
    }
    assert_eq!(count().await, 3_000);
}
