//! Helpers for watches of conversations.

use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{
    self, AddMessageRequest, Message, MessageAbort, MessageAck, MessageDelta, MessageFinish, MessageRole,
    MessageStart, MessageStatus, WatchConversationRequest, WatchConversationResponse,
};
use tonic::{Status, Streaming};

use super::conversations::Stream;
use super::{Tenant, soon};

/// Starts at the first message.
pub(crate) const BEGINNING: Option<Start> = Some(Start::AfterSequence(0));

impl Tenant {
    /// Watches a conversation with the text of messages in progress.
    pub(crate) async fn watch(&self, id: &str, start: Option<Start>) -> Watch {
        self.try_watch(id, start, true).await.expect("a watch")
    }

    pub(crate) async fn try_watch(
        &self,
        id: &str,
        start: Option<Start>,
        include_deltas: bool,
    ) -> Result<Watch, Status> {
        let request = WatchConversationRequest { conversation_id: id.to_owned(), start, include_deltas };
        let events = soon(self.conversations().watch_conversation(request)).await?.into_inner();
        Ok(Watch { events, log: Log { with_text: include_deltas, ..Log::default() } })
    }
}

/// The client's side of a watch.
pub(crate) struct Watch {
    events: Streaming<WatchConversationResponse>,
    /// The events so far.
    pub(crate) log: Log,
}

impl Watch {
    /// Returns the next event and its token; `None` if the stream ended with OK.
    pub(crate) async fn try_next(&mut self) -> Result<Option<(String, Event)>, Status> {
        let Some(response) = soon(self.events.message()).await? else { return Ok(None) };
        let event = response.event.expect("an event");
        let told = event.event.expect("something happened");
        assert!(!event.resume_token.is_empty() && event.resume_token.len() <= 256, "a token comes with it");
        self.log.take(&told);
        Ok(Some((event.resume_token, told)))
    }

    pub(crate) async fn next(&mut self) -> Event {
        self.next_with_token().await.1
    }

    pub(crate) async fn next_with_token(&mut self) -> (String, Event) {
        self.try_next().await.expect("the watch goes on").expect("the watch does not end")
    }

    /// Reads until the log fulfils a condition.
    pub(crate) async fn until(&mut self, holds: impl Fn(&Log) -> bool) {
        while !holds(&self.log) {
            self.next().await;
        }
    }

    /// Reads until this many messages came.
    pub(crate) async fn until_messages(&mut self, count: usize) {
        self.until(|log| log.messages.len() >= count).await;
        assert_eq!(self.log.messages.len(), count);
    }

    /// Reads until the message is closed, and returns the events up to there.
    pub(crate) async fn until_closed(&mut self, sequence: i32) -> Vec<Event> {
        let mut events = Vec::new();
        while !self.log.is_closed(sequence) {
            events.push(self.next().await);
        }
        events
    }
}

/// A client's view of the events. It fails if they do not fit together.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The sequence after which the watch began.
    pub(crate) after: i32,
    /// The messages in their current state.
    pub(crate) messages: Vec<Message>,
    /// Whether it gets the text of messages in progress.
    with_text: bool,
}

impl Log {
    pub(crate) fn is_closed(&self, sequence: i32) -> bool {
        self.messages
            .iter()
            .any(|message| message.sequence == sequence && message.status() != MessageStatus::InProgress)
    }

    fn take(&mut self, told: &Event) {
        match told {
            Event::MessageAdded(pb::MessageAdded { message }) => self.add(message.as_ref()),
            Event::MessageStarted(pb::MessageStarted { message }) => {
                let message = message.as_ref().expect("a message");
                match self.find(message.sequence) {
                    Some(known) => known.clone_from(message),
                    None => self.add(Some(message)),
                }
            }
            Event::MessageFinished(pb::MessageFinished { message })
            | Event::MessageAborted(pb::MessageAborted { message }) => {
                let message = message.as_ref().expect("a message");
                let with_text = self.with_text;
                if let Some(known) = self.find(message.sequence) {
                    let is_beginning = message.content.starts_with(&known.content);
                    assert!(!with_text || is_beginning, "{known:?} was not taken back before {message:?}");
                    known.clone_from(message);
                }
            }
            Event::MessageSnapshot(text) => {
                if let Some(known) = self.find(text.sequence) {
                    known.content.clone_from(&text.text);
                }
            }
            Event::MessageDelta(text) => {
                if let Some(known) = self.find(text.sequence) {
                    assert_eq!(i32::try_from(known.content.len()), Ok(text.offset), "deltas are contiguous");
                    known.content.push_str(&text.text);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, message: Option<&Message>) {
        let message = message.expect("a message");
        if self.messages.is_empty() && self.after == 0 {
            self.after = message.sequence - 1;
        }
        let next = self.after + i32::try_from(self.messages.len()).expect("a number") + 1;
        assert_eq!(message.sequence, next, "every message once, in order");
        self.messages.push(message.clone());
    }

    fn find(&mut self, sequence: i32) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.sequence == sequence)
    }
}

/// Messages in progress.
impl Stream {
    pub(crate) fn act(&self, conversation_id: &str, action: Command) {
        self.send_request(AddMessageRequest {
            conversation_id: conversation_id.to_owned(),
            command: Some(action),
        });
    }

    pub(crate) async fn start(&mut self, conversation_id: &str, key: &str) -> MessageAck {
        self.act(
            conversation_id,
            Command::Start(MessageStart {
                message_key: key.to_owned(),
                role: MessageRole::Assistant.into(),
                ..Default::default()
            }),
        );
        self.outcome().await.expect("an ack")
    }

    /// Sends text without waiting for its ack.
    pub(crate) fn delta(&self, conversation_id: &str, key: &str, offset: usize, text: &str) {
        let offset = i32::try_from(offset).expect("a number");
        let (message_key, text) = (key.to_owned(), text.to_owned());
        self.act(conversation_id, Command::Delta(MessageDelta { message_key, offset, text }));
    }

    /// Sends text in one piece, and waits until it is stored.
    pub(crate) async fn say(&mut self, conversation_id: &str, key: &str, offset: usize, text: &str) {
        self.delta(conversation_id, key, offset, text);
        self.outcome().await.expect("an ack");
    }

    pub(crate) fn finish(&self, conversation_id: &str, key: &str, length: usize) {
        let length = i32::try_from(length).expect("a number");
        let finish = MessageFinish { message_key: key.to_owned(), length, ..Default::default() };
        self.act(conversation_id, Command::Finish(finish));
    }

    pub(crate) async fn abort(&mut self, conversation_id: &str, key: &str) {
        self.act(conversation_id, Command::Abort(MessageAbort { message_key: key.to_owned() }));
        self.outcome().await.expect("an ack");
    }
}
