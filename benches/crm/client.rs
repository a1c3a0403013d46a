//! Clients of the service.

use std::net::SocketAddr;
use std::sync::OnceLock;

use crm_backend::auth::api_keys::Secret;
use crm_contract::CallerMetadata;
use crm_contract::pb::campaign_service_client::CampaignServiceClient;
use crm_contract::pb::conversation_service_client::ConversationServiceClient;
use crm_contract::pb::customer_faq_service_client::CustomerFaqServiceClient;
use crm_contract::pb::customer_service_client::CustomerServiceClient;
use crm_contract::pb::dashboard_service_client::DashboardServiceClient;
use crm_contract::pb::pending_question_service_client::PendingQuestionServiceClient;
use http::HeaderMap;
use tonic::Request;
use tonic::service::Interceptor as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::Result;

/// The credential of all clients, if they need one.
static CREDENTIAL: OnceLock<Credential> = OnceLock::new();

/// A credential that a client sends.
#[derive(Debug, Clone)]
pub(crate) struct Credential(String);

impl Credential {
    /// Wraps an API key.
    pub(crate) fn key(key: &Secret) -> Self {
        Self(key.expose().to_owned())
    }
}

/// Sets the credential of all clients.
pub(crate) fn call_with(credential: Credential) -> Result<()> {
    CREDENTIAL.set(credential).map_err(|_| "clients have a credential already".into())
}

/// Returns what a client says with every call.
fn says(tenant: Uuid, credential: Option<&Credential>) -> Result<CallerMetadata> {
    let caller = CallerMetadata::of_tenant(&tenant.to_string())?;
    Ok(match credential {
        Some(Credential(credential)) => caller.with_credential(credential)?,
        None => caller,
    })
}

/// The same with the credential of all clients.
fn says_usual(tenant: Uuid) -> Result<CallerMetadata> {
    says(tenant, CREDENTIAL.get())
}

/// Returns what a client of the usual credential says with every call, as headers of HTTP.
pub(crate) fn headers(tenant: Uuid) -> Result<HeaderMap> {
    let mut request = Request::new(());
    request = says_usual(tenant)?.call(request)?;
    Ok(request.into_parts().0.into_headers())
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
        let says = says(tenant, self.credential.as_ref())?;
        Ok(CustomerServiceClient::with_interceptor(channel.clone(), says))
    }

    pub(crate) fn conversations(&self, channel: &Channel, tenant: Uuid) -> Result<Conversations> {
        let says = says(tenant, self.credential.as_ref())?;
        Ok(ConversationServiceClient::with_interceptor(channel.clone(), says))
    }
}

pub(crate) type Customers = CustomerServiceClient<InterceptedService<Channel, CallerMetadata>>;

pub(crate) type Conversations = ConversationServiceClient<InterceptedService<Channel, CallerMetadata>>;

pub(crate) type Faqs = CustomerFaqServiceClient<InterceptedService<Channel, CallerMetadata>>;

pub(crate) type Campaigns = CampaignServiceClient<InterceptedService<Channel, CallerMetadata>>;

pub(crate) type Dashboard = DashboardServiceClient<InterceptedService<Channel, CallerMetadata>>;

pub(crate) type Questions = PendingQuestionServiceClient<InterceptedService<Channel, CallerMetadata>>;

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
    Ok(CustomerServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}

pub(crate) fn conversations(channel: &Channel, tenant: Uuid) -> Result<Conversations> {
    Ok(ConversationServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}

pub(crate) fn faqs(channel: &Channel, tenant: Uuid) -> Result<Faqs> {
    Ok(CustomerFaqServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}

pub(crate) fn questions(channel: &Channel, tenant: Uuid) -> Result<Questions> {
    Ok(PendingQuestionServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}

pub(crate) fn campaigns(channel: &Channel, tenant: Uuid) -> Result<Campaigns> {
    Ok(CampaignServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}

pub(crate) fn dashboard(channel: &Channel, tenant: Uuid) -> Result<Dashboard> {
    Ok(DashboardServiceClient::with_interceptor(channel.clone(), says_usual(tenant)?))
}
