//! Streams of whole messages, as agents send them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::{AddMessageRequest, AddMessageResponse, Message, MessageRole};
use futures_util::{Stream, stream};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::{Failure, Result, client, fill};

/// The bytes of a message; pgbench writes as many.
const CONTENT_BYTES: usize = 500;

/// The messages of a stream that are sent and not acked. The stream never waits for an answer, and stays below the
/// 256 messages that the service reads ahead.
const WINDOW: usize = 200;

/// The distance between the first conversations of two streams: a prime, so that streams do not meet.
const STRIDE: usize = 97;

/// The text of every message.
pub(crate) static CONTENT: LazyLock<String> = LazyLock::new(|| {
    let words = "Do you have oat milk? We do, and there are two kinds of it. ";
    words.chars().cycle().take(CONTENT_BYTES).collect()
});

/// The keys of a stream's messages: as long as those of pgbench.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys(u64);

impl Keys {
    /// Returns new, unique keys.
    pub(crate) fn new() -> Self {
        Self(fill::prefix())
    }

    /// Returns the key of a message of a stream.
    pub(crate) fn key(self, stream: usize, number: u64) -> String {
        format!("{:016x}{stream:04x}{number:012x}", self.0)
    }
}

/// Returns the number of the message with this key.
pub(crate) fn number(key: &str) -> Result<u64> {
    let digits = key.get(20..).ok_or("a message with another key")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// Returns the request for a whole message.
pub(crate) fn message(conversation_id: String, message_key: String) -> AddMessageRequest {
    let message = Message {
        message_key,
        role: MessageRole::User.into(),
        content: CONTENT.clone(),
        ..Default::default()
    };
    AddMessageRequest { conversation_id, command: Some(Command::Message(message)) }
}

/// Fails unless the answer acknowledges a new message. An error of a request fails with the status that a call would
/// have had.
pub(crate) fn acked(answer: AddMessageResponse) -> Result<()> {
    match answer.result {
        Some(Answer::Ack(ack)) if !ack.deduplicated => Ok(()),
        Some(Answer::Error(error)) => {
            let status = error.status.unwrap_or_default();
            Err(Status::new(status.code.into(), status.message).into())
        }
        other => Err(format!("instead of an ack came {other:?}").into()),
    }
}

/// Whether the service would accept the request at another time.
fn is_refusal(error: &Failure) -> bool {
    error.downcast_ref::<Status>().is_some_and(|status| status.code() == tonic::Code::Unavailable)
}

/// A stream that sends without waiting, to these conversations in turn.
pub(crate) struct Writer {
    pub(crate) channel: Channel,
    pub(crate) tenant: Uuid,
    pub(crate) conversations: Arc<Vec<String>>,
    pub(crate) keys: Keys,
    /// The number of the stream, so that no two streams begin at the same conversation.
    pub(crate) stream: usize,
}

impl Writer {
    /// Sends until it is stopped, counts the acks, and receives the remaining ones.
    ///
    /// Messages that the service refuses because it is busy are not sent again, and do not count.
    pub(crate) async fn write(
        self,
        done: Arc<AtomicU64>,
        refused: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut client = client::conversations(&self.channel, self.tenant)?;
        let window = Arc::new(Semaphore::new(WINDOW));
        let requests = self.requests(Arc::clone(&window));
        let mut answers = client.add_message(requests).await?.into_inner();
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let answer = tokio::select! {
                biased;
                // After the stop there is no window, so nothing is sent, and the stream is closed.
                () = &mut stopped, if !window.is_closed() => {
                    window.close();
                    continue;
                }
                answer = answers.message() => answer?,
            };
            let Some(answer) = answer else { return Ok(()) };
            match acked(answer) {
                Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                Err(error) if is_refusal(&error) => refused.fetch_add(1, Ordering::Relaxed),
                Err(error) => return Err(error),
            };
            window.add_permits(1);
        }
    }

    /// Creates requests while the window has room.
    fn requests(self, window: Arc<Semaphore>) -> impl Stream<Item = AddMessageRequest> + Send + 'static {
        stream::unfold((self, window, 0), |(writer, window, number)| async move {
            window.acquire().await.ok()?.forget();
            let turn = (number as usize + writer.stream * STRIDE) % writer.conversations.len();
            let conversation = writer.conversations.get(turn)?.clone();
            let request = message(conversation, writer.keys.key(writer.stream, number));
            Some((request, (writer, window, number + 1)))
        })
    }
}

/// A stream that waits for every answer.
pub(crate) struct Patient {
    requests: mpsc::Sender<AddMessageRequest>,
    answers: Streaming<AddMessageResponse>,
    conversation: String,
    keys: Keys,
    number: u64,
}

impl Patient {
    pub(crate) async fn open(channel: &Channel, tenant: Uuid, conversation: String) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut client = client::conversations(channel, tenant)?;
        let answers = client.add_message(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests, answers, conversation, keys: Keys::new(), number: 0 })
    }

    /// Sends one message, and waits until it is committed.
    pub(crate) async fn write(&mut self) -> Result<()> {
        self.number += 1;
        let request = message(self.conversation.clone(), self.keys.key(0, self.number));
        self.requests.send(request).await?;
        acked(self.answers.message().await?.ok_or("the stream ended")?)
    }
}
