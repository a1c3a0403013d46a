//! A reader of events (SSE) whose server is killed in the middle of a reply goes on at the next server.

use std::net::SocketAddr;

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_testkit::{Server, within};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::body::Body;
use uuid::Uuid;

use super::client::Client;
use super::scratch;

/// How often the server is killed in one reply.
const KILLS: usize = 3;

/// How many pieces the reader sees before each kill.
const SEEN: usize = 40;

/// The key of the reply.
const KEY: &str = "reply";

/// The text of a reply, as a reader puts it together.
#[derive(Default)]
struct Reply {
    text: String,
    pieces: usize,
    last_event_id: Option<String>,
    is_finished: bool,
}

impl Reply {
    fn take(&mut self, id: String, event: &Value) {
        self.last_event_id = Some(id);
        let event = event["event"].as_object().expect("an event");
        let (kind, body) = event.iter().find(|(name, _)| *name != "resume_token").expect("a kind");
        match kind.as_str() {
            "message_snapshot" => body["text"].as_str().expect("a text").clone_into(&mut self.text),
            "message_delta" => {
                assert_eq!(body["offset"], self.text.len(), "no piece is missing and none comes twice");
                self.text.push_str(body["text"].as_str().expect("a text"));
                self.pieces += 1;
            }
            "message_finished" => {
                // It has what was not told as pieces any more.
                let whole = body["message"]["content"].as_str().expect("a text");
                assert!(whole.starts_with(&self.text), "what was told is how it begins");
                whole.clone_into(&mut self.text);
                self.is_finished = true;
            }
            _ => {}
        }
    }
}

/// A stream of events.
struct Events {
    body: Incoming,
    /// What has come of the next event.
    text: String,
    _connection: JoinSet<()>,
}

impl Events {
    /// Opens the stream, after the last event that the reader has seen.
    async fn open(address: SocketAddr, tenant: Uuid, conversation: &str, reply: &Reply) -> Self {
        let io = TokioIo::new(within(TcpStream::connect(address)).await.expect("it listens"));
        let (mut sender, connection) = within(http1::handshake(io)).await.expect("HTTP/1");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let query = "after_sequence=0&include_deltas=true";
        let mut request = Request::get(format!("/api/v1/conversations/{conversation}/events?{query}"))
            .header("host", "localhost")
            .header(TENANT_HEADER, tenant.to_string());
        if let Some(id) = &reply.last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = within(sender.send_request(request)).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), text: String::new(), _connection: driver }
    }

    /// Returns the id and the data of the next event; `None` at the end. A part of an event does not count.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let part =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, data) = (part("id: "), part("data: "));
                self.text = rest.to_owned();
                if let Some((id, data)) = id.zip(data) {
                    return Some((id, serde_json::from_str(&data).expect("JSON")));
                }
            }
            let frame = within(self.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.text.push_str(std::str::from_utf8(&data).expect("whole characters"));
            }
        }
    }

    /// Reads until the reply has this many pieces, is finished, or the stream ends.
    async fn read(&mut self, reply: &mut Reply, pieces: usize) {
        while !reply.is_finished
            && reply.pieces < pieces
            && let Some((id, event)) = self.next().await
        {
            reply.take(id, &event);
        }
    }
}

/// The text of the reply: more than all readers see before the last kill.
fn pieces() -> Vec<String> {
    (0..4 * KILLS * SEEN).map(|number| format!("<{number}>")).collect()
}

/// Writes the reply from what is durable on. Ends with its stream, or after its end.
async fn write(mut client: Client, conversation: String) {
    let command =
        |command| pb::AddMessageRequest { conversation_id: conversation.clone(), command: Some(command) };
    let (requests, mut answers) = client.add_messages().await.expect("a stream");
    let start = pb::MessageStart {
        message_key: KEY.to_owned(),
        role: pb::MessageRole::Assistant.into(),
        ..Default::default()
    };
    requests.send(command(Command::Start(start))).await.expect("it reads");
    let durable = within(next_ack(&mut answers)).await.expect("an ack");
    let mut offset = 0;
    for text in pieces() {
        let (begins, length) = (offset, text.len());
        offset += length;
        // A write is of whole pieces, and so is what is durable.
        if begins < durable {
            continue;
        }
        let place = i32::try_from(begins).expect("a short text");
        let delta = pb::MessageDelta { message_key: KEY.to_owned(), offset: place, text };
        if requests.send(command(Command::Delta(delta))).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let length = i32::try_from(offset).expect("a short text");
    let finish = pb::MessageFinish { message_key: KEY.to_owned(), length, ..Default::default() };
    if requests.send(command(Command::Finish(finish))).await.is_ok() {
        while next_ack(&mut answers).await.is_some_and(|durable| durable < offset) {}
    }
}

/// Returns how much text the next ack says is durable; `None` if there is no ack, because the server was killed.
async fn next_ack(answers: &mut Streaming<pb::AddMessageResponse>) -> Option<usize> {
    let Some(Answer::Ack(ack)) = answers.message().await.ok()??.result else { return None };
    Some(usize::try_from(ack.durable_offset).expect("a length"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_events_sees_a_reply_once_though_its_server_is_killed() {
    let (scratch, tenant) = (scratch(), Uuid::new_v4());
    let mut server = Server::start(&scratch);
    let conversation = Client::connect_as(server.address, tenant).await.create_conversation().await;
    let mut reply = Reply::default();
    for round in 1..=KILLS {
        let mut events = Events::open(server.address, tenant, &conversation, &reply).await;
        let client = Client::connect_as(server.address, tenant).await;
        let mut writing = JoinSet::new();
        writing.spawn(write(client, conversation.clone()));
        events.read(&mut reply, round * SEEN).await;
        assert!(!reply.is_finished && reply.pieces >= round * SEEN, "it is in the middle of the reply");
        server.kill();
        // What the server has sent before is still read.
        events.read(&mut reply, usize::MAX).await;
        assert!(!reply.is_finished, "it was killed in the middle of the reply");
        within(writing.join_all()).await;
        server = Server::start(&scratch);
    }
    let mut events = Events::open(server.address, tenant, &conversation, &reply).await;
    let writing = write(Client::connect_as(server.address, tenant).await, conversation.clone());
    tokio::join!(writing, events.read(&mut reply, usize::MAX));
    assert!(reply.is_finished);
    assert_eq!(reply.text, pieces().concat());
    server.terminate().succeeded();
}
