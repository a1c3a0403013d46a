//! CreateMessage, GetMessage and ListMessages.

use crm_backend::pb::{
    ActionStatus, AiMetadata, CreateMessageRequest, GetMessageRequest, ListMessagesRequest, Message,
    MessageAction, MessageRole, MessageStatus, MessageView, get_message_request::Name,
};
use prost_types::value::Kind;
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::{Crm, Refusal, Tenant, at_once};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

async fn get(tenant: &Tenant, conversation_id: &str, id: &str) -> Result<Message, Status> {
    tenant.message(conversation_id, id).await
}

fn of(conversation_id: &str) -> ListMessagesRequest {
    ListMessagesRequest { conversation_id: conversation_id.to_owned(), ..Default::default() }
}

fn sequences(messages: &[Message]) -> Vec<i32> {
    messages.iter().map(|message| message.sequence).collect()
}

/// A message with all fields that a client may set.
fn full(key: &str) -> Message {
    let text = |text: &str| text.to_owned();
    Message {
        message_key: text(key),
        role: MessageRole::Assistant.into(),
        content: text("Grüß dich 👋\n\u{1}\u{1b}[31m\u{202e}"),
        content_type: text("text/markdown; charset=utf-8"),
        author: text("Ada"),
        sent_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5_000 }),
        ai: Some(AiMetadata {
            provider: text("acme"),
            model: text("m-1"),
            prompt_tokens: Some(i32::MAX),
            completion_tokens: Some(0),
            cached_tokens: None,
            response_duration: Some(Duration { seconds: 1, nanos: 500_000 }),
            time_to_first_token: Some(Duration { seconds: 0, nanos: 1_000 }),
            finish_reason: text("stop"),
        }),
        actions: vec![MessageAction {
            id: text("call-1"),
            name: text("search"),
            arguments: text("{\"big\": 12345678901234567890, \"b\": 1, \"a\":  2}"),
            result: text("not JSON {"),
            status: ActionStatus::Succeeded.into(),
        }],
        metadata: Some(prost_types::Struct {
            fields: [(text("k"), prost_types::Value { kind: Some(prost_types::value::Kind::NullValue(0)) })]
                .into(),
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let sent = full("key 1");
    let (added, deduplicated) = tenant.add(&talk.id, sent.clone()).await.expect("added");
    assert!(!deduplicated);
    let expected = Message {
        id: added.id.clone(),
        conversation_id: talk.id.clone(),
        sequence: 1,
        status: MessageStatus::Completed.into(),
        create_time: added.create_time,
        update_time: added.create_time,
        etag: added.etag.clone(),
        message_key: sent.message_key,
        role: sent.role,
        content: sent.content,
        content_type: sent.content_type,
        author: sent.author,
        sent_time: sent.sent_time,
        ai: sent.ai,
        actions: sent.actions,
        metadata: sent.metadata,
    };
    assert_eq!(added, expected);
    assert_eq!(get(&tenant, &talk.id, &added.id).await.expect("there"), expected);
    assert_eq!(tenant.messages(&talk.id, 0).await, [expected]);
}

/// The answer to an added message is made from the written row, and not read again.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_added_message_is_what_a_reader_gets() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let number = |number| prost_types::Value { kind: Some(Kind::NumberValue(number)) };
    let numbers = [0.0, -0.0, 0.1, 1e-320, 5e-324, 1.5e300, 123_456_789_012_345_680.0, -3.0];
    let list = prost_types::ListValue { values: numbers.map(number).into() };
    let nested = prost_types::Struct { fields: [("".to_owned(), number(1e21))].into() };
    let metadata = [
        ("z".to_owned(), prost_types::Value { kind: Some(Kind::ListValue(list)) }),
        ("a".to_owned(), prost_types::Value { kind: Some(Kind::StructValue(nested)) }),
    ];
    let sent = Message {
        role: MessageRole::Tool.into(),
        sent_time: Some(Timestamp { seconds: 1, nanos: 999_999_999 }),
        metadata: Some(prost_types::Struct { fields: metadata.into() }),
        ai: Some(AiMetadata {
            response_duration: Some(Duration { seconds: 0, nanos: 1_999 }),
            ..Default::default()
        }),
        content: "\u{feff} \r\n".to_owned(),
        ..Default::default()
    };
    let (added, _) = tenant.add(&talk.id, sent).await.expect("added");
    assert_eq!(get(&tenant, &talk.id, &added.id).await.expect("there"), added);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_plain_text_when_not_said_and_may_be_as_long_as_allowed() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (added, _) = tenant.add(&talk.id, message("a", &"ä".repeat(131_072))).await.expect("262,144 bytes");
    assert_eq!((added.content_type.as_str(), added.content.len()), ("text/plain", 262_144));
    assert!(added.ai.is_none() && added.sent_time.is_none() && added.metadata.is_none());
    for content in [String::new(), "x".repeat(262_145)] {
        let error = tenant.add(&talk.id, message("b", &content)).await.expect_err("0 or too many bytes");
        error.is_invalid(&["message.content"]);
    }
    let (second, _) = tenant.add(&talk.id, message("b", " ")).await.expect("a space is a text");
    assert_eq!(second.sequence, 2);
}

/// Changes one field of a message.
type Edit = fn(&mut Message);

/// Names of the fields that an error says to differ.
fn differing(error: &Status) -> Vec<String> {
    let (_, fields) = error.message().split_once(" in: ").expect("a list of fields");
    let (fields, _) = fields.split_once("; ").expect("what to do");
    fields.split(", ").map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_key_that_has_another_one_is_told_every_field_that_differs() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let first = full("a");
    let stored = tenant.add(&talk.id, first.clone()).await.expect("added");
    let others: [(&str, Edit); 8] = [
        ("role", |message| message.set_role(MessageRole::Agent)),
        ("author", |message| message.author.push('x')),
        ("content", |message| message.content.push('x')),
        ("content_type", |message| message.content_type = "text/html".to_owned()),
        ("ai", |message| message.ai.as_mut().expect("a model").model.push('x')),
        ("actions", |message| message.actions[0].result.push('x')),
        ("metadata", |message| message.metadata = None),
        ("sent_time", |message| message.sent_time = None),
    ];
    let mut all = first.clone();
    let mut stream = tenant.stream().await;
    for (field, change) in others {
        let mut other = first.clone();
        change(&mut other);
        change(&mut all);
        for error in [tenant.add(&talk.id, other.clone()).await.expect_err("another message"), {
            stream.send(&talk.id, other);
            stream.outcome().await.expect_err("another message")
        }] {
            error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!(differing(&error), [field]);
        }
    }
    let mut fields: Vec<_> = others.iter().map(|(field, _)| *field).collect();
    fields.sort_unstable();
    assert_eq!(differing(&tenant.add(&talk.id, all).await.expect_err("another message")), fields);
    assert_eq!(tenant.add(&talk.id, first).await.expect("the same"), (stored.0, true));
    assert_eq!(tenant.messages(&talk.id, 50).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_answers_the_message_that_is_there() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (first, _) = tenant.add(&talk.id, message("a", "Yes")).await.expect("added");
    let again = tenant.add(&talk.id, message("a", "Yes")).await.expect("a resend");
    assert_eq!(again, (first.clone(), true));
    let error = tenant.add(&talk.id, message("a", "No")).await.expect_err("another message");
    error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(differing(&error), ["content"]);
    let (second, deduplicated) = tenant.add(&talk.id, message("b", "Yes")).await.expect("said twice");
    assert_eq!((second.sequence, deduplicated), (2, false));
    tenant.finish(&talk.id).await;
    let after_the_end = tenant.add(&talk.id, message("a", "Yes")).await.expect("a resend");
    assert_eq!(after_the_end, (first, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_request_id_is_the_key_and_without_both_every_call_adds() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let request_id = Uuid::new_v4().to_string();
    let request = |request_id: &str| CreateMessageRequest {
        conversation_id: talk.id.clone(),
        message: Some(message("", "Yes")),
        request_id: request_id.to_owned(),
    };
    let add =
        async |request| tenant.conversations().create_message(request).await.expect("added").into_inner();
    let keyed = add(request(&request_id)).await.message.expect("a message");
    assert_eq!(keyed.message_key, request_id);
    for again in [request_id.clone(), request_id.to_uppercase()] {
        assert_eq!(add(request(&again)).await.message.expect("a message"), keyed);
    }
    let first = add(request("")).await.message.expect("a message");
    let second = add(request("")).await.message.expect("a message");
    assert_eq!((first.sequence, second.sequence), (2, 3));
    assert_ne!(first.message_key, second.message_key);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_conversation_takes_no_message() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    tenant.finish(&talk.id).await;
    let error = tenant.add(&talk.id, message("a", "Hello?")).await.expect_err("it is over");
    error.is(Code::FailedPrecondition, "CONVERSATION_ENDED");
    assert_eq!(tenant.messages(&talk.id, 0).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_in_its_own_conversation_only() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (talk, other) = (tenant.conversation().await, tenant.conversation().await);
    let (added, _) = tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let error = get(&tenant, &other.id, &added.id).await.expect_err("in another conversation");
    error.is(Code::NotFound, "MESSAGE_NOT_FOUND");
    get(&tenant, &talk.id, UNKNOWN).await.expect_err("unknown").is(Code::NotFound, "MESSAGE_NOT_FOUND");
    let error = get(&tenant, UNKNOWN, &added.id).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    let keyed =
        async |talk: &str, key: &str| tenant.message_named(talk, Name::MessageKey(key.to_owned())).await;
    assert_eq!(keyed(&talk.id, "a").await.expect("there"), added);
    for (talk, key, reason) in [
        (&*talk.id, "b", "MESSAGE_NOT_FOUND"),
        (&*talk.id, "A", "MESSAGE_NOT_FOUND"),
        (&*other.id, "a", "MESSAGE_NOT_FOUND"),
        (UNKNOWN, "a", "CONVERSATION_NOT_FOUND"),
    ] {
        keyed(talk, key).await.expect_err(key).is(Code::NotFound, reason);
    }
    let nameless = GetMessageRequest { conversation_id: talk.id.clone(), ..Default::default() };
    let error = tenant.conversations().get_message(nameless).await.expect_err("which one?");
    error.is_invalid(&["name"]);
    let foreign = crm.tenant().message_named(&talk.id, Name::MessageKey("a".to_owned())).await;
    foreign.expect_err("another tenant's").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    let error = tenant.message_page(of(UNKNOWN)).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    let error = tenant.add(UNKNOWN, message("a", "Hello")).await.expect_err("unknown");
    error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_both_ways_and_between_two_sequences() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    for number in 1..=9 {
        tenant.add(&talk.id, message(&number.to_string(), "Hello")).await.expect("added");
    }
    for page_size in [1, 2, 4, 9, 10] {
        assert_eq!(sequences(&tenant.messages(&talk.id, page_size).await), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for (order_by, expected) in
            [("", [4, 5, 6, 7]), ("sequence", [4, 5, 6, 7]), ("sequence desc", [7, 6, 5, 4])]
        {
            let mut request = ListMessagesRequest {
                page_size,
                order_by: order_by.to_owned(),
                after_sequence: Some(3),
                before_sequence: Some(8),
                ..of(&talk.id)
            };
            let mut found = Vec::new();
            loop {
                let page = tenant.message_page(request.clone()).await.expect("a page");
                found.extend(sequences(&page.messages));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, expected, "{order_by} by {page_size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_basic_view_leaves_out_what_models_and_tools_did() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let sent = Message {
        ai: Some(AiMetadata { model: "m-1".to_owned(), ..Default::default() }),
        actions: vec![MessageAction { name: "search".to_owned(), ..Default::default() }],
        metadata: Some(prost_types::Struct {
            fields: [("k".to_owned(), prost_types::Value { kind: Some(Kind::BoolValue(true)) })].into(),
        }),
        ..message("a", "Hello")
    };
    let (full, _) = tenant.add(&talk.id, sent).await.expect("added");
    let basic = Message { ai: None, actions: Vec::new(), metadata: None, ..full.clone() };
    for (view, expected) in
        [(MessageView::Unspecified, &full), (MessageView::Full, &full), (MessageView::Basic, &basic)]
    {
        for order_by in ["sequence", "sequence desc"] {
            let list =
                ListMessagesRequest { view: view.into(), order_by: order_by.to_owned(), ..of(&talk.id) };
            let listed = tenant.message_page(list).await.expect("a page").messages;
            assert_eq!(listed, std::slice::from_ref(expected), "{view:?}");
        }
        let get = GetMessageRequest {
            conversation_id: talk.id.clone(),
            name: Some(Name::Id(full.id.clone())),
            view: view.into(),
        };
        let got = tenant.conversations().get_message(get).await.expect("there").into_inner().message;
        assert_eq!(got.as_ref(), Some(expected), "{view:?}");
    }
    let unknown = ListMessagesRequest { view: 3, ..of(&talk.id) };
    tenant.message_page(unknown).await.expect_err("no such view").is_invalid(&["view"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_makes_is_not_part_of_a_message_that_is_sent_again() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (added, _) = tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let sent_back = Message { content_type: String::new(), ..added.clone() };
    assert_eq!(tenant.add(&talk.id, sent_back.clone()).await.expect("the same"), (added.clone(), true));
    let foreign = Message { id: UNKNOWN.to_owned(), sequence: 7, message_key: "b".to_owned(), ..sent_back };
    let (other, deduplicated) = tenant.add(&talk.id, foreign).await.expect("added");
    assert!(!deduplicated && other.id != UNKNOWN && other.id != added.id);
    assert_eq!((other.sequence, other.status()), (2, MessageStatus::Completed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_beyond_the_last_is_out_of_range() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let after = |sequence| ListMessagesRequest { after_sequence: Some(sequence), ..of(&talk.id) };
    assert_eq!(tenant.message_page(after(0)).await.expect("an empty page").messages, []);
    tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    assert_eq!(tenant.message_page(after(1)).await.expect("an empty page").messages, []);
    for beyond in [2, i32::MAX] {
        let error = tenant.message_page(after(beyond)).await.expect_err("beyond the last");
        error.is(Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE");
        assert_eq!(error.fields(), ["after_sequence"]);
    }
    tenant.message_page(after(-1)).await.expect_err("negative").is_invalid(&["after_sequence"]);
    let before = |sequence| ListMessagesRequest { before_sequence: Some(sequence), ..of(&talk.id) };
    tenant.message_page(before(0)).await.expect_err("none before").is_invalid(&["before_sequence"]);
    assert_eq!(tenant.message_page(before(1)).await.expect("an empty page").messages, []);
    assert_eq!(sequences(&tenant.message_page(before(i32::MAX)).await.expect("a page").messages), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_long_messages_ends_early_and_loses_none() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let long = "x".repeat(262_144);
    let adds = (0..20).map(|key| {
        let (tenant, id, message) = (tenant.clone(), talk.id.clone(), message(&key.to_string(), &long));
        async move { tenant.add(&id, message).await.map(drop) }
    });
    at_once(adds).await.into_iter().collect::<Result<Vec<()>, _>>().expect("all added");
    let page =
        tenant.message_page(ListMessagesRequest { page_size: 20, ..of(&talk.id) }).await.expect("a page");
    assert!((7..=8).contains(&page.messages.len()), "2 MiB and not {} messages", page.messages.len());
    assert_eq!(sequences(&tenant.messages(&talk.id, 20).await), (1..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_writers_each_gets_a_sequence_of_its_own_without_a_hole() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let adds = (0..64).map(|key: i32| {
        let tenant = if key % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let (id, message) = (talk.id.clone(), message(&key.to_string(), "Hello"));
        async move { tenant.add(&id, message).await.expect("added").0.sequence }
    });
    let mut found = at_once(adds).await;
    found.sort_unstable();
    let expected: Vec<_> = (1..=64).collect();
    assert_eq!(found, expected);
    assert_eq!(sequences(&tenant.messages(&talk.id, 7).await), expected);
    let now = tenant.read(&talk.id).await.expect("there");
    assert_eq!((now.message_count, now.last_sequence), (64, 64));
}
