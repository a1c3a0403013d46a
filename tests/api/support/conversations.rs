//! Helpers for conversations and messages.

use std::future::Future;

use crm_backend::pb::{
    AddMessageRequest, AddMessageResponse, Conversation, ConversationAnalysis, ConversationView,
    CreateConversationRequest, CreateMessageRequest, EndConversationRequest, GetConversationRequest,
    GetMessageRequest, ListConversationsRequest, ListConversationsResponse, ListMessagesRequest,
    ListMessagesResponse, Message, MessageAbort, MessageAck, MessageDelta, MessageFinish, MessageRole,
    MessageStart, RecordAnalysisRequest, ReopenConversationRequest, UpdateConversationRequest,
    add_message_request::Command, add_message_response::Result as Answer, get_message_request::Name,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use super::customers::mask;
use super::raw::unary;
use super::{Tenant, soon};

/// Returns a customer's message with this key.
pub(crate) fn message(key: &str, content: &str) -> Message {
    Message {
        message_key: key.to_owned(),
        role: MessageRole::User.into(),
        content: content.to_owned(),
        ..Default::default()
    }
}

/// Starts an AI message, written by this producer.
pub(crate) fn start(key: &str, producer: &str) -> Command {
    Command::Start(MessageStart {
        message_key: key.to_owned(),
        role: MessageRole::Assistant.into(),
        producer_id: producer.to_owned(),
        ..Default::default()
    })
}

/// Restarts an AI message, written by this producer.
pub(crate) fn restart(key: &str, producer: &str) -> Command {
    Command::Start(MessageStart {
        message_key: key.to_owned(),
        role: MessageRole::Assistant.into(),
        producer_id: producer.to_owned(),
        restart: true,
        ..Default::default()
    })
}

/// A piece of a message's text.
pub(crate) fn delta(key: &str, offset: usize, text: &str) -> Command {
    let offset = i32::try_from(offset).expect("a short text");
    Command::Delta(MessageDelta { message_key: key.to_owned(), offset, text: text.to_owned() })
}

/// Finishes a message with this many bytes.
pub(crate) fn finish(key: &str, length: usize) -> Command {
    let length = i32::try_from(length).expect("a short text");
    Command::Finish(MessageFinish { message_key: key.to_owned(), length, ..Default::default() })
}

/// Aborts a message.
pub(crate) fn abort(key: &str) -> Command {
    Command::Abort(MessageAbort { message_key: key.to_owned() })
}

impl Tenant {
    /// Creates a conversation with a new customer.
    pub(crate) async fn conversation(&self) -> Conversation {
        let customer_id = self.customer("Café Zoë").await.id;
        self.open(Conversation { customer_id, ..Default::default() }).await.expect("a conversation")
    }

    pub(crate) async fn open(&self, conversation: Conversation) -> Result<Conversation, Status> {
        let request = CreateConversationRequest { conversation: Some(conversation), ..Default::default() };
        let response = self.conversations().create_conversation(request).await?.into_inner();
        Ok(response.conversation.expect("the conversation"))
    }

    pub(crate) async fn read(&self, id: &str) -> Result<Conversation, Status> {
        let request = GetConversationRequest { id: id.to_owned(), ..Default::default() };
        let response = self.conversations().get_conversation(request).await?.into_inner();
        Ok(response.conversation.expect("the conversation"))
    }

    /// Changes the fields of a conversation that `paths` names; without paths, the fields that are
    /// set.
    pub(crate) async fn revise(&self, wanted: Conversation, paths: &[&str]) -> Result<Conversation, Status> {
        let update_mask = (!paths.is_empty()).then(|| mask(paths));
        let request =
            UpdateConversationRequest { conversation: Some(wanted), update_mask, ..Default::default() };
        let response = self.conversations().update_conversation(request).await?.into_inner();
        Ok(response.conversation.expect("the conversation"))
    }

    pub(crate) async fn end(&self, request: EndConversationRequest) -> Result<Conversation, Status> {
        let response = self.conversations().end_conversation(request).await?.into_inner();
        Ok(response.conversation.expect("the conversation"))
    }

    pub(crate) async fn reopen(&self, request: ReopenConversationRequest) -> Result<Conversation, Status> {
        let response = self.conversations().reopen_conversation(request).await?.into_inner();
        Ok(response.conversation.expect("the conversation"))
    }

    /// Ends a conversation without further fields.
    pub(crate) async fn finish(&self, id: &str) -> Conversation {
        self.end(EndConversationRequest { id: id.to_owned(), ..Default::default() }).await.expect("ended")
    }

    pub(crate) async fn conversation_page(
        &self,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Status> {
        Ok(self.conversations().list_conversations(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_conversations(&self, mut request: ListConversationsRequest) -> Vec<Conversation> {
        let mut conversations = Vec::new();
        request.page_size = 500;
        request.set_view(ConversationView::Full);
        loop {
            let page = self.conversation_page(request.clone()).await.expect("a page");
            conversations.extend(page.conversations);
            if page.next_page_token.is_empty() {
                return conversations;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Adds a message, and returns whether it existed already.
    pub(crate) async fn add(&self, id: &str, message: Message) -> Result<(Message, bool), Status> {
        let request = CreateMessageRequest {
            conversation_id: id.to_owned(),
            message: Some(message),
            request_id: String::new(),
        };
        let response = self.conversations().create_message(request).await?.into_inner();
        Ok((response.message.expect("the message"), response.deduplicated))
    }

    pub(crate) async fn message(&self, conversation_id: &str, id: &str) -> Result<Message, Status> {
        self.message_named(conversation_id, Name::Id(id.to_owned())).await
    }

    pub(crate) async fn message_named(&self, conversation_id: &str, name: Name) -> Result<Message, Status> {
        let request = GetMessageRequest {
            conversation_id: conversation_id.to_owned(),
            name: Some(name),
            ..Default::default()
        };
        Ok(self.conversations().get_message(request).await?.into_inner().message.expect("the message"))
    }

    pub(crate) async fn message_page(
        &self,
        request: ListMessagesRequest,
    ) -> Result<ListMessagesResponse, Status> {
        Ok(self.conversations().list_messages(request).await?.into_inner())
    }

    /// Returns all messages of a conversation in order, read in pages of this size.
    pub(crate) async fn messages(&self, id: &str, page_size: i32) -> Vec<Message> {
        let mut request =
            ListMessagesRequest { conversation_id: id.to_owned(), page_size, ..Default::default() };
        let mut messages = Vec::new();
        loop {
            let page = self.message_page(request.clone()).await.expect("a page");
            messages.extend(page.messages);
            if page.next_page_token.is_empty() {
                return messages;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn analyse(
        &self,
        analysis: ConversationAnalysis,
    ) -> Result<ConversationAnalysis, Status> {
        let request = RecordAnalysisRequest { analysis: Some(analysis), ..Default::default() };
        let response = self.conversations().record_analysis(request).await?.into_inner();
        Ok(response.analysis.expect("the analysis"))
    }

    /// Opens an AddMessage stream.
    pub(crate) async fn stream(&self) -> Stream {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let responses = self.conversations().add_message(outgoing).await.expect("a stream").into_inner();
        Stream { requests: Some(requests), responses }
    }
}

/// The client's side of an AddMessage stream.
pub(crate) struct Stream {
    requests: Option<mpsc::UnboundedSender<AddMessageRequest>>,
    responses: Streaming<AddMessageResponse>,
}

impl Stream {
    /// Sends a message without waiting for its answer; an empty id means the previous conversation.
    pub(crate) fn send(&self, conversation_id: &str, message: Message) {
        self.send_request(AddMessageRequest {
            conversation_id: conversation_id.to_owned(),
            command: Some(Command::Message(message)),
        });
    }

    /// Sends commands for messages in progress.
    pub(crate) fn tell(&self, conversation_id: &str, actions: impl IntoIterator<Item = Command>) {
        for action in actions {
            let conversation_id = conversation_id.to_owned();
            self.send_request(AddMessageRequest { conversation_id, command: Some(action) });
        }
    }

    /// Returns the next answer, which must be an ack of this much text.
    #[track_caller]
    pub(crate) fn acked(&mut self, length: usize) -> impl Future<Output = MessageAck> {
        let caller = std::panic::Location::caller();
        async move {
            let ack = self.outcome().await.unwrap_or_else(|error| panic!("{caller}: no ack but {error:?}"));
            assert_eq!(usize::try_from(ack.durable_offset), Ok(length), "{caller}: {ack:?}");
            ack
        }
    }

    /// Sends text piece by piece, and waits until all of it is durable.
    pub(crate) async fn write(&mut self, id: &str, key: &str, offset: usize, text: &str) -> MessageAck {
        let end = offset + text.len();
        for (index, character) in text.char_indices() {
            self.tell(id, [delta(key, offset + index, character.encode_utf8(&mut [0; 4]))]);
        }
        loop {
            let ack = self.outcome().await.expect("an ack");
            assert_eq!(ack.message_key, key);
            if usize::try_from(ack.durable_offset) == Ok(end) {
                return ack;
            }
        }
    }

    pub(crate) fn send_request(&self, request: AddMessageRequest) {
        let requests = self.requests.as_ref().expect("the sending side is open");
        // If the stream has ended, reading its answers shows it.
        let _ = requests.send(request);
    }

    /// Closes the sending side.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    /// Returns the next answer; `None` if the stream ended with OK.
    pub(crate) async fn answer(&mut self) -> Result<Option<Answer>, Status> {
        let response = soon(self.responses.message()).await?;
        Ok(response.map(|response| response.result.expect("an answer")))
    }

    /// Returns the next answer, which is an ack or an error.
    pub(crate) async fn outcome(&mut self) -> Result<MessageAck, Status> {
        match self.answer().await.expect("the stream lives") {
            Some(Answer::Ack(ack)) => Ok(ack),
            Some(Answer::Error(error)) => Err(unary(error)),
            other => panic!("neither ack nor error: {other:?}"),
        }
    }
}
