//! A connection of one tenant, on which calls may fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crm_backend::pb;
use crm_backend::pb::conversation_service_client::ConversationServiceClient;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_contract::CallerMetadata;
use crm_testkit::within;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use uuid::Uuid;

use super::log::Copy;

/// How long a client waits before a retry: short, so that the service is measured.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// How long a connection, or the beginning of a stream, may take: milliseconds if the service answers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// How often a silent connection is pinged, and how long the answer may take. A half-open connection is noticed
/// within the sum.
const KEEPALIVE: Duration = Duration::from_millis(1_500);

/// The default of HTTP/2, and of most clients.
const STREAM_WINDOW: u32 = 65_535;

/// How many requests a client may be ahead of its stream; the rest of the pipeline is in HTTP/2.
const AHEAD: usize = 16;

/// The maximum number of messages of a page.
const PAGE: i32 = 500;

pub(crate) type Tenanted = InterceptedService<Channel, CallerMetadata>;

/// The two halves of an `AddMessage` stream.
pub(crate) type Adding = (mpsc::Sender<pb::AddMessageRequest>, Streaming<pb::AddMessageResponse>);

/// A connection, and a tenant.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    tenant: CallerMetadata,
    customers: CustomerServiceClient<Tenanted>,
    pub(crate) conversations: ConversationServiceClient<Tenanted>,
}

impl Client {
    /// Connects, or returns the reason why that failed.
    pub(crate) async fn try_connect(address: SocketAddr, tenant: Uuid) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let endpoint = endpoint
            .initial_stream_window_size(STREAM_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let channel =
            soon(endpoint.connect()).await?.map_err(|error| Status::unavailable(error.to_string()))?;
        let tenant = CallerMetadata::of_tenant(&tenant.to_string()).expect("a header");
        Ok(Self {
            customers: CustomerServiceClient::with_interceptor(channel.clone(), tenant.clone()),
            conversations: ConversationServiceClient::with_interceptor(channel.clone(), tenant.clone()),
            channel,
            tenant,
        })
    }

    /// Connects to a running service.
    pub(crate) async fn connect(address: SocketAddr, tenant: Uuid) -> Self {
        Self::try_connect(address, tenant).await.expect("a connection")
    }

    /// Returns the connection, for calls outside of the contract.
    pub(crate) fn tenanted(&self) -> Tenanted {
        InterceptedService::new(self.channel.clone(), self.tenant.clone())
    }

    /// Returns the health of the service as a whole.
    pub(crate) async fn health(&self) -> ServingStatus {
        let mut health = HealthClient::new(self.channel.clone());
        let response = within(health.check(HealthCheckRequest::default())).await;
        response.expect("a status").into_inner().status()
    }

    /// Watches health, and waits until it is SERVING.
    pub(crate) async fn watch_health(&self) -> Streaming<HealthCheckResponse> {
        let mut health = HealthClient::new(self.channel.clone());
        let response = within(health.watch(HealthCheckRequest::default())).await;
        let mut statuses = response.expect("a stream").into_inner();
        while within(statuses.message()).await.expect("no error").expect("a status").status()
            != ServingStatus::Serving
        {}
        statuses
    }

    /// Creates a customer, one per id, and returns the customer's id.
    pub(crate) async fn create_customer(&mut self, request_id: Uuid) -> Result<String, Status> {
        let response = soon(self.customers.create_customer(customer(request_id))).await??;
        Ok(response.into_inner().customer.expect("a customer").id)
    }

    pub(crate) async fn get_customer(&mut self, id: &str) -> Result<pb::Customer, Status> {
        let request = pb::GetCustomerRequest { id: id.to_owned(), ..Default::default() };
        let response = soon(self.customers.get_customer(request)).await??;
        Ok(response.into_inner().customer.expect("a customer"))
    }

    /// Renames a customer's contact, if the customer still has this etag; with an empty etag in any case.
    pub(crate) async fn rename_customer(
        &mut self,
        id: &str,
        etag: &str,
        contact_name: &str,
        request_id: Uuid,
    ) -> Result<(), Status> {
        let customer = pb::Customer {
            id: id.to_owned(),
            etag: etag.to_owned(),
            contact_name: contact_name.to_owned(),
            ..Default::default()
        };
        let request = pb::UpdateCustomerRequest {
            customer: Some(customer),
            update_mask: Some(prost_types::FieldMask { paths: vec!["contact_name".to_owned()] }),
            request_id: request_id.to_string(),
        };
        self.customers.update_customer(request).await?;
        Ok(())
    }

    pub(crate) async fn create_conversation(&mut self, customer_id: &str) -> pb::Conversation {
        let conversation = pb::Conversation { customer_id: customer_id.to_owned(), ..Default::default() };
        let request = pb::CreateConversationRequest {
            conversation: Some(conversation),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        within(async {
            loop {
                match self.conversations.create_conversation(request.clone()).await {
                    Ok(response) => return response.into_inner().conversation.expect("a conversation"),
                    Err(status) if is_passing(&status) => tokio::time::sleep(PAUSE).await,
                    Err(status) => panic!("no conversation: {status:?}"),
                }
            }
        })
        .await
    }

    /// Creates a customer, also if the service is still slow.
    async fn create_customer_at_last(&mut self) -> String {
        let request_id = Uuid::new_v4();
        within(async {
            loop {
                match self.create_customer(request_id).await {
                    Ok(id) => return id,
                    Err(status) if is_passing(&status) => tokio::time::sleep(PAUSE).await,
                    Err(status) => panic!("no customer: {status:?}"),
                }
            }
        })
        .await
    }

    /// Creates conversations with a new customer.
    pub(crate) async fn create_conversations(&mut self, count: usize) -> Vec<Arc<str>> {
        let customer_id = self.create_customer_at_last().await;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.create_conversation(&customer_id).await.id.into());
        }
        ids
    }

    /// Adds a message, so that the service has loaded what it loads once, such as its tokenizer.
    pub(crate) async fn warm_up(&mut self) {
        let conversation = self.create_conversations(1).await.swap_remove(0);
        within(self.create_message(&conversation)).await.expect("a message");
    }

    pub(crate) async fn create_message(&mut self, conversation: &str) -> Result<(), Status> {
        let message = pb::Message {
            role: pb::MessageRole::User.into(),
            content: "Hello".to_owned(),
            ..Default::default()
        };
        let request = pb::CreateMessageRequest {
            conversation_id: conversation.to_owned(),
            message: Some(message),
            request_id: String::new(),
        };
        self.conversations.create_message(request).await?;
        Ok(())
    }

    pub(crate) async fn count_messages(&mut self, conversation: &str) -> Result<i32, Status> {
        let request = pb::GetConversationRequest { id: conversation.to_owned(), ..Default::default() };
        let response = soon(self.conversations.get_conversation(request)).await??;
        Ok(response.into_inner().conversation.expect("a conversation").message_count)
    }

    /// Returns the number of the tenant's customers.
    pub(crate) async fn count_customers(&mut self) -> usize {
        let mut request = pb::ListCustomersRequest { page_size: PAGE, ..Default::default() };
        let mut count = 0;
        loop {
            let page = within(self.customers.list_customers(request.clone())).await.expect("a page");
            let page = page.into_inner();
            count += page.customers.len();
            if page.next_page_token.is_empty() {
                return count;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns all messages of a conversation, in order.
    pub(crate) async fn list_messages(&mut self, conversation: &str) -> Vec<Copy> {
        let mut messages = Vec::new();
        let mut request = pb::ListMessagesRequest {
            conversation_id: conversation.to_owned(),
            page_size: PAGE,
            ..Default::default()
        };
        loop {
            let page = within(self.conversations.list_messages(request.clone())).await.expect("a page");
            let page = page.into_inner();
            messages.extend(page.messages.into_iter().map(Copy::from));
            if page.next_page_token.is_empty() {
                return messages;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Opens an `AddMessage` stream.
    pub(crate) async fn add_messages(&mut self) -> Result<Adding, Status> {
        let (requests, outgoing) = mpsc::channel(AHEAD);
        let response = soon(self.conversations.add_message(ReceiverStream::new(outgoing))).await??;
        Ok((requests, response.into_inner()))
    }

    /// Opens a watch.
    pub(crate) async fn watch(
        &mut self,
        request: pb::WatchConversationRequest,
    ) -> Result<Streaming<pb::WatchConversationResponse>, Status> {
        Ok(soon(self.conversations.watch_conversation(request)).await??.into_inner())
    }
}

/// A customer with a unique name, so that requests do not compete for one slug.
fn customer(request_id: Uuid) -> pb::CreateCustomerRequest {
    let business_name = format!("Café {}", request_id.simple());
    pb::CreateCustomerRequest {
        customer: Some(pb::Customer { business_name, ..Default::default() }),
        request_id: request_id.to_string(),
    }
}

/// Returns the result of a call whose server may be gone.
async fn soon<T>(future: impl Future<Output = T>) -> Result<T, Status> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| Status::unavailable("nobody answers"))
}

/// Whether the error is normal for a client that is cut off or too fast, so that a retry is right.
pub(crate) fn is_passing(status: &Status) -> bool {
    let passing = [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted];
    // An error without details does not come from the service, but from the client because of a lost connection.
    passing.contains(&status.code()) || status.details().is_empty()
}
