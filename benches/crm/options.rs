//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::report::SCENARIOS;

/// Seconds of a round: long enough that a checkpoint or a hiccup of the machine is a part of it, and
/// that all rounds of all scenarios take a quarter of an hour.
const SECONDS: u64 = 5;

/// Seconds of a short round: pgbench has no shorter ones.
const SHORT_SECONDS: u64 = 1;

/// Seconds of a long round: what a number needs that is to be published.
const LONG_SECONDS: u64 = 30;

/// Rows of the large table of the growth scenarios.
const GROWN_ROWS: u64 = 1_000_000;

/// The same with `--short`: filled in a second, and still far more than is read at once.
const SHORT_GROWN_ROWS: u64 = 20_000;

/// Streams of `idle_watch_memory`: first these, then those.
const IDLE_STREAMS: (usize, usize) = (1_000, 10_000);

/// The same with `--short`.
const SHORT_IDLE_STREAMS: (usize, usize) = (100, 1_000);

/// FAQs of `faq_search`.
const FAQS: usize = 10_000;

/// The same with `--short`.
const SHORT_FAQS: usize = 1_000;

/// Tenants of `idle_tenants`.
const IDLE_TENANTS: u64 = 10_000;

/// The same with `--short`.
const SHORT_IDLE_TENANTS: u64 = 1_000;

/// Tenants of `many_tenants`.
const MANY_TENANTS: u64 = 20_000;

/// The same with `--short`.
const SHORT_MANY_TENANTS: u64 = 2_000;

/// The disk for the database. Often `/tmp` is memory, where a commit costs nothing.
const DIRECTORY: &str = "/var/tmp";

/// Clients have API keys.
pub(crate) const API_KEY: &str = "api-key";

/// Measures the service against pgbench on the same database.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --", max_term_width = 100)]
pub(crate) struct Options {
    /// Measure only these scenarios, with commas between them; may be repeated.
    #[arg(long = "scenario", value_name = "NAME", value_parser = names(), value_delimiter = ',')]
    scenarios: Vec<String>,

    /// Rounds of a second and small tables: a smoke test.
    #[arg(long, conflicts_with = "long")]
    short: bool,

    /// Rounds of 30 seconds instead of 5.
    #[arg(long)]
    long: bool,

    /// Rounds of each scenario; the median counts.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Where the temporary database is made: a disk, with 5 GB free for all scenarios.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    pub(crate) directory: PathBuf,

    /// Directory of `postgres` and `initdb`; found by itself if not said.
    #[arg(long, env = "CRM_POSTGRES_BIN_DIR", value_name = "DIR")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,

    /// How clients prove who they are: `insecure` (they need not), or `api-key`, with one that all share.
    #[arg(long, value_name = "MODE", default_value = "insecure", value_parser = ["insecure", API_KEY])]
    pub(crate) auth: String,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name))
}

impl Options {
    /// Whether this scenario is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name)
    }

    /// How long a round is, in whole seconds.
    pub(crate) fn seconds(&self) -> u64 {
        match (self.short, self.long) {
            (true, _) => SHORT_SECONDS,
            (_, true) => LONG_SECONDS,
            (false, false) => SECONDS,
        }
    }

    /// How long a round is.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// Rows of the large table of the growth scenarios.
    pub(crate) fn grown_rows(&self) -> u64 {
        if self.short { SHORT_GROWN_ROWS } else { GROWN_ROWS }
    }

    /// Idle streams, before and after.
    pub(crate) fn idle_streams(&self) -> (usize, usize) {
        if self.short { SHORT_IDLE_STREAMS } else { IDLE_STREAMS }
    }

    /// FAQs of the customer that is searched.
    pub(crate) fn faqs(&self) -> usize {
        if self.short { SHORT_FAQS } else { FAQS }
    }

    /// Tenants of which each has a watch in which nothing happens.
    pub(crate) fn idle_tenants(&self) -> u64 {
        if self.short { SHORT_IDLE_TENANTS } else { IDLE_TENANTS }
    }

    /// Tenants beside one.
    pub(crate) fn many_tenants(&self) -> u64 {
        if self.short { SHORT_MANY_TENANTS } else { MANY_TENANTS }
    }

    /// What is to be said under the results, if anything.
    pub(crate) fn caveat(&self) -> Option<String> {
        self.short.then(|| {
            format!(
                "A short run, whose numbers mean little: rounds of {SHORT_SECONDS} s, growth to \
                 {SHORT_GROWN_ROWS} rows instead of {GROWN_ROWS}, {} idle streams instead of {}.",
                SHORT_IDLE_STREAMS.1, IDLE_STREAMS.1
            )
        })
    }
}
