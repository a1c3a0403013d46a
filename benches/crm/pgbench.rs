//! pgbench, the baseline: on the same database, in the same run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use tokio::process::Command;
use tokio_postgres::config::Host;
use uuid::Uuid;

use crate::fill::Ids;
use crate::writers::CONTENT;
use crate::{Result, fill, measure};

/// The message if there is no pgbench.
pub(crate) const MISSING: &str = "There is no pgbench beside Postgres, in PATH or in /usr/lib/postgresql/*/bin, so \
     baselines and ratios are missing. On Debian and Ubuntu it comes with `apt install postgresql-contrib`, or with \
     postgresql-<version>; elsewhere with the package of Postgres's contributed programs.";

/// Where Debian installs the programs of each version of Postgres.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The messages of a batch, and its conversations. The scripts contain the same numbers.
pub(crate) const BATCH: u64 = 100;
const BATCH_CONVERSATIONS: u64 = 10;

/// The lists for [`Script::append_batches`]: a message's conversation, its place there, the end of its key, and its
/// text.
static BATCH_LISTS: LazyLock<[(&str, String); 4]> = LazyLock::new(|| {
    [
        ("places", list(|number| (number % BATCH_CONVERSATIONS + 1).to_string())),
        ("steps", list(|number| (number / BATCH_CONVERSATIONS + 1).to_string())),
        ("suffixes", list(|number| format!("{number:02x}"))),
        ("contents", list(|_| format!("\"{}\"", *CONTENT))),
    ]
});

/// The lists for [`Script::campaign_events`]: the end of an event's id, and the number of its customer.
static EVENT_LISTS: LazyLock<[(&str, String); 2]> = LazyLock::new(|| {
    [("suffixes", list(|number| format!("{number:02x}"))), ("numbers", list(|number| number.to_string()))]
});

/// Returns a list with an item for each place in a batch, as Postgres writes arrays.
fn list(item: impl Fn(u64) -> String) -> String {
    format!("{{{}}}", (0..BATCH).map(item).collect::<Vec<_>>().join(","))
}

/// Returns the columns of a customer that the service selects: all but those that only conditions read.
fn customer_columns() -> String {
    let schema = include_str!("../../src/db/schema.rs");
    let (_, columns) = schema.split_once(" customers (tenant_id, id) {").unwrap_or_default();
    let (columns, _) = columns.split_once('}').unwrap_or_default();
    let names = columns.lines().filter_map(|line| line.split_once(" -> ")).map(|(name, _)| name.trim());
    names.filter(|name| !["tenant_id", "search_vector"].contains(name)).collect::<Vec<_>>().join(", ")
}

/// Any conversation, as a number in a script.
const ANY: &str = "random(1, @count@)";

/// A conversation that no other client has.
const OWN: &str = ":client_id + 1";

/// A script and its tenants: each transaction is for one of them.
pub(crate) struct Script {
    text: &'static str,
    shares: Vec<Share>,
    /// The campaign of each share, if the script needs one.
    campaigns: Vec<Uuid>,
    variables: &'static [(&'static str, String)],
    /// The number of the conversation of a transaction, if the script leaves it open.
    conversation: &'static str,
}

impl Script {
    fn new(text: &'static str, shares: Vec<Share>) -> Self {
        Self { text, shares, campaigns: Vec::new(), variables: &[], conversation: ANY }
    }

    /// One message in a transaction.
    pub(crate) fn append(shares: Vec<Share>) -> Self {
        Self::new(include_str!("../sql/append.sql"), shares)
    }

    /// One message in a transaction, where each client has a conversation of its own in every share.
    pub(crate) fn append_apart(shares: Vec<Share>) -> Self {
        Self { conversation: OWN, ..Self::append(shares) }
    }

    /// [`BATCH`] messages in a transaction.
    pub(crate) fn append_batches(shares: Vec<Share>) -> Self {
        Self { variables: &*BATCH_LISTS, ..Self::new(include_str!("../sql/append_unnest.sql"), shares) }
    }

    /// [`BATCH`] events of a campaign in a transaction.
    pub(crate) fn campaign_events(campaigns: Vec<(Share, Uuid)>) -> Self {
        let (shares, campaigns) = campaigns.into_iter().unzip();
        let text = include_str!("../sql/campaign_events_unnest.sql");
        Self { campaigns, variables: &*EVENT_LISTS, ..Self::new(text, shares) }
    }

    /// One customer by its key.
    pub(crate) fn get_customer(shares: Vec<Share>) -> Self {
        Self::new(include_str!("../sql/get_customer.sql"), shares)
    }

    /// The last messages of a conversation.
    pub(crate) fn list_messages(shares: Vec<Share>) -> Self {
        Self::new(include_str!("../sql/list_messages.sql"), shares)
    }
}

/// A tenant's part of a script.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) tenant: Uuid,
    /// The ids of the customers or conversations in the script.
    pub(crate) ids: Ids,
}

/// The program pgbench, and how it reaches Postgres.
pub(crate) struct Pgbench {
    program: PathBuf,
    directory: PathBuf,
    config: tokio_postgres::Config,
}

impl Pgbench {
    /// Searches beside Postgres, in PATH, and where Debian installs it.
    pub(crate) fn find(bin_dir: &Path, directory: &Path, config: tokio_postgres::Config) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
        let mut debian: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        // The newest version first; a newer pgbench works with an older Postgres.
        debian.sort();
        debian.reverse();
        let program = std::iter::once(bin_dir.to_owned())
            .chain(std::env::split_paths(&path))
            .chain(debian)
            .map(|directory| directory.join("pgbench"))
            .find(|program| program.is_file())?;
        Some(Self { program, directory: directory.to_owned(), config })
    }

    /// Returns the transactions per second.
    pub(crate) async fn rate(&self, script: &Script, clients: usize, seconds: u64) -> Result<f64> {
        let output = self.run(script, clients, seconds, &[]).await?;
        let rate = output.lines().find_map(|line| {
            line.strip_prefix("tps = ")?.strip_suffix(" (without initial connection time)")?.parse().ok()
        });
        rate.ok_or_else(|| format!("pgbench said no rate:\n{output}").into())
    }

    /// Returns the median milliseconds of a transaction, with one client that runs them one after the other.
    pub(crate) async fn median_latency(&self, script: &Script, seconds: u64) -> Result<f64> {
        let prefix = self.directory.join(format!("latency-{:016x}", fill::prefix()));
        let log = format!("--log-prefix={}", prefix.display());
        self.run(script, 1, seconds, &["--log", &log]).await?;
        let mut took = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.to_string_lossy().starts_with(&*prefix.to_string_lossy()) {
                // The fields: client, number of the transaction, microseconds, and more.
                let log = std::fs::read_to_string(&path)?;
                let microseconds = log.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
                took.extend(microseconds.map(|microseconds| microseconds / 1_000.0));
                std::fs::remove_file(&path)?;
            }
        }
        measure::median(&took)
    }

    /// Runs a script to its end, and returns pgbench's output.
    async fn run(&self, script: &Script, clients: usize, seconds: u64, more: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["--no-vacuum", "--protocol=prepared"]).args(more);
        command.arg(format!("--client={clients}")).arg(format!("--time={seconds}"));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(clients);
        command.arg(format!("--jobs={threads}"));
        for (number, share) in script.shares.iter().enumerate() {
            command.arg("--file").arg(self.write(script, number, share)?);
        }
        let run = format!("{:016x}", fill::prefix());
        let fingerprint = format!("\\x{}", "5a".repeat(32));
        let common = [
            ("run", run),
            ("number", "0".to_owned()),
            ("content", CONTENT.clone()),
            ("fingerprint", fingerprint),
        ];
        for (name, value) in common.iter().chain(script.variables) {
            command.arg(format!("--define={name}={value}"));
        }
        self.connect(&mut command);
        // The process ends with the future that waits for it, e.g. on Ctrl-C.
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await?;
        if !output.status.success() {
            // All clients report the same error.
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("pgbench failed: {}", words.lines().next().unwrap_or("no word")).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes the script for a tenant. The tenant is in the text because SET takes no parameters.
    fn write(&self, script: &Script, number: usize, share: &Share) -> Result<PathBuf> {
        let campaign = script.campaigns.get(number).map(Uuid::to_string).unwrap_or_default();
        let text = script
            .text
            .replace("@conversation@", script.conversation)
            .replace("@campaign@", &campaign)
            .replace("@tenant@", &share.tenant.to_string())
            .replace("@prefix@", &share.ids.prefix())
            .replace("@count@", &share.ids.count.to_string())
            .replace("@columns@", &customer_columns());
        let path = self.directory.join(format!("script-{number}.sql"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn connect(&self, command: &mut Command) {
        for host in self.config.get_hosts() {
            if let Host::Tcp(host) = host {
                command.args(["--host", host]);
            }
        }
        for port in self.config.get_ports() {
            command.arg("--port").arg(port.to_string());
        }
        command.args(self.config.get_user().map(|user| format!("--username={user}")));
        command.args(self.config.get_dbname());
        if let Some(password) = self.config.get_password() {
            command.env("PGPASSWORD", String::from_utf8_lossy(password).into_owned());
        }
    }
}
