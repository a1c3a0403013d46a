//! The server: layers, services, health, reflection, and a shutdown without loss.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer as ServerReflectionV1;
use tonic_reflection::pb::v1alpha::server_reflection_server::ServerReflectionServer as ServerReflectionV1Alpha;
use tower::Layer;

use crate::audit::{self, Recorder};
use crate::audit_events::AuditLog;
use crate::auth::Authenticator;
use crate::campaigns::Campaigns;
use crate::config::{DatabaseConfig, Limits};
use crate::connection::{self, Listener, TlsError};
use crate::context::AiContexts;
use crate::conversations::feed::Feed;
use crate::conversations::{self, Conversations};
use crate::customers::Customers;
use crate::dashboard::Dashboard;
use crate::db::migrate::{self, MigrateError};
use crate::db::standby::{Looks, Standby};
use crate::db::{self, ConnectError, Db, Target, pooler, walls};
use crate::engagement::Engagements;
use crate::faqs::Faqs;
use crate::health::Health;
use crate::live::bus::PostgresBus;
use crate::live::lanes::Width;
use crate::metrics::{self, CacheName, Looking};
use crate::questions::PendingQuestions;
use crate::reflection::Reflection;
use crate::reindex;
use crate::rpc::PageKey;
use crate::rpc::cost::Costs;
use crate::rpc::layer::room::Room;
use crate::rpc::layer::{Admission, CallLayer};
use crate::rpc::servers::audit_service_server::AuditServiceServer;
use crate::rpc::servers::campaign_service_server::CampaignServiceServer;
use crate::rpc::servers::conversation_service_server::ConversationServiceServer;
use crate::rpc::servers::customer_faq_service_server::CustomerFaqServiceServer;
use crate::rpc::servers::customer_service_server::CustomerServiceServer;
use crate::rpc::servers::dashboard_service_server::DashboardServiceServer;
use crate::rpc::servers::engagement_service_server::EngagementServiceServer;
use crate::rpc::servers::pending_question_service_server::PendingQuestionServiceServer;
use crate::tokens;
use crate::traces::Traces;

/// The maximum number of tenants whose messages are added in one transaction. Each tenant costs two flights of
/// statements of its own, and a wait of one is a wait of all.
const TENANTS_OF_A_BATCH: usize = 16;

/// The services of the contract. They share one health status.
const SERVICES: [&str; 8] = [
    <CustomerServiceServer<Customers> as NamedService>::NAME,
    <ConversationServiceServer<Conversations> as NamedService>::NAME,
    <PendingQuestionServiceServer<PendingQuestions> as NamedService>::NAME,
    <CustomerFaqServiceServer<Faqs> as NamedService>::NAME,
    <CampaignServiceServer<Campaigns> as NamedService>::NAME,
    <EngagementServiceServer<Engagements> as NamedService>::NAME,
    <DashboardServiceServer<Dashboard> as NamedService>::NAME,
    <AuditServiceServer<AuditLog> as NamedService>::NAME,
];

/// How long the statements at the start may take. They read catalogs and one row.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Limits a service to messages of this many bytes. For messages in gzip, the inflated size counts. (The layer
/// compresses answers, see `rpc::layer::compression`.)
macro_rules! taking {
    ($bytes:expr, $service:expr) => {
        $service.max_decoding_message_size($bytes).accept_compressed(CompressionEncoding::Gzip)
    };
}

/// Why the service does not start, or why it stopped. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The address is not available.
    #[error("Cannot listen on {address}: {cause}. {hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        cause: std::io::Error,
        /// What to do.
        hint: String,
    },
    /// The service's own Postgres does not run.
    #[error(transparent)]
    Embedded(#[from] embedded_postgres::Error),
    /// DATABASE_URL is invalid.
    #[error(transparent)]
    Target(#[from] ConnectError),
    /// The URL for migrations is invalid.
    #[error("CRM_MIGRATE_DATABASE_URL is not as it must be, which is as DATABASE_URL. {0}")]
    MigrateTarget(ConnectError),
    /// The URL for reads is invalid.
    #[error("CRM_READ_DATABASE_URL is not as it must be, which is as DATABASE_URL. {0}")]
    ReadTarget(ConnectError),
    /// The schema is not up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The pooler loses prepared statements between transactions.
    #[error(
        "Postgres at {place} is behind a pooler that forgets prepared statements between transactions. Use PgBouncer \
         1.21 or newer with max_prepared_statements = 500 (0 turns them off), or its pool_mode = session, or name \
         Postgres itself in DATABASE_URL."
    )]
    Pooler {
        /// Where the database is.
        place: String,
    },
    /// The database would not keep tenants apart.
    #[error("It is not safe to serve from Postgres at {place}:{}", list(.breaches))]
    Walls {
        /// Where the database is.
        place: String,
        /// The problems, one sentence each.
        breaches: Vec<String>,
    },
    /// Statements do not reach Postgres in their order.
    #[error(
        "It is not safe to serve: statements of this build do not reach Postgres in their order. Build the service with \
         the versions of Cargo.lock (cargo build --locked)."
    )]
    Order,
    /// The database does not answer as it must.
    #[error("Postgres at {place} does not work: {cause}")]
    Database {
        /// Where the database is.
        place: String,
        /// The answer of the database.
        cause: String,
    },
    /// The descriptors of reflection do not fit together.
    #[error("Reflection cannot be served: {0}")]
    Reflection(#[from] prost_reflect::DescriptorError),
    /// Signals cannot be handled.
    #[error("SIGTERM and Ctrl-C cannot be taken over: {0}")]
    Signals(std::io::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A database that is ready for use.
pub struct Database {
    /// How to reach it.
    pub target: Target,
    /// The pool for calls.
    pub db: Db,
    /// The key of page tokens, which all replicas share.
    pub page_key: PageKey,
    /// The task that measures how old the standby is, if there is one.
    pub looks: Option<Looks>,
}

/// Checks that a pooler in front of the database, if there is one, keeps prepared statements.
///
/// # Errors
///
/// If it does not, or the database cannot be reached.
pub async fn check_pooler(target: &Target) -> Result<(), ServeError> {
    let place = || target.place().to_owned();
    match pooler::keeps_statements(target).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ServeError::Pooler { place: place() }),
        Err(cause) => Err(MigrateError::Connect { place: place(), cause }.into()),
    }
}

/// Opens a migrated database, and checks that it keeps tenants apart.
///
/// # Errors
///
/// What is wrong with the database.
pub async fn open(target: Target, config: &DatabaseConfig) -> Result<Database, ServeError> {
    let failed = |cause: String| ServeError::Database { place: target.place().to_owned(), cause };
    let mut wire = target.open().await.map_err(|error| failed(error.to_string()))?;
    let refuse = |breaches: Vec<String>| match breaches.as_slice() {
        [] => Ok(()),
        _ => Err(ServeError::Walls { place: target.place().to_owned(), breaches }),
    };
    let breaches = wire.ask(START_PATIENCE, async |connection| walls::breaches(connection).await);
    let breaches = breaches.await.map_err(|error| failed(error.to_string()))?;
    refuse(breaches)?;
    // The check may have to open a connection to every node.
    refuse(migrate::distribution_breaches(&target, START_PATIENCE).await.map_err(failed)?)?;
    let page_key =
        wire.ask(START_PATIENCE, async |connection| db::service_keys::page_token(connection).await);
    let page_key = PageKey::new(page_key.await.map_err(|error| failed(error.to_string()))?);
    let pool =
        |target: &Target| Db::new(target, config.pool_limits()).map_err(|error| failed(error.to_string()));
    let mut db = pool(&target)?;
    // On the heap: it is larger than all else that the start waits for.
    if !Box::pin(db::order::is_kept(&db)).await.map_err(|error| failed(error.to_string()))? {
        return Err(ServeError::Order);
    }
    let mut looks = None;
    if let Some(url) = &config.read_database_url {
        let place = Target::parse_reading(url).map_err(ServeError::ReadTarget)?;
        let (standby, look) = Standby::new(pool(&place)?, place, target.clone());
        db = db.with_standby(standby);
        looks = Some(look);
    }
    Ok(Database { target, db, page_key, looks })
}

/// Serves on `listener` until `shutdown`, then lets calls finish.
///
/// # Errors
///
/// If reflection cannot be served.
pub async fn run(
    database: Database,
    authenticator: Authenticator,
    limits: Limits,
    traces: Traces,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let Database { target, db, page_key, looks } = database;
    let metrics = db.metrics().clone();
    let (reporter, health_service) = tonic_health::server::health_reporter();
    // Only calls that need the tokenizer wait for it.
    tokio::task::spawn_blocking(tokens::load);
    let contexts = AiContexts::new(db.clone());
    let customers = Customers::new(db.clone(), page_key.clone(), tracker.clone(), contexts);
    let questions = PendingQuestions::new(db.clone(), page_key.clone());
    let faqs = Faqs::new(db.clone(), page_key.clone());
    let campaigns = Campaigns::new(db.clone(), page_key.clone());
    let dashboard = Dashboard::new(db.clone());
    let log = AuditLog::new(db.clone(), page_key.clone());
    // The background work of the service continues while calls finish.
    let (background, end) = (TaskTracker::new(), CancellationToken::new());
    let (bus, signals) = PostgresBus::start(target.clone(), metrics.clone(), end.clone(), &background);
    if let Some(looks) = looks {
        background.spawn(looks.run(end.clone()));
    }
    let recorder = Recorder::default();
    background.spawn(recorder.clone().run(db.clone(), end.clone()));
    background.spawn(audit::retain(target.clone(), limits.audit_retention, end.clone()));
    background.spawn(reindex::run(target.clone(), db.clone(), end.clone()));
    let conversations = Conversations::new(conversations::Parts {
        db: db.clone(),
        page_key: page_key.clone(),
        bus: Arc::new(bus),
        width: Width {
            writers: limits.writers.into(),
            batch: limits.batch.into(),
            tenants: TENANTS_OF_A_BATCH,
        },
        lease: limits.message_lease,
        tracker: tracker.clone(),
        stop: stop.clone(),
        recorder: recorder.clone(),
        audit_cover: limits.audit_cover,
    });
    let feed = conversations.feed();
    let engagement = Engagements::new(db.clone(), page_key, feed.clone());
    background.spawn(conversations.background(target.clone(), signals, &end));
    background.spawn(authenticator.clone().background(target.clone(), end.clone()));
    let calls = CallLayer {
        authenticator,
        costs: Costs::new(&limits.calls, metrics.clone()),
        room: Room::new(limits.calls.max_stream_bytes, limits.calls.max_stream_bytes_per_tenant),
        admission: Admission::new(limits.calls, metrics.clone()),
        tracker: tracker.clone(),
        stop: stop.clone(),
        default_deadline: limits.default_deadline,
        recorder,
        metrics: metrics.clone(),
        traces,
    };
    let _looks = (db.look(), look(&calls, feed));
    let (reflection, bytes) = (Reflection::new()?, limits.max_request_bytes);
    let routes = Routes::new(taking!(bytes, health_service))
        .add_service(taking!(bytes, ServerReflectionV1::new(reflection.clone())))
        .add_service(taking!(bytes, ServerReflectionV1Alpha::new(reflection)))
        .add_service(taking!(bytes, CustomerServiceServer::new(customers)))
        .add_service(taking!(bytes, ConversationServiceServer::new(conversations)))
        .add_service(taking!(bytes, PendingQuestionServiceServer::new(questions)))
        .add_service(taking!(bytes, CustomerFaqServiceServer::new(faqs)))
        .add_service(taking!(bytes, CampaignServiceServer::new(campaigns)))
        .add_service(taking!(bytes, EngagementServiceServer::new(engagement)))
        .add_service(taking!(bytes, DashboardServiceServer::new(dashboard)))
        .add_service(taking!(bytes, AuditServiceServer::new(log)))
        .prepare();
    let connections = TaskTracker::new();
    let listener = listener.into();
    let accept = connection::serve(
        listener,
        calls.layer(routes),
        limits.connections,
        &connections,
        &metrics,
        stop.clone(),
    );
    let health = Health::new(reporter, metrics.clone(), &SERVICES);
    // Postgres answered a moment ago, when it was opened.
    health.serve().await;
    background.spawn(health.clone().watch(target, db.clone(), stop.clone()));
    let stopping = async {
        shutdown.await;
        tracing::info!("stopping: calls may finish");
        // Before the streams of health end: a client that watches health must learn the reason.
        health.drain().await;
        stop.cancel();
    };
    tokio::join!(accept, stopping);
    drain([&connections, &tracker], limits.drain).await;
    end.cancel();
    background.close();
    background.wait().await;
    db.close();
    Ok(())
}

/// Updates, before each scrape, the numbers that are not worth counting all the time.
fn look(calls: &CallLayer, feed: Feed) -> Looking {
    let CallLayer { authenticator, admission, room, recorder, metrics, .. } = calls.clone();
    metrics.before_each_scrape(move |families| {
        for (kind, count) in admission.count() {
            families.in_flight[kind].set(count.into());
        }
        metrics::set(&families.connections.stream_bytes, room.bytes());
        metrics::set(&families.audit.waiting, recorder.waiting());
        metrics::set(&families.watch.lag, feed.lag());
        authenticator.count(families);
        families.looked_up(CacheName::TokenCounts, tokens::lookups());
    })
}

/// Waits for connections and calls to end, up to a limit.
async fn drain([connections, calls]: [&TaskTracker; 2], limit: Duration) {
    connections.close();
    calls.close();
    let ended = tokio::time::timeout(limit, async {
        connections.wait().await;
        calls.wait().await;
    });
    if ended.await.is_err() {
        tracing::warn!(
            calls = calls.len(),
            connections = connections.len(),
            "stopped with calls that did not finish in time"
        );
    }
}

fn list(breaches: &[String]) -> String {
    breaches.iter().map(|breach| format!("\n  - {breach}")).collect()
}
