//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::report::SCENARIOS;

/// The seconds of a round: long enough to include a checkpoint or a hiccup of the machine. All
/// scenarios together take less than a quarter of an hour.
pub(crate) const SECONDS: u64 = 3;

/// The seconds of a short round: the minimum of pgbench.
const SHORT_SECONDS: u64 = 1;

/// The seconds of a long round, for numbers that are published.
const LONG_SECONDS: u64 = 30;

/// The share of a round, as a fraction, that is enough where one caller makes one call after the other: hundreds of
/// calls, whose median hardly differs from that of more.
const CALM: (u64, u64) = (1, 2);

/// The rows of the large table of the growth scenarios.
const GROWN_ROWS: u64 = 1_000_000;

/// The same with `--short`: filled in a second, and still far more rows than are read at once.
const SHORT_GROWN_ROWS: u64 = 20_000;

/// The streams of `idle_watch_memory`: before and after.
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

/// The directory of the database. `/tmp` is often in memory, where a commit costs nothing.
const DIRECTORY: &str = "/var/tmp";

/// The mode in which clients have API keys.
pub(crate) const API_KEY: &str = "api-key";

/// Measures the service against pgbench on the same database.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --", max_term_width = 100)]
pub(crate) struct Options {
    /// Measure only these scenarios, separated by commas; may be repeated.
    #[arg(long = "scenario", value_name = "NAME", value_parser = names(), value_delimiter = ',')]
    scenarios: Vec<String>,

    /// Rounds of a second and small tables, as a smoke test.
    #[arg(long, conflicts_with = "long")]
    short: bool,

    /// Rounds of 30 seconds instead of 3.
    #[arg(long)]
    long: bool,

    /// Rounds of each scenario; the median counts.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,

    /// Write the results as JSON to this file too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Compare with the results of an earlier run, as `--json` wrote them.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,

    /// Measure only this scenario, and draw where the service and Postgres spend their time; needs perf.
    #[arg(long, value_name = "NAME", value_parser = names(), conflicts_with = "scenarios")]
    pub(crate) perf: Option<String>,

    /// Directory of the temporary database: on a disk, with 5 GB free for all scenarios.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    pub(crate) directory: PathBuf,

    /// Directory of `postgres` and `initdb`; found automatically by default.
    #[arg(long, env = "CRM_POSTGRES_BIN_DIR", value_name = "DIR")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,

    /// How clients prove who they are: `insecure` (not at all), or `api-key`, with one key for all.
    #[arg(long, value_name = "MODE", default_value = "insecure", value_parser = ["insecure", API_KEY])]
    pub(crate) auth: String,

    /// The option that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name))
}

impl Options {
    /// Whether this scenario must be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match &self.perf {
            Some(profiled) => profiled == name,
            None => self.scenarios.is_empty() || self.scenarios.iter().any(|wanted| wanted == name),
        }
    }

    /// The length of a round in whole seconds.
    pub(crate) fn seconds(&self) -> u64 {
        match (self.short, self.long) {
            (true, _) => SHORT_SECONDS,
            (_, true) => LONG_SECONDS,
            (false, false) => SECONDS,
        }
    }

    /// The length of a round.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// The length of a calm round in whole seconds.
    pub(crate) fn calm_seconds(&self) -> u64 {
        (self.seconds() * CALM.0 / CALM.1).max(SHORT_SECONDS)
    }

    /// The length of a calm round.
    pub(crate) fn calm_round(&self) -> Duration {
        Duration::from_secs(self.calm_seconds())
    }

    /// The rows of the large table of the growth scenarios.
    pub(crate) fn grown_rows(&self) -> u64 {
        if self.short { SHORT_GROWN_ROWS } else { GROWN_ROWS }
    }

    /// The idle streams, before and after.
    pub(crate) fn idle_streams(&self) -> (usize, usize) {
        if self.short { SHORT_IDLE_STREAMS } else { IDLE_STREAMS }
    }

    /// The FAQs of the customer in the search.
    pub(crate) fn faqs(&self) -> usize {
        if self.short { SHORT_FAQS } else { FAQS }
    }

    /// The number of tenants that each have an idle watch.
    pub(crate) fn idle_tenants(&self) -> u64 {
        if self.short { SHORT_IDLE_TENANTS } else { IDLE_TENANTS }
    }

    /// The number of tenants beside one.
    pub(crate) fn many_tenants(&self) -> u64 {
        if self.short { SHORT_MANY_TENANTS } else { MANY_TENANTS }
    }

    /// The note below the results, if one is needed.
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
