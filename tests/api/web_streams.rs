//! Streams over HTTP: events (SSE) and lines of JSON (NDJSON), both ways.

use std::time::{Duration, Instant};

use bytes::Bytes;
use crm_backend::config::Limits;
use crm_backend::pb::MessageStatus;
use crm_testkit::Random;
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;

use crate::support::conversations::message;
use crate::support::web::{TextLines, Web};
use crate::support::{Crm, begin, soon};

/// How many pieces a reply has, and how often its reader is cut off.
const PIECES: usize = 500;
const CUTS: usize = 20;

/// How long a reader waits for an event before it is cut off.
const QUIET: Duration = Duration::from_millis(300);

fn events(conversation: &str, query: &str) -> String {
    format!("/api/v1/conversations/{conversation}/events{query}")
}

async fn follow(web: &Web, path: &str) -> TextLines {
    let (response, connection) = web.open(Method::GET, path, Body::empty()).await;
    assert_eq!(response.status(), 200);
    TextLines::new((response, connection))
}

/// Returns the kind of an event of a conversation: `message_added`.
fn kind(event: &Value) -> String {
    let event = event["event"].as_object().expect("an event");
    event.keys().find(|name| *name != "resume_token").cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_watches_a_conversation() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    tenant.add(&talk, message("1", "Hello\n\nWorld")).await.expect("added");
    // It cannot send headers.
    let browser = Web::stranger(&crm);
    for web in [browser.clone(), browser.over_http_2()] {
        let path = events(&talk, &format!("?after_sequence=0&x-tenant-id={}", tenant.id));
        let (response, connection) = web.open(Method::GET, &path, Body::empty()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut lines = TextLines::new((response, connection));
        assert_eq!(lines.next().await.as_deref(), Some("retry: 1000"));
        let (id, name, event) = lines.event().await.expect("an event");
        assert_eq!(
            (id.as_str(), name.as_str()),
            (event["event"]["resume_token"].as_str().expect("a token"), "")
        );
        assert_eq!(kind(&event), "message_added");
        assert_eq!(event["event"]["message_added"]["message"]["content"], "Hello\n\nWorld");
    }
    let nobody = Web::stranger(&crm).get(&events(&talk, "")).await;
    nobody.is(401, "TENANT_REQUIRED");
    let other = Web::new(&crm, crm.tenant().id).get(&events(&talk, "")).await;
    other.is(404, "CONVERSATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_the_last_event_that_was_seen() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    for key in ["1", "2", "3"] {
        tenant.add(&talk, message(key, key)).await.expect("added");
    }
    let path = events(&talk, "?after_sequence=0");
    let (id, _, first) = follow(&web, &path).await.event().await.expect("an event");
    assert_eq!(first["event"]["message_added"]["message"]["content"], "1");
    // A browser comes back with the same path and this header.
    let mut again = follow(&web.with("last-event-id", &id), &path).await;
    for content in ["2", "3"] {
        let (_, _, event) = again.event().await.expect("an event");
        assert_eq!(event["event"]["message_added"]["message"]["content"], content);
    }
    web.with("last-event-id", "nonsense").get(&path).await.is(400, "RESUME_TOKEN_INVALID");
}

/// The text of a reply, as a reader puts it together.
#[derive(Default)]
struct Text(String);

impl Text {
    fn take(&mut self, event: &Value) -> bool {
        let event = &event["event"];
        let text = |text: &Value| text["text"].as_str().unwrap_or_default().to_owned();
        match event
            .as_object()
            .and_then(|event| event.keys().find(|name| *name != "resume_token"))
            .map(String::as_str)
        {
            Some("message_snapshot") => self.0 = text(&event["message_snapshot"]),
            Some("message_delta") => {
                let delta = &event["message_delta"];
                assert_eq!(delta["offset"], self.0.len(), "no piece is missing and none comes twice");
                self.0.push_str(&text(delta));
            }
            Some("message_finished") => {
                // It has what was not told as pieces any more.
                let whole = event["message_finished"]["message"]["content"].as_str().expect("a text");
                assert!(whole.starts_with(&self.0), "what was told is how it begins");
                whole.clone_into(&mut self.0);
                return true;
            }
            _ => {}
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_cut_off_again_and_again_sees_every_piece_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    let (writer, id) = (tenant.clone(), talk.clone());
    let (cut, mut cuts) = watch::channel(0);
    let writing = begin(async move {
        let mut stream = writer.stream().await;
        stream.start(&id, "reply").await;
        let mut whole = String::new();
        for piece in 0..PIECES {
            let text = format!("<{piece}>");
            stream.delta(&id, "reply", whole.len(), &text);
            whole.push_str(&text);
            // So that the reader is cut off throughout the reply.
            soon(cuts.wait_for(|cuts| cuts * PIECES >= piece * CUTS)).await.expect("it reads");
        }
        stream.finish(&id, "reply", whole.len());
        while stream.outcome().await.expect("an ack").status() != MessageStatus::Completed {}
        whole
    });
    let path = events(&talk, "?after_sequence=0&include_deltas=true");
    let (mut random, mut text, mut last) = (Random::new(7), Text::default(), None::<String>);
    'reader: loop {
        let web = last.as_ref().map_or_else(|| web.clone(), |id| web.with("last-event-id", id));
        let mut lines = follow(&web, &path).await;
        let mut left = 1 + random.below(10);
        // The writer may wait for the next cut.
        while left > 0
            && let Ok(Some((id, name, event))) = timeout(QUIET, lines.event()).await
        {
            assert_eq!(name, "", "no error: {event}");
            last = Some(id);
            if text.take(&event) {
                break 'reader;
            }
            left -= 1;
        }
        cut.send_modify(|cuts| *cuts += 1);
    }
    let cuts = *cut.borrow();
    assert!(cuts >= CUTS, "{cuts}");
    assert_eq!(text.0, writing.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_read_where_they_are_asked_for_and_end_with_the_error() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    let path = events(&talk, "?after_sequence=0");
    let limited = web.with("accept", "application/x-ndjson").with("x-request-timeout", "0.5");
    let mut lines = follow(&limited, &path).await;
    let first: Value = serde_json::from_str(&lines.next().await.expect("a line")).expect("JSON");
    assert_eq!(first["event"]["message_added"]["message"]["content"], "Hello");
    let last: Value = serde_json::from_str(&lines.next().await.expect("a line")).expect("JSON");
    assert_eq!(last["error"]["code"], 4, "{last}");
    assert_eq!(lines.next().await, None);
    let mut events = follow(&web.with("x-request-timeout", "0.5"), &path).await;
    assert_eq!(events.event().await.expect("an event").1, "");
    let (_, name, error) = events.event().await.expect("the error");
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!(4)));
    assert!(events.event().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_of_events_has_comments() {
    let every = Duration::from_millis(100);
    let limits = |limits: &mut Limits| limits.connections.sse_keep_alive = Duration::from_millis(100);
    let crm = Crm::with(crate::support::Settings { limits, ..Default::default() }).await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    for (key, web) in [("1", web.clone()), ("2", web.over_http_2())] {
        let mut lines = follow(&web, &events(&talk, "")).await;
        assert_eq!(lines.next().await.as_deref(), Some("retry: 1000"));
        assert_eq!(lines.next().await.as_deref(), Some(""));
        let mut comment = async || {
            assert_eq!(lines.next().await.as_deref(), Some(":"));
            assert_eq!(lines.next().await.as_deref(), Some(""));
        };
        comment().await;
        let began = Instant::now();
        comment().await;
        comment().await;
        assert!(began.elapsed() >= every, "{:?}", began.elapsed());
        // A comment is no event, and does not stand in its way.
        tenant.add(&talk, message(key, "Hello")).await.expect("added");
        assert_eq!(kind(&lines.event().await.expect("an event").2), "message_added");
        while lines.next().await.expect("it goes on") != ":" {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so_to_those_who_watch() {
    let mut crm = Crm::start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    let mut lines = follow(&web, &events(&talk, "?after_sequence=0")).await;
    lines.event().await.expect("an event");
    crm.begin_shutdown();
    let (_, _, event) = lines.event().await.expect("a last event");
    assert_eq!(kind(&event), "go_away");
    assert!(lines.event().await.is_none());
    soon(crm.shut_down()).await.expect("it ends, as nobody holds it up");
}

/// A producer of lines.
struct Producer {
    lines: mpsc::UnboundedSender<String>,
    acks: TextLines,
}

impl Producer {
    async fn begin(web: &Web, path: &str) -> Self {
        let (lines, sent) = mpsc::unbounded_channel::<String>();
        let frames =
            UnboundedReceiverStream::new(sent).map(|line| Ok::<_, Status>(Frame::data(Bytes::from(line))));
        let web = web.with("content-type", "application/x-ndjson");
        let acks = TextLines::new(web.open(Method::POST, path, Body::new(StreamBody::new(frames))).await);
        Self { lines, acks }
    }

    fn say(&self, line: &Value) {
        self.lines.send(format!("{line}\n")).expect("it reads");
    }

    async fn answer(&mut self) -> Value {
        serde_json::from_str(&self.acks.next().await.expect("a line")).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_added_piece_by_piece_while_its_acks_come() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let path = format!("/api/v1/conversations/{talk}/messages:stream");
    for (key, web) in [("a", Web::new(&crm, tenant.id)), ("b", Web::new(&crm, tenant.id).over_http_2())] {
        let mut producer = Producer::begin(&web, &path).await;
        producer.say(&json!({ "start": { "message_key": key, "role": "assistant" } }));
        let ack = producer.answer().await;
        assert_eq!(ack["ack"]["message_key"], key, "{ack}");
        producer.say(&json!({ "delta": { "message_key": key, "offset": 0, "text": "Hel" } }));
        assert_eq!(producer.answer().await["ack"]["durable_offset"], 3);
        // As a model's events come, and in parts.
        for part in [
            ": a comment\n\nevent: x\ndata: {\"delta\": {\"message_key\": \"",
            key,
            "\", \"offset\": 3, \"text\": \"lo\"}}\n\n",
        ] {
            producer.lines.send(part.to_owned()).expect("it reads");
        }
        assert_eq!(producer.answer().await["ack"]["durable_offset"], 5);
        producer.say(&json!({ "delta": { "message_key": key, "offset": 99, "text": "lo" } }));
        assert_eq!(producer.answer().await["error"]["status"]["code"], 11, "an error of one line");
        producer.say(&json!({ "finish": { "message_key": key, "length": 5 } }));
        assert_eq!(producer.answer().await["ack"]["status"], "MESSAGE_STATUS_COMPLETED");
        let Producer { lines, mut acks } = producer;
        drop(lines);
        assert_eq!(acks.next().await, None);
    }
    let said = tenant.messages(&talk, 10).await;
    assert_eq!(said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), ["Hello", "Hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_request_ends_the_stream_after_what_came_before() {
    let limits = |limits: &mut Limits| limits.max_request_bytes = 64 << 10;
    let crm = Crm::with(crate::support::Settings { limits, ..Default::default() }).await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    let path = format!("/api/v1/conversations/{talk}/messages:stream");
    for (key, bad, code) in [
        ("1", "{\"massage\": {}}\n".to_owned(), 3),
        ("2", "nonsense\n".to_owned(), 3),
        ("3", "x".repeat(100 << 10), 8),
    ] {
        let mut producer = Producer::begin(&web, &path).await;
        producer.say(&json!({ "message": { "message_key": key, "role": "user", "content": "Hello" } }));
        producer.lines.send(bad).expect("it reads");
        assert_eq!(producer.answer().await["ack"]["message_key"], key);
        let error = producer.answer().await;
        assert_eq!(error["error"]["code"], code, "{error}");
        assert_eq!(producer.acks.next().await, None);
    }
    assert_eq!(tenant.messages(&talk, 10).await.len(), 3);
}
