//! A client of one tenant, with the few calls that these tests need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::add_message_response::Result as Answer;
use crm_backend::pb::conversation_service_client::ConversationServiceClient;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_contract::CallerMetadata;
use crm_testkit::within;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use uuid::Uuid;

/// How many requests a writer may be ahead of its stream; the rest of the pipeline is in HTTP/2.
const AHEAD: usize = 16;

/// The default of HTTP/2, and of most clients.
const STREAM_WINDOW: u32 = 65_535;

type Tenanted = InterceptedService<Channel, CallerMetadata>;

/// A connection, and a tenant.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) customers: CustomerServiceClient<Tenanted>,
    pub(crate) conversations: ConversationServiceClient<Tenanted>,
}

impl Client {
    /// Connects for a new tenant.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, Uuid::new_v4()).await
    }

    pub(crate) async fn connect_as(address: SocketAddr, tenant: Uuid) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let endpoint = endpoint.initial_stream_window_size(STREAM_WINDOW);
        let channel = within(endpoint.connect()).await.expect("a connection");
        let tenant = CallerMetadata::of_tenant(&tenant.to_string()).expect("a header");
        Self {
            customers: CustomerServiceClient::with_interceptor(channel.clone(), tenant.clone()),
            conversations: ConversationServiceClient::with_interceptor(channel.clone(), tenant),
            channel,
        }
    }

    pub(crate) async fn try_create_customer(&mut self, name: &str) -> Result<pb::Customer, Status> {
        let customer = Some(pb::Customer { business_name: name.to_owned(), ..Default::default() });
        let request = pb::CreateCustomerRequest { customer, ..Default::default() };
        let response = within(self.customers.create_customer(request)).await?;
        Ok(response.into_inner().customer.expect("a customer"))
    }

    pub(crate) async fn create_customer(&mut self, name: &str) -> pb::Customer {
        self.try_create_customer(name).await.expect("a customer")
    }

    pub(crate) async fn get_customer(&mut self, id: &str) -> Result<pb::Customer, Status> {
        let request = pb::GetCustomerRequest { id: id.to_owned(), ..Default::default() };
        let response = within(self.customers.get_customer(request)).await?;
        Ok(response.into_inner().customer.expect("a customer"))
    }

    pub(crate) async fn list_customers(&mut self) -> Vec<pb::Customer> {
        let request = pb::ListCustomersRequest::default();
        within(self.customers.list_customers(request)).await.expect("a page").into_inner().customers
    }

    /// Creates a conversation with a new customer.
    pub(crate) async fn create_conversation(&mut self) -> String {
        let customer = self.create_customer("Café Zoë").await;
        let conversation = Some(pb::Conversation { customer_id: customer.id, ..Default::default() });
        let request = pb::CreateConversationRequest { conversation, ..Default::default() };
        let response = within(self.conversations.create_conversation(request)).await.expect("a conversation");
        response.into_inner().conversation.expect("a conversation").id
    }

    pub(crate) async fn count_messages(&mut self, conversation_id: &str) -> Result<i32, Status> {
        let request = pb::GetConversationRequest { id: conversation_id.to_owned(), ..Default::default() };
        let response = within(self.conversations.get_conversation(request)).await?;
        Ok(response.into_inner().conversation.expect("a conversation").message_count)
    }

    /// Returns all messages of a conversation, in order.
    pub(crate) async fn list_messages(&mut self, conversation_id: &str) -> Vec<pb::Message> {
        let mut messages = Vec::new();
        let mut request = pb::ListMessagesRequest {
            conversation_id: conversation_id.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        loop {
            let response = within(self.conversations.list_messages(request.clone())).await;
            let page = response.expect("a page").into_inner();
            messages.extend(page.messages);
            if page.next_page_token.is_empty() {
                return messages;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Opens an `AddMessage` stream.
    pub(crate) async fn add_messages(
        &mut self,
    ) -> Result<(mpsc::Sender<pb::AddMessageRequest>, Streaming<pb::AddMessageResponse>), Status> {
        let (requests, outgoing) = mpsc::channel(AHEAD);
        let response = within(self.conversations.add_message(ReceiverStream::new(outgoing))).await?;
        Ok((requests, response.into_inner()))
    }
}

/// Returns a request that adds the message of this key; the same key always has the same message.
pub(crate) fn message(conversation_id: &str, key: &str) -> pb::AddMessageRequest {
    let message = pb::Message {
        message_key: key.to_owned(),
        role: pb::MessageRole::User.into(),
        content: format!("The words of {key}."),
        ..Default::default()
    };
    pb::AddMessageRequest {
        conversation_id: conversation_id.to_owned(),
        command: Some(Command::Message(message)),
    }
}

/// Writes to one conversation through a series of streams, and logs what was sent and acked.
pub(crate) struct Writer {
    pub(crate) conversation_id: String,
    /// Keys, in the order in which they were first sent.
    sent: Vec<String>,
    /// The sequence of each acked key.
    acked: BTreeMap<String, i32>,
}

/// How a stream ended.
pub(crate) struct Session {
    /// Whether the last response of the stream was a GoAway.
    pub(crate) go_away: bool,
    /// The end: OK, or an error.
    pub(crate) end: Result<(), Status>,
}

impl Writer {
    pub(crate) async fn new(client: &mut Client) -> Self {
        let conversation_id = client.create_conversation().await;
        Self { conversation_id, sent: Vec::new(), acked: BTreeMap::new() }
    }

    /// Sends unacked messages again, `repeats` of the acked ones, and `fresh` new messages, without
    /// waiting for acks. Then closes its side, and reads until the stream ends.
    ///
    /// `progress` counts the acks of all writers that share it.
    pub(crate) async fn write(
        &mut self,
        client: &mut Client,
        repeats: usize,
        fresh: usize,
        progress: &watch::Sender<usize>,
    ) -> Session {
        let (requests, responses) = match client.add_messages().await {
            Ok(stream) => stream,
            Err(end) => return Session { go_away: false, end: Err(end) },
        };
        let mut keys: Vec<String> = self
            .sent
            .iter()
            .rev()
            .filter(|key| self.acked.contains_key(*key))
            .take(repeats)
            .cloned()
            .collect();
        keys.extend(self.sent.iter().filter(|key| !self.acked.contains_key(*key)).cloned());
        let first = self.sent.len();
        let new: Vec<String> = (first..first + fresh).map(|number| format!("message-{number}")).collect();
        keys.extend(new.iter().cloned());
        self.sent.extend(new);
        let conversation_id = self.conversation_id.clone();
        let send = async {
            for key in &keys {
                // An ended stream accepts no more requests.
                if requests.send(message(&conversation_id, key)).await.is_err() {
                    break;
                }
            }
            drop(requests);
        };
        let ((), session) = within(async { tokio::join!(send, self.read(responses, &keys, progress)) }).await;
        session
    }

    /// Reads acks, which come in the order of `keys`, until the stream ends.
    async fn read(
        &mut self,
        mut responses: Streaming<pb::AddMessageResponse>,
        keys: &[String],
        progress: &watch::Sender<usize>,
    ) -> Session {
        let mut expected = keys.iter();
        let mut go_away = false;
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Session { go_away, end: Ok(()) },
                Err(end) => return Session { go_away, end: Err(end) },
            };
            assert!(!go_away, "go_away was not the last word");
            match response.result.expect("a result") {
                Answer::Ack(ack) => {
                    assert_eq!(Some(&ack.message_key), expected.next(), "acks come in the order sent");
                    let known = self.acked.insert(ack.message_key.clone(), ack.sequence);
                    if let Some(known) = known {
                        assert_eq!((known, true), (ack.sequence, ack.deduplicated), "{}", ack.message_key);
                    }
                    progress.send_modify(|acks| *acks += 1);
                }
                Answer::Error(error) => {
                    // It may have happened, and its key is sent again.
                    let code = error.status.expect("a status").code;
                    assert_eq!(code, tonic::Code::Unavailable as i32, "{}", error.message_key);
                    assert_eq!(Some(&error.message_key), expected.next(), "answers come in the order sent");
                }
                Answer::GoAway(_) => go_away = true,
            }
        }
    }

    pub(crate) fn count_sent(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn count_acked(&self) -> usize {
        self.acked.len()
    }

    /// Checks log against database: acked ⊆ stored ⊆ sent, each key once, sequences 1, 2, 3 ….
    pub(crate) async fn check(&self, client: &mut Client) -> usize {
        let stored = client.list_messages(&self.conversation_id).await;
        let sequences: Vec<i32> = stored.iter().map(|message| message.sequence).collect();
        let whole: Vec<i32> = (1..).take(stored.len()).collect();
        assert_eq!(sequences, whole, "no hole");
        let by_key: BTreeMap<&str, &pb::Message> =
            stored.iter().map(|message| (message.message_key.as_str(), message)).collect();
        assert_eq!(by_key.len(), stored.len(), "no message twice");
        for (key, sequence) in &self.acked {
            let found = by_key.get(key.as_str()).map(|message| message.sequence);
            assert_eq!(found, Some(*sequence), "{key} was acked");
        }
        for (key, found) in by_key {
            assert!(self.sent.iter().any(|sent| sent == key), "{key} was never sent");
            assert_eq!(found.content, format!("The words of {key}."));
        }
        stored.len()
    }
}

/// Waits until the writers that share `progress` have this many acks together.
pub(crate) async fn acks(progress: &mut watch::Receiver<usize>, count: usize) {
    within(progress.wait_for(|acks| *acks >= count)).await.expect("writers");
}

/// How often in a row the count of messages is the same once a sender is held back.
const UNCHANGED: usize = 25;

/// The time between two counts.
const INTERVAL: Duration = Duration::from_millis(20);

/// More acks than fit into all buffers on the way.
const FAR_TOO_MANY: i32 = 50_000;

/// A stream that sends without end, and reads nothing.
pub(crate) struct Unread {
    _responses: Streaming<pb::AddMessageResponse>,
    _sender: JoinSet<()>,
}

impl Unread {
    pub(crate) async fn open(client: &mut Client, conversation_id: &str) -> Self {
        let (requests, responses) = client.add_messages().await.expect("a stream");
        let conversation_id = conversation_id.to_owned();
        let mut sender = JoinSet::new();
        sender.spawn(async move {
            for number in 0_u64.. {
                if requests.send(message(&conversation_id, &format!("message-{number}"))).await.is_err() {
                    return;
                }
            }
        });
        Self { _responses: responses, _sender: sender }
    }

    /// Waits until the windows are full of unread acks, and the server reads no more.
    pub(crate) async fn is_held_back(&self, observer: &mut Client, conversation_id: &str) {
        let (mut stored, mut unchanged) = (0, 0);
        while unchanged < UNCHANGED {
            tokio::time::sleep(INTERVAL).await;
            let count = observer.count_messages(conversation_id).await.expect("a count");
            assert!(count < FAR_TOO_MANY, "nothing holds the sender back");
            unchanged = if count > 0 && count == stored { unchanged + 1 } else { 0 };
            stored = count;
        }
    }
}
