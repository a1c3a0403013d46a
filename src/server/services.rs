//! The services of the contract: one line for each.

use tonic::service::Routes;

use crate::conversations::Conversations;
use crate::conversations::feed::Feed;
use crate::customers::Customers;
use crate::db::Db;
use crate::rpc::{PageKey, servers};

/// What services are made of.
pub(super) struct Parts {
    /// The pool for calls.
    pub(super) db: Db,
    /// The key of page tokens.
    pub(super) key: PageKey,
    /// The feed of conversation events.
    pub(super) feed: Feed,
    /// The service of customers, which the server makes because it has background work.
    pub(super) customers: Customers,
    /// The service of conversations, for the same reason.
    pub(super) conversations: Conversations,
}

/// Limits a service to messages of this many bytes. For messages in gzip, the inflated size counts. (The layer
/// compresses answers, see `rpc::layer::compression`.)
macro_rules! taking {
    ($bytes:expr, $service:expr) => {
        $service
            .max_decoding_message_size($bytes)
            .accept_compressed(::tonic::codec::CompressionEncoding::Gzip)
    };
}
pub(super) use taking;

/// Declares all services. Each line has the generated server, and the service made of the parts.
macro_rules! services {
    ($parts:pat => $($module:ident::$server:ident: $service:expr,)+) => {
        /// The names of the services of the contract. They share one health status.
        pub(super) const NAMES: &[&str] = &[$(servers::$module::SERVICE_NAME),+];

        /// Adds the services of the contract, with requests of up to `bytes` bytes.
        pub(super) fn add(routes: Routes, bytes: usize, $parts: Parts) -> Routes {
            routes$(.add_service(taking!(bytes, servers::$module::$server::new($service))))+
        }
    };
}

#[rustfmt::skip]
services! {
    Parts { db, key, feed, customers, conversations } =>
    customer_service_server::CustomerServiceServer: customers,
    conversation_service_server::ConversationServiceServer: conversations,
    pending_question_service_server::PendingQuestionServiceServer: crate::questions::PendingQuestions::new(db.clone(), key.clone()),
    customer_faq_service_server::CustomerFaqServiceServer: crate::faqs::Faqs::new(db.clone(), key.clone()),
    campaign_service_server::CampaignServiceServer: crate::campaigns::Campaigns::new(db.clone(), key.clone()),
    engagement_service_server::EngagementServiceServer: crate::engagement::Engagements::new(db.clone(), key.clone(), feed),
    dashboard_service_server::DashboardServiceServer: crate::dashboard::Dashboard::new(db.clone()),
    audit_service_server::AuditServiceServer: crate::audit_events::AuditLog::new(db, key),
}
