//! The service in this process, and the clients of its tenants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use crm_backend::auth::Authenticator;
use crm_backend::config::{Cli, Command, Config, Limits, WebSettings};
use crm_backend::connection::{Listener, Tls};
use crm_backend::db::{Db, Target};
use crm_backend::identity::{Caller, TenantId};
use crm_backend::mcp::Entrance;
use crm_backend::pb::AccessScope;
use crm_backend::pb::audit_service_client::AuditServiceClient;
use crm_backend::pb::campaign_service_client::CampaignServiceClient;
use crm_backend::pb::conversation_service_client::ConversationServiceClient;
use crm_backend::pb::customer_faq_service_client::CustomerFaqServiceClient;
use crm_backend::pb::customer_service_client::CustomerServiceClient;
use crm_backend::pb::dashboard_service_client::DashboardServiceClient;
use crm_backend::pb::engagement_service_client::EngagementServiceClient;
use crm_backend::pb::pending_question_service_client::PendingQuestionServiceClient;
use crm_backend::server::{self, Doors, ServeError};
use crm_backend::traces::Traces;
use crm_backend::web::Cors;
use crm_contract::CallerMetadata;
use crm_testkit::Sql;
use http::{Extensions, HeaderMap};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::postgres::Database;
use super::soon;

/// The settings that a test may change.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The connections of the pool.
    pub(crate) connections: u16,
    /// How long a call waits for a connection.
    pub(crate) wait: Duration,
    /// How long a transaction may take.
    pub(crate) transaction: Duration,
    /// How long calls may continue after the shutdown began.
    pub(crate) drain: Duration,
    /// How long a message stays in progress after its last write.
    pub(crate) lease: Duration,
    /// How long events of the audit log are kept.
    pub(crate) audit_retention: Duration,
    /// How long an audit event covers later messages.
    pub(crate) audit_cover: Duration,
    /// The role with which the pool's connections log in; by default the owner.
    pub(crate) login: Option<String>,
    /// The port of a relay between the pool's connections and the database.
    pub(crate) relay: Option<u16>,
    /// Changes limits.
    pub(crate) limits: fn(&mut Limits),
    /// How connections are secured; the test then provides its own client.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How callers prove who they are.
    pub(crate) authenticator: Authenticator,
    /// How agents reach the tools; by default as where no proof is required.
    pub(crate) entrance: Option<Entrance>,
    /// The origins whose pages may call.
    pub(crate) cors_origins: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 8,
            wait: Duration::from_secs(10),
            transaction: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            lease: Duration::from_secs(120),
            audit_retention: Duration::from_secs(400 * 86_400),
            audit_cover: Duration::from_secs(3_600),
            login: None,
            relay: None,
            limits: |_| (),
            tls: None,
            authenticator: Authenticator::insecure(),
            entrance: None,
            cors_origins: Vec::new(),
        }
    }
}

/// The service, on a database of its own.
pub(crate) struct Crm {
    first: Replica,
    database: Database,
}

impl Crm {
    /// Starts one replica with the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// Starts one replica with these settings.
    pub(crate) async fn with(settings: Settings) -> Self {
        Self::over(Database::create().await, settings).await
    }

    /// Starts one replica on a database that the test has prepared.
    pub(crate) async fn over(database: Database, settings: Settings) -> Self {
        let first = Replica::start(&database, settings).await;
        Self { first, database }
    }

    /// Starts another replica on the same database.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(Settings::default()).await
    }

    /// Starts another replica on the same database, with these settings.
    pub(crate) async fn replica_with(&self, settings: Settings) -> Replica {
        Replica::start(&self.database, settings).await
    }

    /// Returns a new tenant.
    pub(crate) fn tenant(&self) -> Tenant {
        Tenant::new(self.channel())
    }

    /// Returns a connection without a tenant.
    pub(crate) fn channel(&self) -> Channel {
        self.first.channel.clone()
    }

    /// Returns the address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.first.address
    }

    /// Returns the address of the database server.
    pub(crate) fn database_address(&self) -> SocketAddr {
        self.database.address()
    }

    /// Returns the target of the database.
    pub(crate) fn target(&self) -> Target {
        self.database.target()
    }

    /// Returns the pool of the replica.
    pub(crate) fn db(&self) -> Db {
        self.first.db.clone()
    }

    /// Opens a connection as the database's owner.
    pub(crate) async fn sql(&self) -> Sql {
        self.database.sql().await
    }

    /// The same for every node that has rows; the node of the service's connections comes last.
    pub(crate) async fn nodes(&self) -> Vec<Sql> {
        self.database.nodes().await
    }

    /// Starts the shutdown.
    pub(crate) fn begin_shutdown(&self) {
        self.first.begin_shutdown();
    }

    /// Shuts the replica down and waits for its end; the database stays.
    pub(crate) async fn shut_down(&mut self) -> Result<(), ServeError> {
        self.first.shut_down().await
    }
}

/// One process of the service, as a task.
pub(crate) struct Replica {
    address: SocketAddr,
    channel: Channel,
    db: Db,
    stop: CancellationToken,
    server: JoinSet<Result<(), ServeError>>,
}

impl Replica {
    async fn start(database: &Database, settings: Settings) -> Self {
        let Settings {
            connections,
            wait,
            transaction,
            drain,
            lease,
            audit_retention,
            audit_cover,
            login,
            relay,
            limits,
            tls,
            authenticator,
            entrance,
            cors_origins,
        } = settings;
        let mut config = defaults();
        let entrance = entrance.unwrap_or_else(|| Entrance::new(&config.mcp, &config.auth, tls.is_some()));
        config.database.database_connections = connections;
        config.database.database_wait = wait;
        config.database.transaction_limit = transaction;
        config.limits.drain = drain;
        config.limits.message_lease = lease;
        config.limits.audit_retention = audit_retention;
        config.limits.audit_cover = audit_cover;
        limits(&mut config.limits);
        let mut opened =
            server::open(database.target(), &config.database).await.expect("the database is safe");
        if let Some(login) = login {
            let limits = config.database.pool_limits();
            opened.db = Db::new(&database.target_of(&login), limits).expect("a pool");
        }
        if let Some(port) = relay {
            let limits = config.database.pool_limits();
            opened.db = Db::new(&database.target_by(port), limits).expect("a pool");
        }
        let db = opened.db.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let pages = Cors::new(&WebSettings { cors_origins }, &entrance);
        let mut server = JoinSet::new();
        server.spawn(server::run(
            opened,
            authenticator,
            config.limits,
            Traces::default(),
            Doors { agents: entrance, pages },
            Listener::new(listener, tls.clone()),
            stop.clone().cancelled_owned(),
        ));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = match tls {
            None => endpoint.connect().await.expect("the service listens"),
            Some(_) => endpoint.connect_lazy(),
        };
        Self { address, channel, db, stop, server }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn begin_shutdown(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn shut_down(&mut self) -> Result<(), ServeError> {
        self.begin_shutdown();
        soon(self.server.join_next()).await.expect("it ran").expect("no panic")
    }
}

/// Returns the default settings of a server.
pub(crate) fn defaults() -> Config {
    match Cli::parse_from(["crm-backend"]).into_command() {
        Command::Serve(config) => *config,
        Command::Migrate(_) | Command::Recount(_) | Command::Keys(_) | Command::Mcp(_) => {
            panic!("serve is the default")
        }
    }
}

/// A tenant and its clients.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    channel: Channel,
    credential: Option<String>,
}

/// A connection that names its tenant.
pub(crate) type Service = InterceptedService<Channel, CallerMetadata>;

impl Tenant {
    /// Returns a new tenant on this connection.
    pub(crate) fn new(channel: Channel) -> Self {
        Self { id: Uuid::new_v4(), channel, credential: None }
    }

    /// Returns the same tenant, through another replica.
    pub(crate) fn through(&self, replica: &Replica) -> Self {
        Self { channel: replica.channel(), ..self.clone() }
    }

    /// Returns the same tenant, with this token or key.
    pub(crate) fn with(&self, credential: &str) -> Self {
        Self { credential: Some(credential.to_owned()), ..self.clone() }
    }

    /// Returns the same tenant, on another connection.
    pub(crate) fn over(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// Returns the tenant as the caller of transactions that a test runs by itself.
    pub(crate) async fn caller(&self) -> Caller {
        let admitted = Authenticator::insecure().authenticate(&HeaderMap::new(), &Extensions::new()).await;
        let tenant = TenantId::parse(&self.id.to_string()).expect("a tenant");
        admitted.expect("admitted").principal.act(tenant, AccessScope::Write).expect("granted")
    }

    /// Returns the connection, without the tenant.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn customers(&self) -> CustomerServiceClient<Service> {
        CustomerServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn conversations(&self) -> ConversationServiceClient<Service> {
        ConversationServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn questions(&self) -> PendingQuestionServiceClient<Service> {
        PendingQuestionServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn faqs(&self) -> CustomerFaqServiceClient<Service> {
        CustomerFaqServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn campaigns(&self) -> CampaignServiceClient<Service> {
        CampaignServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn engagement(&self) -> EngagementServiceClient<Service> {
        EngagementServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn dashboard(&self) -> DashboardServiceClient<Service> {
        DashboardServiceClient::with_interceptor(self.channel(), self.name())
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Service> {
        AuditServiceClient::with_interceptor(self.channel(), self.name())
    }

    fn name(&self) -> CallerMetadata {
        let caller = CallerMetadata::of_tenant(&self.id.to_string()).expect("a header value");
        match &self.credential {
            Some(credential) => caller.with_credential(credential).expect("a header value"),
            None => caller,
        }
    }
}
