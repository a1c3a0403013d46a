//! The server: layers, services, health, reflection, and a shutdown without loss.

mod services;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer as ServerReflectionV1;
use tonic_reflection::pb::v1alpha::server_reflection_server::ServerReflectionServer as ServerReflectionV1Alpha;
use tower::Layer;

use crate::audit::{self, Recorder};
use crate::auth::Authenticator;
use crate::config::{DatabaseConfig, Limits};
use crate::connection::{self, Listener, TlsError};
use crate::context::AiContexts;
use crate::conversations::feed::Feed;
use crate::conversations::{self, Conversations};
use crate::customers::Customers;
use crate::db::migrate::{self, MigrateError};
use crate::db::standby::{Looks, Standby};
use crate::db::{self, ConnectError, Db, Target, pooler, walls};
use crate::health::Health;
use crate::live::bus::PostgresBus;
use crate::live::lanes::Width;
use crate::mcp::{Calls, Door, Entrance};
use crate::metrics::{self, CacheName, Looking};
use crate::reflection::Reflection;
use crate::reindex;
use crate::rpc::PageKey;
use crate::rpc::cost::Costs;
use crate::rpc::layer::room::Room;
use crate::rpc::layer::{Admission, CallLayer};
use crate::tokens;
use crate::traces::Traces;
use crate::web::{Cors, Probes, WebLayer, WebLimits};
use services::{Parts, taking};

/// The maximum number of tenants whose messages are added in one transaction. Each tenant costs two flights of
/// statements of its own, and a wait of one is a wait of all.
const TENANTS_OF_A_BATCH: usize = 16;

/// How long the statements at the start may take. They read catalogs and one row.
const START_PATIENCE: Duration = Duration::from_secs(10);

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
    // On the heap, as it is large, and futures that wait for it would be as large.
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

/// What the settings say about ways in beside gRPC.
pub struct Doors {
    /// How agents reach the tools.
    pub agents: Entrance,
    /// Which web pages may call.
    pub pages: Cors,
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
    doors: Doors,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (target, db) = (database.target.clone(), database.db.clone());
    let (calls, background) = (call_layer(&db, authenticator, &limits, traces), Background::default());
    let parts = start(database, &limits, &calls, &background);
    let _looks = (db.look(), look(&calls, parts.feed.clone()));
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let (reflection, bytes) = (Reflection::new()?, limits.max_request_bytes);
    let routes = Routes::new(taking!(bytes, health_service))
        .add_service(taking!(bytes, ServerReflectionV1::new(reflection.clone())))
        .add_service(taking!(bytes, ServerReflectionV1Alpha::new(reflection)));
    let routes = services::add(routes, bytes, parts).prepare();
    let (connections, stop, tracker) = (TaskTracker::new(), calls.stop.clone(), calls.tracker.clone());
    let metrics = db.metrics();
    let web = WebLimits { request_bytes: bytes, keep_alive: limits.connections.sse_keep_alive };
    let health = Health::new(reporter, metrics.clone(), services::NAMES);
    let asked = health.clone();
    let web = WebLayer { limits: web, probes: Probes::new(move || asked.readiness()) };
    let service = calls.layer(routes);
    let door = Door::new(calls.clone(), Calls::over(service.clone()), doors.agents, bytes);
    let (listener, service) = (listener.into(), doors.pages.layer(door.layer(web.layer(service))));
    let accept =
        connection::serve(listener, service, limits.connections, &connections, metrics, stop.clone());
    // Postgres answered a moment ago, when it was opened.
    health.serve().await;
    background.tasks.spawn(health.clone().watch(target, db.clone(), stop.clone()));
    let stopping = async {
        shutdown.await;
        tracing::info!("stopping: calls may finish");
        // Before the streams of health end: a client that watches health must learn the reason.
        health.drain().await;
        stop.cancel();
    };
    tokio::join!(accept, stopping);
    drain([&connections, &tracker], limits.drain).await;
    background.end().await;
    db.close();
    Ok(())
}

/// The background work of the service. It continues while calls finish.
#[derive(Default)]
struct Background {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Background {
    /// Ends all tasks, and waits for them.
    async fn end(self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Creates the layer of all calls.
fn call_layer(db: &Db, authenticator: Authenticator, limits: &Limits, traces: Traces) -> CallLayer {
    let metrics = db.metrics().clone();
    CallLayer {
        authenticator,
        costs: Costs::new(&limits.calls, metrics.clone()),
        room: Room::new(limits.calls.max_stream_bytes, limits.calls.max_stream_bytes_per_tenant),
        admission: Admission::new(limits.calls.clone(), metrics.clone()),
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        default_deadline: limits.default_deadline,
        recorder: Recorder::default(),
        metrics,
        traces,
    }
}

/// Starts the background work, and returns the parts of the services.
fn start(database: Database, limits: &Limits, calls: &CallLayer, background: &Background) -> Parts {
    let Database { target, db, page_key: key, looks } = database;
    let Background { tasks, end } = background;
    let (bus, signals) = PostgresBus::start(target.clone(), db.metrics().clone(), end.clone(), tasks);
    if let Some(looks) = looks {
        tasks.spawn(looks.run(end.clone()));
    }
    tasks.spawn(calls.recorder.clone().run(db.clone(), end.clone()));
    tasks.spawn(audit::retain(target.clone(), limits.audit_retention, end.clone()));
    tasks.spawn(reindex::run(target.clone(), db.clone(), end.clone()));
    let conversations = Conversations::new(conversations::Parts {
        db: db.clone(),
        page_key: key.clone(),
        bus: Arc::new(bus),
        width: Width {
            writers: limits.writers.into(),
            batch: limits.batch.into(),
            tenants: TENANTS_OF_A_BATCH,
        },
        lease: limits.message_lease,
        tracker: calls.tracker.clone(),
        stop: calls.stop.clone(),
        recorder: calls.recorder.clone(),
        audit_cover: limits.audit_cover,
    });
    tasks.spawn(conversations.background(target.clone(), signals, end));
    let contexts = AiContexts::new(db.clone());
    let customers = Customers::new(db.clone(), key.clone(), calls.tracker.clone(), contexts);
    tasks.spawn(customers.background(target.clone(), end.clone()));
    tasks.spawn(calls.authenticator.clone().background(target, end.clone()));
    Parts { db, key, feed: conversations.feed(), customers, conversations }
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
