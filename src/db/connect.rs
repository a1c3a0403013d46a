//! From a URL to an open connection.

mod tls;
mod url;

pub(crate) use tls::roots;

use std::future::{Future, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use futures_util::stream::{Stream, poll_fn};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::{Pulse, Wire};
use url::{Server, Wanted};

/// The time limit for opening a connection if there is one host. A healthy server needs milliseconds, TLS included.
const ONLY_HOST: Duration = Duration::from_secs(5);

/// The time limit per host if there are several hosts. After it the next host is tried.
const EACH_HOST: Duration = Duration::from_secs(2);

/// How long a host that did not answer is tried after the others, so that not every new connection waits for it.
const LAST_FOR: Duration = Duration::from_secs(30);

/// How long sent data may stay unacknowledged by the host of Postgres before the connection is lost. TCP's default is
/// a quarter of an hour. On Linux it also ends a connection whose keepalives are not answered, instead of
/// [`KEEPALIVE_RETRIES`].
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is silent before TCP asks its host whether it is there. A connection that awaits an answer
/// has nothing unacknowledged, so the limit above does not apply to it. TCP's default is two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// The time between two such keepalives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How many keepalives may stay unanswered before the connection is lost, on systems without [`TCP_USER_TIMEOUT`].
const KEEPALIVE_RETRIES: u32 = 3;

/// The stream of a connection over TLS.
type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Why a database cannot be used. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is invalid.
    #[error(
        "DATABASE_URL is not understood: {0}. It looks like postgres://user:password@host:5432/database?sslmode=verify-full."
    )]
    Url(String),
    /// The file of root certificates cannot be read.
    #[error("sslrootcert={path} cannot be read: {cause}. Name a PEM file with the certificates to trust.")]
    RootCertificates {
        /// The file's path.
        path: String,
        /// Why it cannot be read.
        cause: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to Postgres cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A database, and how to reach it.
#[derive(Clone)]
pub struct Target {
    /// The settings that are the same for every host.
    settings: Config,
    hosts: Arc<[Server]>,
    /// When each host last failed to answer; `None` if it has not.
    silent: Arc<Mutex<Vec<Option<Instant>>>>,
    shuffled: bool,
    /// How long to wait for one host.
    patience: Duration,
    tls: MakeRustlsConnect,
    /// Where the database is, for messages: without user and password.
    place: String,
    /// What all connections to it know together.
    pulse: Pulse,
}

impl Target {
    /// Parses a connection URL, or words like `host=a,b dbname=crm`, as libpq does. It supports several hosts (the
    /// first one that accepts writes is used), `target_session_attrs`, `connect_timeout`, `load_balance_hosts`,
    /// `sslmode` and `sslrootcert`.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the certificates that it names.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        Self::of(url::parse(url).map_err(ConnectError::Url)?)
    }

    /// Parses the URL of a standby that serves reads. It must name one host: the known age of one standby says
    /// nothing about another.
    ///
    /// # Errors
    ///
    /// As [`Target::parse`].
    pub fn parse_reading(url: &str) -> Result<Self, ConnectError> {
        Self::of(url::parse_reading(url).map_err(ConnectError::Url)?)
    }

    fn of(wanted: Wanted) -> Result<Self, ConnectError> {
        let Wanted { mut settings, hosts, shuffled, connect_timeout, verification, root_certificates } =
            wanted;
        settings
            .application_name("crm-backend")
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .ssl_mode(verification.mode());
        let most = if hosts.len() > 1 { EACH_HOST } else { ONLY_HOST };
        let names: Vec<_> = hosts.iter().map(|host| format!("{}:{}", host.name(), host.port)).collect();
        let place = format!("{}/{}", names.join(","), settings.get_dbname().unwrap_or_default());
        let tls = MakeRustlsConnect::new(tls::config(verification, root_certificates.as_deref())?);
        Ok(Self {
            settings,
            silent: Arc::new(Mutex::new(vec![None; hosts.len()])),
            hosts: hosts.into(),
            shuffled,
            patience: connect_timeout.map_or(most, |timeout| timeout.min(most)),
            tls,
            place,
            pulse: Pulse::default(),
        })
    }

    /// Where the database is, for messages: hosts, ports and database name.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What all connections to it know together about its answers.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The number of hosts in the URL.
    pub(super) fn hosts(&self) -> u32 {
        u32::try_from(self.hosts.len()).unwrap_or(u32::MAX)
    }

    /// The time limit for opening a connection: the sum of the limits of all hosts.
    pub(super) fn patience(&self) -> Duration {
        self.patience.saturating_mul(self.hosts())
    }

    /// Opens one connection on which every wait for an answer has a limit.
    ///
    /// # Errors
    ///
    /// The error of Postgres or of the network.
    pub async fn open(&self) -> diesel::ConnectionResult<Wire> {
        Ok(Wire::new(self.open_bare().await?, self.pulse.clone()))
    }

    /// Opens one connection whose answers may take any time: for migrations, which may take long, and for work that a
    /// person waits for.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub async fn open_bare(&self) -> diesel::ConnectionResult<AsyncPgConnection> {
        // Diesel sends its first questions here.
        self.connect(&AsyncPgConnection::try_from_client_and_connection).await
    }

    /// Opens one connection as two parts: a client, and the stream of what Postgres sends without being asked, above
    /// all notifications. The client gets answers only while the stream is read. After an error or its end, the
    /// stream must not be read again.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub(crate) async fn open_listening(
        &self,
    ) -> diesel::ConnectionResult<(
        Wire<Client>,
        impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Send + Unpin + use<>,
    )> {
        let (client, mut connection) =
            self.connect(&|client, connection| ready(Ok((client, connection)))).await?;
        Ok((Wire::new(client, self.pulse.clone()), poll_fn(move |context| connection.poll_message(context))))
    }

    /// Connects to the first host that accepts the connection and for which `finish` succeeds.
    async fn connect<T, F>(
        &self,
        finish: &(impl Fn(Client, Stranger) -> F + Sync),
    ) -> diesel::ConnectionResult<T>
    where
        F: Future<Output = diesel::ConnectionResult<T>> + Send,
    {
        let mut causes = Vec::new();
        for (number, host) in self.in_order() {
            let refused = match tokio::time::timeout(self.patience, self.connect_to(host, finish)).await {
                Ok(Ok(connection)) => {
                    self.note_silent(number, None);
                    return Ok(connection);
                }
                Ok(Err(cause)) => cause,
                Err(_) => {
                    self.note_silent(number, Some(Instant::now()));
                    format!("no answer in {:?}", self.patience)
                }
            };
            causes.push(match self.hosts.len() {
                1 => refused,
                _ => format!("{}:{}: {refused}", host.name(), host.port),
            });
        }
        Err(ConnectionError::BadConnection(causes.join("; ")))
    }

    /// The hosts in the order in which to try them: that of the URL, or a random one. Hosts that did not answer
    /// recently come last.
    fn in_order(&self) -> Vec<(usize, &Server)> {
        let mut hosts: Vec<_> = self.hosts.iter().enumerate().collect();
        if self.shuffled {
            hosts.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.sort_by_key(|(number, _)| {
            silent.get(*number).copied().flatten().is_some_and(|since| since.elapsed() < LAST_FOR)
        });
        hosts
    }

    fn note_silent(&self, number: usize, since: Option<Instant>) {
        if let Some(known) = self.silent.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            *known = since;
        }
    }

    /// Connects to the first address of a host that accepts. Each address gets an equal part of the time that is
    /// left.
    async fn connect_to<T, F>(
        &self,
        server: &Server,
        finish: &(impl Fn(Client, Stranger) -> F + Sync),
    ) -> Result<T, String>
    where
        F: Future<Output = diesel::ConnectionResult<T>> + Send,
    {
        let until = Instant::now() + self.patience;
        let mut config = self.settings.clone();
        config.port(server.port);
        let name = match &server.host {
            Host::Unix(path) => return self.attempt(config.host_path(path), finish).await,
            Host::Tcp(name) => name,
        };
        config.host(name);
        if let Some(address) = server.address {
            return self.attempt(config.hostaddr(address), finish).await;
        }
        let found = tokio::net::lookup_host((name.as_str(), server.port)).await;
        let mut addresses: Vec<_> =
            found.map_err(|error| error.to_string())?.map(|found| found.ip()).collect();
        if self.shuffled {
            addresses.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let mut refused = Err("the name has no address".to_owned());
        for (number, address) in addresses.iter().enumerate() {
            let mut config = config.clone();
            let attempt = self.attempt(config.hostaddr(*address), finish);
            let Some(others) = u32::try_from(addresses.len() - number - 1).ok().filter(|others| *others > 0)
            else {
                return attempt.await;
            };
            let share = until.saturating_duration_since(Instant::now()) / (others + 1);
            refused = match tokio::time::timeout(share, attempt).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(refused)) => Err(refused),
                Err(_) => Err("no answer".to_owned()),
            };
        }
        refused
    }

    async fn attempt<T, F>(
        &self,
        config: &Config,
        finish: &(impl Fn(Client, Stranger) -> F + Sync),
    ) -> Result<T, String>
    where
        F: Future<Output = diesel::ConnectionResult<T>> + Send,
    {
        let (client, connection) =
            config.connect(self.tls.clone()).await.map_err(|error| describe(&error))?;
        finish(client, connection).await.map_err(|error| error.to_string())
    }
}

/// A connection that no task drives yet.
type Stranger = Connection<Socket, TlsStream>;

/// Describes an error of the driver. The driver's text says only `db error` or `error connecting to server`; the
/// cause has the details.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
