//! All settings, each with its flag, environment variable, default and one line of help.

mod keys;
mod mcp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::auth::{AuthConfig, Surroundings};
use crate::db::{PoolLimits, own};
use crate::rpc::size::MAX_RESOURCE_BYTES;
use crate::settings::milliseconds;

pub use crate::settings::{
    CallLimits, ClientAuth, ConnectionLimits, LogConfig, LogFormat, McpSettings, TlsConfig, TracesConfig,
    WebSettings,
};
pub use keys::{CreateKey, KeysCommand, KeysConfig, ListKeys, RevokeKey};
pub use mcp::McpConfig;

/// A multi-tenant, AI-first CRM backend over gRPC.
///
/// Without DATABASE_URL it starts its own Postgres and keeps its data between runs.
#[derive(Debug, Parser)]
#[command(name = "crm-backend", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The command; `serve` if none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `serve`, so that they also work without a command.
    #[command(flatten)]
    pub serve: Config,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API (also when no command is given).
    Serve(Box<Config>),
    /// Bring the database's schema up to date, and stop. With --distribute, also spread it over the nodes of Citus.
    Migrate(MigrateConfig),
    /// Count the customers of all tenants again, and stop. This works while the service runs, but its changes of
    /// customers wait meanwhile: about a second per million customers.
    Recount(RecountConfig),
    /// Create, list and revoke API keys.
    Keys(KeysConfig),
    /// Serve the tools for AI agents (MCP) on standard input and output, from a server that runs elsewhere. Claude
    /// Desktop, IDEs and other clients start this command themselves.
    Mcp(McpConfig),
}

/// Settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address to listen on.
    #[arg(long, env = "CRM_LISTEN", default_value = "127.0.0.1:50051", value_name = "IP:PORT")]
    pub listen: SocketAddr,

    /// Address on which Prometheus finds `/metrics`; off by default.
    ///
    /// Anyone who reaches it may read, without TLS or a credential. It reveals nothing about tenants.
    #[arg(long, env = "CRM_METRICS_LISTEN", value_name = "IP:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// Trust the `x-tenant-id` header on an address that others can reach.
    ///
    /// Only behind a proxy that authenticates callers and sets the header itself.
    #[arg(long, env = "CRM_TRUST_TENANT_HEADER")]
    pub trust_tenant_header: bool,

    /// How connections are secured.
    #[command(flatten)]
    pub tls: TlsConfig,
    /// How callers prove who they are.
    #[command(flatten)]
    pub auth: AuthConfig,

    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What a caller may do.
    #[command(flatten)]
    pub limits: Limits,

    /// Who may call over HTTP.
    #[command(flatten)]
    pub web: WebSettings,

    /// How AI agents reach the tools.
    #[command(flatten)]
    pub mcp: McpSettings,

    /// Where the spans of calls are sent.
    #[command(flatten)]
    pub traces: TracesConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateConfig {
    /// Change nothing, name the missing migrations, and exit with 3 if there are any.
    #[arg(long)]
    pub check: bool,

    /// Change nothing, and print the SQL of the missing migrations, for psql.
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,

    /// Distribute the tables over the nodes of Citus, by tenant. DATABASE_URL must name the coordinator.
    ///
    /// May run again, and with rows in the tables; the service must not run meanwhile.
    #[arg(long, env = "CRM_DISTRIBUTE", requires = "database_url")]
    pub distribute: bool,

    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `recount`.
#[derive(Debug, Clone, Args)]
pub struct RecountConfig {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Where the data is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseConfig {
    /// Postgres to use; without it the service starts its own.
    ///
    /// In the form of libpq: a URL, or words like `host=a,b dbname=crm`. Of several hosts the first is used that
    /// takes writes; a host that does not answer is skipped after 2 s. Supported: `sslmode` (disable, prefer,
    /// require, verify-ca, verify-full), `sslrootcert`, `target_session_attrs`, `connect_timeout` and
    /// `load_balance_hosts`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// The same database, for migrations: past a pooler, or as another user.
    #[arg(
        long,
        env = "CRM_MIGRATE_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "database_url"
    )]
    pub migrate_database_url: Option<String>,

    /// A standby of it, for reads whose calls accept slightly old data (`x-max-staleness-ms`).
    #[arg(
        long,
        env = "CRM_READ_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "database_url"
    )]
    pub read_database_url: Option<String>,

    /// Directory of the service's own Postgres.
    #[arg(long, env = "CRM_DATA_DIR", default_value_os_t = own::default_data_dir(), value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Keep nothing: the service's own Postgres uses a temporary directory.
    #[arg(long, env = "CRM_EPHEMERAL", conflicts_with = "database_url")]
    pub ephemeral: bool,

    /// Directory of the programs `postgres` and `initdb` for the service's own Postgres.
    #[arg(long, env = "CRM_POSTGRES_BIN_DIR", value_name = "DIR")]
    pub postgres_bin_dir: Option<PathBuf>,

    /// Connections to Postgres. With more than its cores can serve, each becomes slower, and the whole not faster.
    #[arg(long, env = "CRM_DATABASE_CONNECTIONS", default_value_t = 16, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub database_connections: u16,

    /// How long a call waits for a free connection before it is refused as UNAVAILABLE.
    #[arg(long, env = "CRM_DATABASE_WAIT_MS", default_value = "2000", value_name = "MS", value_parser = milliseconds)]
    pub database_wait: Duration,

    /// How long a transaction may take, even if its caller has more time: many times what the slowest needs. A batch
    /// of messages may take half of it. If Postgres exceeds it by two seconds, the connection is given up.
    #[arg(long, env = "CRM_TRANSACTION_LIMIT_MS", default_value = "10000", value_name = "MS", value_parser = milliseconds)]
    pub transaction_limit: Duration,
}

impl DatabaseConfig {
    /// The limits of the pool.
    pub fn pool_limits(&self) -> PoolLimits {
        PoolLimits {
            connections: self.database_connections,
            wait: self.database_wait,
            transaction: self.transaction_limit,
        }
    }
}

/// What a caller may do. Each default has its reason.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest request in bytes: a decoded message can take 17 times its size in memory. At most 1 MiB: a larger
    /// request could create a message that is too large for clients.
    #[arg(long, env = "CRM_MAX_REQUEST_BYTES", default_value_t = MAX_RESOURCE_BYTES, value_name = "BYTES",
          value_parser = request_bytes)]
    pub max_request_bytes: usize,

    /// Deadline of a unary call without one.
    #[arg(long, env = "CRM_DEFAULT_DEADLINE_MS", default_value = "30000", value_name = "MS", value_parser = milliseconds)]
    pub default_deadline: Duration,

    /// How long a message stays in progress after its last delta; after that it is INCOMPLETE.
    #[arg(long, env = "CRM_MESSAGE_LEASE_MS", default_value = "120000", value_name = "MS", value_parser = milliseconds)]
    pub message_lease: Duration,

    /// Transactions that add messages at the same time. Each uses a core of Postgres; with more of them, the waiting
    /// messages are split into smaller batches.
    #[arg(long, env = "CRM_WRITERS", default_value_t = 2, value_name = "COUNT",
          value_parser = clap::value_parser!(u8).range(1..=64))]
    pub writers: u8,

    /// Maximum messages that are added in one transaction: more make it longer for all of them, and hardly cheaper
    /// for each.
    #[arg(long, env = "CRM_BATCH", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,

    /// How long events of the audit log are kept. The default is a year, and a month for reviewing it.
    #[arg(long, env = "CRM_AUDIT_RETENTION_DAYS", default_value = "400", value_name = "DAYS", value_parser = days)]
    pub audit_retention: Duration,

    /// How long one event covers all messages that its principal adds to a conversation: an event per message would
    /// take a large part of the write capacity.
    #[arg(long, env = "CRM_AUDIT_COVER_MS", default_value = "60000", value_name = "MS", value_parser = milliseconds)]
    pub audit_cover: Duration,

    /// How long calls may finish after SIGTERM; an orchestrator kills after 30 s.
    #[arg(long, env = "CRM_DRAIN_MS", default_value = "20000", value_name = "MS", value_parser = milliseconds)]
    pub drain: Duration,

    /// What clients may hold open.
    #[command(flatten)]
    pub connections: ConnectionLimits,

    /// What callers may have in progress.
    #[command(flatten)]
    pub calls: CallLimits,
}

impl Cli {
    /// The command to run, with its settings.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or_else(|| Command::Serve(Box::new(self.serve)))
    }
}

impl Command {
    /// The log settings of the command.
    pub fn log(&self) -> &LogConfig {
        match self {
            Self::Serve(config) => &config.log,
            Self::Migrate(config) => &config.log,
            Self::Recount(config) => &config.log,
            Self::Keys(config) => config.command.log(),
            Self::Mcp(config) => &config.log,
        }
    }
}

impl Config {
    /// Refuses settings that are not safe together.
    ///
    /// # Errors
    ///
    /// What to do instead, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        self.auth.check(Surroundings {
            listen: self.listen,
            tls: self.tls.tls_cert.is_some(),
            client_ca: self.tls.tls_client_ca.is_some(),
            trust_tenant_header: self.trust_tenant_header,
        })
    }
}

/// A hundred years: more than any rule requires, and within the range of a calendar.
const MAX_DAYS: u64 = 36_525;

fn days(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(days @ 1..=MAX_DAYS) => Ok(Duration::from_secs(days * 24 * 60 * 60)),
        Ok(_) | Err(_) => Err(format!("must be a whole number of days, 1 to {MAX_DAYS}")),
    }
}

fn request_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 1..=MAX_RESOURCE_BYTES) => Ok(bytes),
        _ => Err(format!("must be a whole number from 1 to {MAX_RESOURCE_BYTES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Config {
        let cli = Cli::parse_from(["crm-backend"].iter().chain(arguments));
        match cli.into_command() {
            Command::Serve(config) => *config,
            Command::Migrate(_) | Command::Recount(_) | Command::Keys(_) | Command::Mcp(_) => {
                unreachable!("no test asks for it")
            }
        }
    }

    #[test]
    fn settings_are_the_same_with_and_without_the_command() {
        let without = config(&["--listen", "127.0.0.1:1", "--ephemeral"]);
        let with = config(&["serve", "--listen", "127.0.0.1:1", "--ephemeral"]);
        assert_eq!(format!("{without:?}"), format!("{with:?}"));
        assert!(without.database.ephemeral);
    }

    #[test]
    fn times_are_positive() {
        assert_eq!(milliseconds("250"), Ok(Duration::from_millis(250)));
        assert!(milliseconds("0").is_err());
        assert!(milliseconds("2s").is_err());
        assert_eq!(days("400"), Ok(Duration::from_secs(400 * 86_400)));
        assert!(days("0").is_err() && days("36526").is_err());
    }
}
