//! One `AddMessage` stream.
//!
//! Two halves run side by side: one reads requests into a window, the other takes whatever waits
//! there, commits it, and answers in the order of the requests. The window is bounded in requests
//! and in bytes; when it is full, nothing is read, and HTTP/2 holds the client back. When the client
//! goes away, what it sent is committed all the same.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::rules::Placed;
use super::store::NewMessage;
use super::{actions, wire};
use crate::auth::Caller;
use crate::db::{Db, Deadline, TenantTx};
use crate::error::{Error, Result};
use crate::pb::add_message_request::Action;
use crate::pb::{AddMessageRequest, AddMessageResponse, ErrorReason};
use crate::rpc;
use crate::rpc::validate::{Violation, validate};

/// Requests of one stream that were read and not answered: enough to keep a batch full while the
/// one before commits.
pub(crate) const WINDOW: usize = 256;

/// Bytes of those requests: some messages of full size, or a whole window of ordinary ones.
const WINDOW_BYTES: u32 = 4 << 20;

/// Messages of one transaction: more make it longer, and hardly cheaper for each.
const BATCH: usize = 128;

/// How long a batch may take, waiting for a connection and for locks included. A stream has no
/// deadline of its own that could bound it.
const BATCH_DEADLINE: Duration = Duration::from_secs(10);

/// A response, or the end of the stream.
type Answer = Result<AddMessageResponse, Status>;

/// Where answers go.
type Outgoing = mpsc::Sender<Answer>;

/// A request that was read.
struct Incoming {
    item: Item,
    /// Its share of [`WINDOW_BYTES`], until it is answered.
    share: Option<OwnedSemaphorePermit>,
}

/// What a request asks for.
enum Item {
    Append(Box<NewMessage>),
    /// Nothing to do: this is the answer, or the error that the stream ends with.
    Say(Answer),
}

/// Serves a stream until the client closes it, goes away, or the server stops.
pub(crate) async fn serve(
    db: Db,
    caller: Caller,
    requests: Streaming<AddMessageRequest>,
    responses: Outgoing,
    stop: CancellationToken,
) {
    let (window, incoming) = mpsc::channel(WINDOW);
    tokio::join!(read(requests, window, &responses, stop), answer(&db, &caller, incoming, &responses));
}

/// Reads requests into the window.
async fn read(
    mut requests: Streaming<AddMessageRequest>,
    window: mpsc::Sender<Incoming>,
    responses: &Outgoing,
    stop: CancellationToken,
) {
    let bytes = std::sync::Arc::new(Semaphore::new(WINDOW_BYTES as usize));
    let mut reader = Reader::default();
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => {
                let item = Item::Say(Ok(wire::go_away("the server is stopping; go on through a new stream")));
                // Where this fails, the other half has ended, and with it the stream.
                let _ = window.send(Incoming { item, share: None }).await;
                return;
            }
            // Nobody would read an answer: the call's deadline has passed, or the client is gone.
            () = responses.closed() => return,
            request = requests.message() => request,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => {
                // Bytes that are no request, or a client that is gone and will not hear of it.
                tracing::debug!(code = ?status.code(), "a stream broke off");
                let _ = window.send(Incoming { item: Item::Say(Err(status)), share: None }).await;
                return;
            }
        };
        let size = u32::try_from(prost::Message::encoded_len(&request)).unwrap_or(WINDOW_BYTES);
        let share = std::sync::Arc::clone(&bytes).acquire_many_owned(size.clamp(1, WINDOW_BYTES)).await.ok();
        let item = match reader.accept(request) {
            Ok(message) => Item::Append(Box::new(message)),
            Err(refusal) => Item::Say(Ok(refusal)),
        };
        if window.send(Incoming { item, share }).await.is_err() {
            return;
        }
    }
}

/// What a stream remembers from one request to the next.
#[derive(Default)]
struct Reader {
    conversation_id: String,
}

impl Reader {
    /// A request as a message to add, or the answer that refuses it.
    fn accept(&mut self, request: AddMessageRequest) -> Result<NewMessage, AddMessageResponse> {
        let mut request = request;
        if request.conversation_id.is_empty() {
            request.conversation_id.clone_from(&self.conversation_id);
        } else {
            self.conversation_id.clone_from(&request.conversation_id);
        }
        let key = match &request.action {
            Some(Action::Message(message)) => message.message_key.clone(),
            None => String::new(),
        };
        checked(request).map_err(|error| wire::error(self.conversation_id.clone(), key, error))
    }
}

/// The message of a request that keeps the rules of the contract, and two that only hold here.
fn checked(request: AddMessageRequest) -> Result<NewMessage> {
    let mut violations = validate(&request).err().unwrap_or_default();
    let mut require = |field: &str, description: &str| {
        violations.push(Violation {
            field: field.to_owned(),
            rule: "required",
            description: description.to_owned(),
        });
    };
    if request.conversation_id.is_empty() {
        require("conversation_id", "is required in the first request of a stream");
    }
    match request.action {
        Some(Action::Message(message)) if message.message_key.is_empty() => {
            require("message.message_key", "is required, so that a resend adds nothing");
        }
        Some(Action::Message(message)) if violations.is_empty() => {
            let conversation_id = rpc::id("conversation_id", &request.conversation_id)?;
            return Ok(wire::new_message(conversation_id, message));
        }
        Some(Action::Message(_)) | None => {}
    }
    Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
}

/// Commits what is in the window, and answers it.
async fn answer(db: &Db, caller: &Caller, mut incoming: mpsc::Receiver<Incoming>, responses: &Outgoing) {
    let mut waiting = Vec::with_capacity(BATCH);
    while incoming.recv_many(&mut waiting, BATCH).await > 0 {
        let (items, shares): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|incoming| (incoming.item, incoming.share)).unzip();
        for response in commit(db, caller, items).await {
            // A client that is gone gets no answers, but what it sent before is still committed.
            let _ = responses.send(response).await;
        }
        // Answered: what they held of the window is free again.
        drop(shares);
    }
}

/// Answers a run of requests in their order, from one transaction for all that add a message.
async fn commit(db: &Db, caller: &Caller, items: Vec<Item>) -> Vec<Answer> {
    let mut messages = Vec::with_capacity(items.len());
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Append(message) => {
                messages.push(*message);
                answers.push(None);
            }
            Item::Say(answer) => answers.push(Some(answer)),
        }
    }
    let outcomes = append(db, caller, &messages).await;
    let mut appended = messages.into_iter().zip(outcomes).map(|(message, outcome)| match outcome {
        Ok(placed) => Ok(wire::ack(placed)),
        Err(error) => Ok(wire::error(message.conversation_id.to_string(), message.message_key, error)),
    });
    answers.into_iter().filter_map(|answer| answer.or_else(|| appended.next())).collect()
}

/// Adds messages in one transaction. When that fails for what one of them may be to blame for, each
/// gets a transaction of its own, so that a poison message harms only itself; when the database is
/// away, all of them learn it at once.
async fn append(db: &Db, caller: &Caller, messages: &[NewMessage]) -> Vec<Result<Placed>> {
    if messages.is_empty() {
        return Vec::new();
    }
    match transact(db, caller, messages).await {
        Ok(outcomes) => outcomes,
        Err(error) if messages.len() == 1 => vec![Err(error)],
        Err(error) if error.of_all().is_some() => {
            let others = (1..messages.len()).filter_map(|_| error.of_all()).map(Err).collect::<Vec<_>>();
            std::iter::once(Err(error)).chain(others).collect()
        }
        Err(_) => {
            let mut outcomes = Vec::with_capacity(messages.len());
            for message in messages.chunks(1) {
                let outcome = transact(db, caller, message).await;
                outcomes.push(outcome.and_then(|mut outcomes| {
                    outcomes.pop().unwrap_or_else(|| Err(Error::internal("a batch lost a message")))
                }));
            }
            outcomes
        }
    }
}

async fn transact(db: &Db, caller: &Caller, messages: &[NewMessage]) -> Result<Vec<Result<Placed>>> {
    let deadline = Deadline::after(BATCH_DEADLINE);
    db.write(caller, deadline, async |tx: &mut TenantTx| actions::append(tx, messages).await).await
}
