//! The server: layers, services, health, reflection, and an end without loss.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::{Config, DatabaseConfig, Limits, MigrateConfig};
use crate::conversations::Conversations;
use crate::customers::Customers;
use crate::db::embedded::{self, Durability, Embedded, EmbeddedError, Storage};
use crate::db::migrate::{self, MigrateError};
use crate::db::{self, ConnectError, Db, Target, walls};
use crate::pb;
use crate::pb::conversation_service_server::ConversationServiceServer;
use crate::pb::customer_service_server::CustomerServiceServer;
use crate::rpc::PageKey;
use crate::rpc::layer::CallLayer;

/// Headers of a request in bytes: a token and a few ids fit, and a client cannot fill memory.
const MAX_HEADER_LIST: u32 = 8 * 1024;

/// How often an idle connection is asked whether its client is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the client may take to say so. With the interval, a lost client's streams are freed
/// within 40 seconds.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that the service's own Postgres takes beside those of the pool: health, migrations,
/// and a person with psql.
const SPARE_CONNECTIONS: u16 = 10;

/// Why the service does not start, or stopped. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The address is not to be had.
    #[error("Cannot listen on {address}: {cause}. {hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The service's own Postgres does not run.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The URL is wrong.
    #[error(transparent)]
    Target(#[from] ConnectError),
    /// The schema is not up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database would not keep tenants apart.
    #[error("It is not safe to serve from Postgres at {place}:{}", list(.breaches))]
    Walls {
        /// Where.
        place: String,
        /// A sentence each.
        breaches: Vec<String>,
    },
    /// The database does not answer as it must.
    #[error("Postgres at {place} does not work: {cause}")]
    Database {
        /// Where.
        place: String,
        /// What it said.
        cause: String,
    },
    /// The server stopped by itself.
    #[error("The server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A database that is ready to serve from.
pub struct Database {
    /// How to reach it.
    pub target: Target,
    /// The pool that serves.
    pub db: Db,
    /// The key of page tokens, which all replicas share.
    pub page_key: PageKey,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
///
/// Why it does not start, in a sentence that says what to do.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    config.check().map_err(ServeError::Settings)?;
    // First, because it is the quickest to fail.
    let listener = listen(config.listen).await?;
    let (target, embedded) = locate(&config.database).await?;
    let applied = migrate::run(&target).await?;
    let database = open(target, &config.database).await?;
    greet(&listener, &database, embedded.as_ref(), &applied);
    let served = tokio::select! {
        served = run(database, config.limits, listener, stop_signal()) => served,
        () = async { stop_signal().await; stop_signal().await } => {
            tracing::warn!("asked to stop a second time: calls that did not finish are given up");
            Ok(())
        }
    };
    if let Some(embedded) = embedded {
        let stopped = tokio::task::spawn_blocking(move || embedded.stop()).await;
        if stopped.is_err() {
            tracing::warn!("the service's own Postgres did not stop cleanly");
        }
    }
    served
}

/// Brings the schema up to date, and says what it did.
///
/// # Errors
///
/// As [`serve`].
pub async fn migrate(config: MigrateConfig) -> Result<(), ServeError> {
    let (target, embedded) = locate(&config.database).await?;
    let applied = migrate::run(&target).await?;
    println!("{} at {}", schema_line(&applied), target.place());
    drop(embedded);
    Ok(())
}

/// Opens a migrated database, and makes sure that it keeps tenants apart.
///
/// # Errors
///
/// What is wrong with the database.
pub async fn open(target: Target, config: &DatabaseConfig) -> Result<Database, ServeError> {
    let failed = |cause: String| ServeError::Database { place: target.place().to_owned(), cause };
    let mut connection = target.open().await.map_err(|error| failed(error.to_string()))?;
    let breaches = walls::breaches(&mut connection).await.map_err(|error| failed(error.to_string()))?;
    if !breaches.is_empty() {
        return Err(ServeError::Walls { place: target.place().to_owned(), breaches });
    }
    let page_key = page_key(&mut connection).await.map_err(|error| failed(error.to_string()))?;
    let db = Db::new(&target, config.database_connections, config.database_wait)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Database { target, db, page_key })
}

/// Serves on `listener` until `shutdown`, then lets calls finish.
///
/// # Errors
///
/// When the server stopped by itself.
pub async fn run(
    database: Database,
    limits: Limits,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let Database { target, db, page_key } = database;
    let (reporter, health) = tonic_health::server::health_reporter();
    let customers = CustomerServiceServer::new(Customers::new(db.clone(), page_key.clone()))
        .max_decoding_message_size(limits.max_request_bytes);
    let conversations = ConversationServiceServer::new(Conversations::new(
        db.clone(),
        page_key,
        tracker.clone(),
        stop.clone(),
    ))
    .max_decoding_message_size(limits.max_request_bytes);
    let calls =
        CallLayer { tracker: tracker.clone(), stop: stop.clone(), default_deadline: limits.default_deadline };

    let server = Server::builder()
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits.max_streams_per_connection)
        .layer(calls)
        .add_service(health)
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha())
        .add_service(customers)
        .add_service(conversations)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
    let background = TaskTracker::new();
    background.spawn(report_health(target, reporter, stop.clone()));
    let mut server = std::pin::pin!(server);
    tokio::select! {
        stopped = &mut server => stopped?,
        () = shutdown => {
            tracing::info!("stopping: calls may finish");
            stop.cancel();
            drain(server, &tracker, limits.drain).await?;
        }
    }
    stop.cancel();
    background.close();
    background.wait().await;
    db.close();
    Ok(())
}

/// Waits for connections and calls to end, but not for ever.
async fn drain(
    server: impl Future<Output = Result<(), tonic::transport::Error>>,
    tracker: &TaskTracker,
    limit: Duration,
) -> Result<(), tonic::transport::Error> {
    tracker.close();
    let ended = tokio::time::timeout(limit, async {
        let stopped = server.await;
        tracker.wait().await;
        stopped
    });
    match ended.await {
        Ok(stopped) => stopped,
        Err(_) => {
            tracing::warn!(calls = tracker.len(), "stopped with calls that did not finish in time");
            Ok(())
        }
    }
}

/// Says SERVING while Postgres answers, and NOT_SERVING from the moment of shutdown.
async fn report_health(target: Target, reporter: HealthReporter, stop: CancellationToken) {
    let (sender, mut healthy) = watch::channel(false);
    announce(&reporter, false).await;
    let probe = db::health::watch(target, sender, stop.clone());
    let report = async {
        while healthy.changed().await.is_ok() {
            let answers = *healthy.borrow_and_update();
            announce(&reporter, answers).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(probe, report) } => {}
    }
    announce(&reporter, false).await;
}

async fn announce(reporter: &HealthReporter, healthy: bool) {
    let status = if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
    let services = [
        "",
        <CustomerServiceServer<Customers> as NamedService>::NAME,
        <ConversationServiceServer<Conversations> as NamedService>::NAME,
    ];
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[expect(clippy::expect_used, reason = "the descriptors are compiled in; a test starts this server")]
fn reflection_v1() -> impl tonic::codegen::Service<
    http::Request<tonic::body::Body>,
    Response = http::Response<tonic::body::Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + NamedService
+ Clone
+ Send
+ Sync
+ 'static {
    reflection().build_v1().expect("descriptors that the build made")
}

#[expect(clippy::expect_used, reason = "the descriptors are compiled in; a test starts this server")]
fn reflection_v1alpha() -> impl tonic::codegen::Service<
    http::Request<tonic::body::Body>,
    Response = http::Response<tonic::body::Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + NamedService
+ Clone
+ Send
+ Sync
+ 'static {
    reflection().build_v1alpha().expect("descriptors that the build made")
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|cause| {
        let hint = match cause.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Something else listens there, perhaps this service: stop it, or choose another address with --listen."
            }
            std::io::ErrorKind::PermissionDenied => "Choose a port of 1024 or more with --listen.",
            _ => "Choose an address of this machine with --listen.",
        };
        ServeError::Listen { address, cause, hint }
    })
}

/// The database that the settings name: that of DATABASE_URL, or one of our own.
async fn locate(config: &DatabaseConfig) -> Result<(Target, Option<Embedded>), ServeError> {
    if let Some(url) = &config.database_url {
        return Ok((Target::parse(url)?, None));
    }
    let options = embedded::Options {
        storage: if config.ephemeral {
            Storage::Ephemeral
        } else {
            Storage::Persistent(config.data_dir.clone())
        },
        bin_dir: config.postgres_bin_dir.clone(),
        durability: Durability::Full,
        max_connections: config.database_connections.saturating_add(SPARE_CONNECTIONS),
    };
    let started = tokio::task::spawn_blocking(move || Embedded::start(&options)).await;
    let embedded = started.map_err(|panic| ServeError::Database {
        place: "this machine".to_owned(),
        cause: panic.to_string(),
    })??;
    Ok((Target::parse(embedded.url())?, Some(embedded)))
}

async fn page_key(connection: &mut diesel_async::AsyncPgConnection) -> diesel::QueryResult<PageKey> {
    use crate::db::schema::service_keys::dsl;
    let key = dsl::service_keys.find("page_token").select(dsl::value).first(connection).await?;
    Ok(PageKey::new(key))
}

/// The first lines that a newcomer reads.
fn greet(listener: &TcpListener, database: &Database, embedded: Option<&Embedded>, applied: &[String]) {
    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let place = match embedded {
        Some(own) => format!("Postgres {} of its own, data in {}", own.version(), own.data_dir().display()),
        None => format!("Postgres at {}", database.target.place()),
    };
    println!("crm-backend {} listens on {address}", env!("CARGO_PKG_VERSION"));
    println!("  database   {place}");
    println!("  schema     {}", schema_line(applied));
    println!("  first call grpcurl -plaintext -H 'x-tenant-id: 0199d1c0-0000-7000-8000-000000000001' \\");
    println!(
        "               -d '{{\"business_name\": \"Café Zoë\"}}' {address} crm.v1.CustomerService/CreateCustomer"
    );
}

fn schema_line(applied: &[String]) -> String {
    match applied {
        [] => "up to date".to_owned(),
        applied => format!("brought up to date: {}", applied.join(", ")),
    }
}

/// Resolves at the first SIGTERM or Ctrl-C.
async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

fn list(breaches: &[String]) -> String {
    breaches.iter().map(|breach| format!("\n  - {breach}")).collect()
}
