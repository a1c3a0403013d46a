//! Clients that watch conversations, continue where a stream ended, and log their events.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crm_backend::pb;
use crm_backend::pb::MessageStatus;
use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use tokio::sync::watch;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::checker::Stored;
use super::client::{Client, PAUSE, is_passing};
use super::log::{Copy, Told, Watched};
use super::workload::Place;

/// There is a checkpoint every 15 s if nothing else happens; after twice that the watch hangs.
const SILENCE: Duration = Duration::from_secs(35);

/// Checkpoints after the final event: a watcher that still misses something then has lost it.
const LAST_WORDS: usize = 2;

/// The final messages, as soon as they are known.
pub(crate) type End = watch::Receiver<Option<Arc<Stored>>>;

/// Watches one conversation.
pub(crate) struct Watcher {
    tenant: Uuid,
    watched: Watched,
    /// The position after the last event.
    resume_token: Option<String>,
    /// The status of each message in its last event.
    known: BTreeMap<i32, MessageStatus>,
    /// The checkpoints since the end is known.
    last_words: usize,
}

impl Watcher {
    pub(crate) fn new(tenant: Uuid, conversation: Arc<str>) -> Self {
        let watched = Watched { conversation, told: Vec::new() };
        Self { tenant, watched, resume_token: None, known: BTreeMap::new(), last_words: 0 }
    }

    /// Watches until it knows all final messages.
    pub(crate) async fn run(mut self, place: Place, mut end: End) -> Watched {
        let mut client: Option<(SocketAddr, Client)> = None;
        while !self.knows_all(&end) {
            let address = *place.borrow();
            client = match client.filter(|(known, _)| *known == address) {
                Some(client) => Some(client),
                None => Client::try_connect(address, self.tenant).await.ok().map(|client| (address, client)),
            };
            let opened = match &mut client {
                Some((_, client)) => self.open(client).await,
                None => Err(Status::unavailable("nobody listens")),
            };
            match opened {
                Ok(events) => self.begin(events, &mut end).await,
                Err(status) => {
                    if !is_passing(&status) {
                        self.watched.told.push(Told::Refused(format!("{status:?}")));
                        break;
                    }
                    client = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.watched
    }

    /// Opens a watch from the first message, or after the last event.
    pub(crate) async fn open(
        &self,
        client: &mut Client,
    ) -> Result<Streaming<pb::WatchConversationResponse>, Status> {
        let start = match &self.resume_token {
            None => Start::AfterSequence(0),
            Some(token) => Start::ResumeToken(token.clone()),
        };
        let request = pb::WatchConversationRequest {
            conversation_id: self.watched.conversation.to_string(),
            start: Some(start),
            include_deltas: true,
        };
        client.watch(request).await
    }

    /// Logs the events of a first stream until it ends, or no more can come.
    pub(crate) async fn begin(&mut self, events: Streaming<pb::WatchConversationResponse>, end: &mut End) {
        self.watched.told.push(Told::Began);
        self.follow(events, end).await;
    }

    /// Logs the events of a stream until it ends, or no more can come.
    async fn follow(&mut self, mut events: Streaming<pb::WatchConversationResponse>, end: &mut End) {
        while !self.knows_all(end) {
            let told = tokio::select! {
                told = tokio::time::timeout(SILENCE, events.message()) => told,
                // The end became known, which changes the condition of the loop.
                Ok(()) = end.changed() => continue,
            };
            match told {
                Ok(Ok(Some(response))) => {
                    self.hear(response.event.expect("an event"));
                    let ended = end.borrow().is_some();
                    let checkpoint = matches!(self.watched.told.last(), Some(Told::Checkpoint(_)));
                    self.last_words += usize::from(ended && checkpoint);
                }
                Ok(Ok(None)) => return,
                Ok(Err(status)) if is_passing(&status) => return,
                Ok(Err(status)) => {
                    self.watched.told.push(Told::Refused(format!("{status:?}")));
                    return;
                }
                Err(_) => {
                    self.watched.told.push(Told::Refused("nothing is said any more".to_owned()));
                    return;
                }
            }
        }
    }

    fn knows_all(&self, end: &End) -> bool {
        let end = end.borrow();
        let Some(end) = end.as_ref() else { return false };
        let rows = end.get(&self.watched.conversation).map_or(&[][..], Vec::as_slice);
        let known = self.known.values();
        let all = known.len() == rows.len() && known.eq(rows.iter().map(|row| &row.status));
        all || self.last_words >= LAST_WORDS
    }

    fn hear(&mut self, event: pb::ConversationEvent) {
        let pb::ConversationEvent { resume_token, event } = event;
        self.resume_token = Some(resume_token);
        let told = match event.expect("something that happened") {
            Event::MessageAdded(added) => Told::Added(self.know(added.message)),
            Event::MessageStarted(started) => Told::Started(self.know(started.message)),
            Event::MessageFinished(finished) => Told::Finished(self.know(finished.message)),
            Event::MessageAborted(aborted) => Told::Aborted(self.know(aborted.message)),
            Event::MessageDelta(pb::MessageText { message_id: _, sequence, offset, text }) => {
                Told::Delta { sequence, offset, text }
            }
            Event::MessageSnapshot(pb::MessageText { message_id: _, sequence, offset: _, text }) => {
                Told::Snapshot { sequence, text }
            }
            Event::Checkpoint(checkpoint) => Told::Checkpoint(checkpoint.last_sequence),
            // The stream ends by itself after it.
            Event::GoAway(_) => return,
            // These are not promised once for each change.
            Event::ConversationUpdated(_) | Event::ConversationEnded(_) | Event::AnalysisRecorded(_) => {
                return;
            }
        };
        self.watched.told.push(told);
    }

    /// Remembers the status of the message.
    fn know(&mut self, message: Option<pb::Message>) -> Copy {
        let copy = Copy::from(message.expect("a message"));
        self.known.insert(copy.sequence, copy.status);
        copy
    }

    pub(crate) fn into_watched(self) -> Watched {
        self.watched
    }
}
