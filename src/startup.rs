//! From settings to a running server, with the messages for the operator.

mod keys;
mod mcp;

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use embedded_postgres::{Durability, Embedded, Fault, Storage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::{AuthConfig, Authenticator, Bounds, Mode};
use crate::config::{ClientAuth, Config, DatabaseConfig, MigrateConfig, RecountConfig};
use crate::connection::{Listener, Tls};
use crate::customers;
use crate::db::citus::Distributed;
use crate::db::{Target, migrate, own};
use crate::mcp::Entrance;
use crate::metrics::{self, Metrics};
use crate::server::{self, Database, Doors, ServeError};
use crate::traces::{self, Exporting};
use crate::web::Cors;

pub use keys::{KeysError, keys};
pub use mcp::{McpError, mcp};

/// Connections that the service's own Postgres accepts beside those of the pool: for health, signals between
/// replicas, API keys, migrations, and a person with psql.
const SPARE_CONNECTIONS: u16 = 10;

/// Files that the process has open beside the connections of clients and of the pool.
const SPARE_FILES: u32 = 128;

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
///
/// Why the service does not start, in a sentence that says what to do.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    config.check().map_err(ServeError::Settings)?;
    let authenticator =
        Authenticator::open(&config.auth, Bounds::default()).await.map_err(ServeError::Settings)?;
    let tls = Tls::load(&config.tls)?.map(Arc::new);
    // From here on signals are remembered, so that a signal during the start leads to a clean end.
    let mut signals = StopSignals::take().map_err(ServeError::Signals)?;
    let hangups = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    allow_files(&config);
    // Before Postgres, because these steps fail fastest.
    let listener = listen(config.listen, "--listen").await?;
    let metrics = Metrics::default();
    let (traces, exporting) = traces::start(&config.traces, &metrics).map_err(ServeError::Settings)?.unzip();
    let scrapes = Scrapes::start(config.metrics_listen, &metrics).await?;
    let (target, embedded) = locate(&config.database).await?;
    server::check_pooler(&target).await?;
    let applied = bring_up_to_date(&target, &config.database).await?;
    let mut database = server::open(target, &config.database).await?;
    database.db = database.db.counted_in(metrics);
    greet(&listener, tls.as_deref(), &database, embedded.as_ref(), &applied, &config.auth);
    scrapes.greet();
    greet_traces(exporting.as_ref());
    let agents = Entrance::new(&config.mcp, &config.auth, tls.is_some());
    let pages = Cors::new(&config.web, &agents);
    let doors = Doors { agents, pages };
    let listener = Listener::new(listener, tls.clone());
    let asked = CancellationToken::new();
    let reloads = reload_at(hangups, tls, authenticator.clone());
    let served = tokio::select! {
        served = server::run(
            database,
            authenticator,
            config.limits,
            traces.unwrap_or_default(),
            doors,
            listener,
            asked.clone().cancelled_owned(),
        ) => served,
        () = async { signals.next().await; asked.cancel(); signals.next().await } => {
            tracing::warn!("asked to stop a second time: calls that did not finish are given up");
            Ok(())
        }
        never = reloads => match never {},
    };
    let flushed = async {
        if let Some(exporting) = exporting {
            exporting.end().await;
        }
    };
    let stopped = async {
        if let Some(embedded) = embedded {
            let stopped = tokio::task::spawn_blocking(move || embedded.stop()).await;
            if stopped.is_err() {
                tracing::warn!("the service's own Postgres did not stop cleanly");
            }
        }
    };
    tokio::join!(flushed, stopped);
    served
}

/// Brings the schema up to date and reports what was done, or only reports what is missing. Returns true if a check
/// was requested and migrations are missing.
///
/// # Errors
///
/// As [`serve`].
pub async fn migrate(config: MigrateConfig) -> Result<bool, ServeError> {
    let (target, embedded) = locate(&config.database).await?;
    let missing = if config.check || config.dry_run {
        let pending = migrate::pending(&target).await?;
        if config.dry_run {
            say(&migrate::script(&pending));
        } else {
            let names: Vec<_> = pending.iter().map(|migration| migration.name.clone()).collect();
            say(&format!("{} at {}\n", missing_line(&names), target.place()));
        }
        config.check && !pending.is_empty()
    } else {
        let applied = bring_up_to_date(&target, &config.database).await?;
        say(&format!("{} at {}\n", schema_line(&applied), target.place()));
        if config.distribute {
            let distributed = migrate::distribute(&to_migrate(&target, &config.database)?).await?;
            say(&distributed_lines(&distributed));
        }
        false
    };
    drop(embedded);
    Ok(missing)
}

/// Applies the missing migrations, through the URL for migrations, if there is one.
async fn bring_up_to_date(target: &Target, config: &DatabaseConfig) -> Result<Vec<String>, ServeError> {
    if config.migrate_database_url.is_some() && migrate::pending(target).await?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(migrate::run(&to_migrate(target, config)?).await?)
}

/// Returns where the schema is changed: at the URL for migrations, if there is one.
fn to_migrate(target: &Target, config: &DatabaseConfig) -> Result<Target, ServeError> {
    match &config.migrate_database_url {
        Some(url) => Target::parse(url).map_err(ServeError::MigrateTarget),
        None => Ok(target.clone()),
    }
}

fn distributed_lines(distributed: &Distributed) -> String {
    let Distributed { tables, left, hba } = distributed;
    let mut lines = match tables.as_slice() {
        [] => "all tables are distributed already\n".to_owned(),
        tables => format!("distributed by tenant_id: {}\n", tables.join(", ")),
    };
    lines += "in pg_hba.conf of every node, before the lines that are there:\n";
    lines.extend(hba.iter().map(|line| format!("  {line}\n")));
    if !left.is_empty() {
        lines += "as a superuser, on every node:\n";
        lines.extend(left.iter().map(|statement| format!("  {statement}\n")));
    }
    lines
}

/// Counts the customers of all tenants again, and reports it.
///
/// # Errors
///
/// As [`serve`].
pub async fn recount(config: RecountConfig) -> Result<(), ServeError> {
    let (target, embedded) = join(&config.database).await?;
    bring_up_to_date(&target, &config.database).await?;
    let failed = |cause: String| ServeError::Database { place: target.place().to_owned(), cause };
    let mut owner = target.open_bare().await.map_err(|error| failed(error.to_string()))?;
    customers::store::counts::recount(&mut owner).await.map_err(|error| failed(error.to_string()))?;
    say(&format!("customers are counted anew at {}\n", target.place()));
    // Postgres ends after its last client.
    drop(owner);
    drop(embedded);
    Ok(())
}

/// Raises the process's limit of open files to what its connections need. Most systems allow that without special
/// rights.
fn allow_files(config: &Config) {
    let connections = config.limits.connections.max_connections;
    let wanted = connections.saturating_add(config.database.database_connections.into());
    let wanted = u64::from(wanted.saturating_add(SPARE_FILES));
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < wanted {
        tracing::warn!(
            "the system lets this process have {allowed} files open, and --max-connections {connections} may take \
             {wanted}: raise the limit (ulimit -n), or allow fewer connections"
        );
    }
}

/// Reads all files again at each SIGHUP. If a file cannot be read, its earlier contents stay in use, so that a
/// mistake in a file is no outage.
async fn reload_at(mut hangups: Signal, tls: Option<Arc<Tls>>, authenticator: Authenticator) -> Infallible {
    loop {
        hangups.recv().await;
        tracing::info!("SIGHUP: reading the files again");
        if let Some(tls) = &tls {
            tell_of("TLS", tls.reload().map_err(|error| error.to_string()));
        }
        tell_of("what proves who is calling", authenticator.reload());
    }
}

fn tell_of(what: &str, reloaded: Result<(), String>) {
    match reloaded {
        Ok(()) => tracing::info!("{what} was read again, for what comes from now on"),
        Err(cause) => tracing::error!("{what} stays as it was: {cause}"),
    }
}

async fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|cause| {
        let hint = match cause.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "Something else listens there, perhaps this service: stop it, or choose another address with {setting}."
            ),
            std::io::ErrorKind::PermissionDenied => format!("Choose a port of 1024 or more with {setting}."),
            _ => format!("Choose an address of this machine with {setting}."),
        };
        ServeError::Listen { address, cause, hint }
    })
}

/// The endpoint for Prometheus, from before Postgres is ready until the process ends.
struct Scrapes {
    address: Option<SocketAddr>,
    /// Ends when this is dropped.
    _server: JoinSet<()>,
}

impl Scrapes {
    async fn start(address: Option<SocketAddr>, metrics: &Metrics) -> Result<Self, ServeError> {
        let mut server = JoinSet::new();
        let Some(address) = address else { return Ok(Self { address: None, _server: server }) };
        let listener = listen(address, "--metrics-listen").await?;
        let address = listener.local_addr().ok();
        server.spawn(metrics::serve(listener, metrics.clone(), CancellationToken::new()));
        Ok(Self { address, _server: server })
    }

    /// Prints its address, after the greeting.
    fn greet(&self) {
        if let Some(address) = self.address {
            say(&format!("  metrics    http://{address}/metrics\n"));
        }
    }
}

/// Prints where spans are sent, after the greeting.
fn greet_traces(exporting: Option<&Exporting>) {
    if let Some(exporting) = exporting {
        say(&format!("  traces     {}\n", exporting.place()));
    }
}

/// Returns the database of the settings: that of DATABASE_URL, or the service's own.
async fn locate(config: &DatabaseConfig) -> Result<(Target, Option<Embedded>), ServeError> {
    if let Some(url) = &config.database_url {
        return Ok((Target::parse(url)?, None));
    }
    let options = own_options(config);
    let started = tokio::task::spawn_blocking(move || Embedded::start(&options)).await;
    let embedded = started.map_err(|panic| ServeError::Database {
        place: "this machine".to_owned(),
        cause: panic.to_string(),
    })??;
    Ok((Target::parse(embedded.url())?, Some(embedded)))
}

/// As [`locate`], or the own database of a service that runs on the same data directory.
async fn join(config: &DatabaseConfig) -> Result<(Target, Option<Embedded>), ServeError> {
    match locate(config).await {
        Err(ServeError::Embedded(error)) => match error.fault() {
            Fault::Held { path, port: Some(port), .. } => {
                let url = embedded_postgres::url_of_held(&own_options(config), path, *port)?;
                Ok((Target::parse(&url)?, None))
            }
            _ => Err(error.into()),
        },
        located => located,
    }
}

/// The options of the service's own Postgres.
fn own_options(config: &DatabaseConfig) -> embedded_postgres::Options {
    let storage = if config.ephemeral {
        Storage::Ephemeral(std::env::temp_dir())
    } else {
        Storage::Persistent(config.data_dir.clone())
    };
    embedded_postgres::Options {
        bin_dir: config.postgres_bin_dir.clone(),
        // Temporary data need not survive a crash of the machine, and without durability Postgres starts in a third
        // of the time.
        durability: if config.ephemeral { Durability::Off } else { Durability::Full },
        max_connections: config.database_connections.saturating_add(SPARE_CONNECTIONS),
        ..own::options(storage)
    }
}

/// Prints the first lines that a new user reads.
fn greet(
    listener: &TcpListener,
    tls: Option<&Tls>,
    database: &Database,
    embedded: Option<&Embedded>,
    applied: &[String],
    auth: &AuthConfig,
) {
    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let place = match embedded {
        Some(own) => format!("Postgres {} of its own, data in {}", own.version(), own.data_dir().display()),
        None => format!("Postgres at {}", database.target.place()),
    };
    let (secured, flags) = security(tls);
    say(&format!(
        "crm-backend {version} listens on {address}
  TLS        {secured}
  database   {place}
  schema     {schema}
  callers    {callers}
  first call grpcurl {flags} {credential}-H 'x-tenant-id: 0199d1c0-0000-7000-8000-000000000001' \\
               -d '{{\"customer\": {{\"business_name\": \"Café Zoë\"}}}}' {address} crm.v1.CustomerService/CreateCustomer
",
        version = env!("CARGO_PKG_VERSION"),
        schema = schema_line(applied),
        callers = callers_line(auth),
        credential = if auth.takes_bearers() { "-H 'authorization: Bearer CREDENTIAL' " } else { "" },
    ));
}

/// How connections are secured, and the matching options of grpcurl.
fn security(tls: Option<&Tls>) -> (&'static str, &'static str) {
    match tls.map(Tls::client_auth) {
        None => ("off: plain text", "-plaintext"),
        Some(None) => ("on", "-cacert CA"),
        Some(Some(ClientAuth::Optional)) => ("on, client certificates are taken", "-cacert CA"),
        Some(Some(ClientAuth::Required)) => {
            ("on, client certificates are required", "-cacert CA -cert CERTIFICATE -key KEY")
        }
    }
}

/// Prints text for a person. `println!` would panic if standard output is closed.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn schema_line(applied: &[String]) -> String {
    match applied {
        [] => "up to date".to_owned(),
        applied => format!("brought up to date: {}", applied.join(", ")),
    }
}

fn missing_line(pending: &[String]) -> String {
    match pending {
        [] => "up to date".to_owned(),
        pending => format!("missing: {}", pending.join(", ")),
    }
}

fn callers_line(auth: &AuthConfig) -> String {
    if auth.takes(Mode::Insecure) {
        return "are believed: every client that reaches the address may name any tenant".to_owned();
    }
    let modes: Vec<_> = auth.auth.iter().map(ToString::to_string).collect();
    format!("prove who they are: {}", modes.join(", "))
}

/// SIGTERM and Ctrl-C. No signal is lost once this exists.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn take() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at the next signal.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
