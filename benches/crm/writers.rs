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

/// Bytes of a message, which pgbench writes too.
const CONTENT_BYTES: usize = 500;

/// Messages of a stream that are sent and not acked: it never waits for an answer, and stays below the
/// 256 that the service reads ahead.
const WINDOW: usize = 200;

/// How far apart streams begin in the list of their conversations: a prime, so that they do not meet.
const STRIDE: usize = 97;

/// The text of every message.
pub(crate) static CONTENT: LazyLock<String> = LazyLock::new(|| {
    let words = "Do you have oat milk? We do, and there are two kinds of it. ";
    words.chars().cycle().take(CONTENT_BYTES).collect()
});

/// The keys of the messages of a stream: as long as those that pgbench makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys(u64);

impl Keys {
    /// Keys that nobody else has.
    pub(crate) fn new() -> Self {
        Self(fill::prefix())
    }

    /// The key of a message of a stream.
    pub(crate) fn key(self, stream: usize, number: u64) -> String {
        format!("{:016x}{stream:04x}{number:012x}", self.0)
    }
}

/// The number of the message that has this key.
pub(crate) fn number(key: &str) -> Result<u64> {
    let digits = key.get(20..).ok_or("a message with another key")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// A whole message.
pub(crate) fn message(conversation_id: String, message_key: String) -> AddMessageRequest {
    let message = Message {
        message_key,
        role: MessageRole::User.into(),
        content: CONTENT.clone(),
        ..Default::default()
    };
    AddMessageRequest { conversation_id, command: Some(Command::Message(message)) }
}

/// Fails where an answer does not say that something new is committed. An error of a request fails with
/// the status that a call would have had.
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

/// Whether the service would have done it another time.
fn is_refusal(error: &Failure) -> bool {
    error.downcast_ref::<Status>().is_some_and(|status| status.code() == tonic::Code::Unavailable)
}

/// A stream that sends without waiting, to these conversations in turn.
pub(crate) struct Writer {
    pub(crate) channel: Channel,
    pub(crate) tenant: Uuid,
    pub(crate) conversations: Arc<Vec<String>>,
    pub(crate) keys: Keys,
    /// Which stream it is, so that no two begin at the same conversation.
    pub(crate) stream: usize,
}

impl Writer {
    /// Sends until told to stop, counts the acks, and takes those that are still to come.
    ///
    /// What the service refuses because it has too much to do is not sent again, and does not count.
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
                // Without a window there is nothing to send, and the stream is closed.
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

    /// Requests for as long as there is a window for them.
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
