//! Clients of the service.

use std::net::SocketAddr;
use std::sync::OnceLock;

use crm_backend::auth::api_keys::Secret;
use crm_backend::pb::campaign_service_client::CampaignServiceClient;
use crm_backend::pb::conversation_service_client::ConversationServiceClient;
use crm_backend::pb::customer_faq_service_client::CustomerFaqServiceClient;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_backend::pb::dashboard_service_client::DashboardServiceClient;
use crm_backend::pb::pending_question_service_client::PendingQuestionServiceClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::Result;

/// The credential of all clients, if they need one.
static CREDENTIAL: OnceLock<Credential> = OnceLock::new();

/// A credential that a client sends.
#[derive(Debug, Clone)]
pub(crate) struct Credential(AsciiMetadataValue);

impl Credential {
    /// Wraps an API key.
    pub(crate) fn key(key: &Secret) -> Result<Self> {
        Ok(Self(format!("Bearer {}", key.expose()).parse()?))
    }
}

/// Sets the credential of all clients.
pub(crate) fn call_with(credential: Credential) -> Result<()> {
    CREDENTIAL.set(credential).map_err(|_| "clients have a credential already".into())
}

/// Sends the tenant and the credential with every call.
#[derive(Clone)]
pub(crate) struct Says {
    tenant: AsciiMetadataValue,
    credential: Option<Credential>,
}

impl Says {
    fn new(tenant: Uuid, credential: Option<Credential>) -> Result<Self> {
        Ok(Self { tenant: tenant.to_string().parse()?, credential })
    }

    /// Creates it with the credential of all clients.
    fn usual(tenant: Uuid) -> Result<Self> {
        Self::new(tenant, CREDENTIAL.get().cloned())
    }
}

impl Interceptor for Says {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        request.metadata_mut().insert("x-tenant-id", self.tenant.clone());
        if let Some(Credential(credential)) = &self.credential {
            request.metadata_mut().insert("authorization", credential.clone());
        }
        Ok(request)
    }
}

/// A replica, and the credential of its clients.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) credential: Option<Credential>,
}

impl Server {
    /// Returns the replica at this address, for clients with the usual credential.
    pub(crate) fn usual(address: SocketAddr) -> Self {
        Self { address, credential: CREDENTIAL.get().cloned() }
    }

    pub(crate) fn customers(&self, channel: &Channel, tenant: Uuid) -> Result<Customers> {
        let says = Says::new(tenant, self.credential.clone())?;
        Ok(CustomerServiceClient::with_interceptor(channel.clone(), says))
    }

    pub(crate) fn conversations(&self, channel: &Channel, tenant: Uuid) -> Result<Conversations> {
        let says = Says::new(tenant, self.credential.clone())?;
        Ok(ConversationServiceClient::with_interceptor(channel.clone(), says))
    }
}

pub(crate) type Customers = CustomerServiceClient<InterceptedService<Channel, Says>>;

pub(crate) type Conversations = ConversationServiceClient<InterceptedService<Channel, Says>>;

pub(crate) type Faqs = CustomerFaqServiceClient<InterceptedService<Channel, Says>>;

pub(crate) type Campaigns = CampaignServiceClient<InterceptedService<Channel, Says>>;

pub(crate) type Dashboard = DashboardServiceClient<InterceptedService<Channel, Says>>;

pub(crate) type Questions = PendingQuestionServiceClient<InterceptedService<Channel, Says>>;

/// Opens one connection.
pub(crate) async fn channel(address: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?)
}

/// Opens several connections.
pub(crate) async fn channels(address: SocketAddr, count: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(channel(address).await?);
    }
    Ok(channels)
}

pub(crate) fn customers(channel: &Channel, tenant: Uuid) -> Result<Customers> {
    Ok(CustomerServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}

pub(crate) fn conversations(channel: &Channel, tenant: Uuid) -> Result<Conversations> {
    Ok(ConversationServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}

pub(crate) fn faqs(channel: &Channel, tenant: Uuid) -> Result<Faqs> {
    Ok(CustomerFaqServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}

pub(crate) fn questions(channel: &Channel, tenant: Uuid) -> Result<Questions> {
    Ok(PendingQuestionServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}

pub(crate) fn campaigns(channel: &Channel, tenant: Uuid) -> Result<Campaigns> {
    Ok(CampaignServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}

pub(crate) fn dashboard(channel: &Channel, tenant: Uuid) -> Result<Dashboard> {
    Ok(DashboardServiceClient::with_interceptor(channel.clone(), Says::usual(tenant)?))
}
