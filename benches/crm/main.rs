//! The benchmark: it calls the service, a process of its own, over loopback, and compares it with
//! pgbench on the same database.
//!
//! ```text
//! cargo bench                              every scenario, three rounds of three seconds
//! cargo bench -- --scenario append --long  one of them, with long rounds
//! cargo bench -- --short                   a smoke test: its numbers mean little
//! cargo bench -- --json new.json --compare old.json
//! cargo bench -- --perf append             where its time goes, as a flame graph
//! ```
//!
//! Every scenario is measured in rounds that alternate with its baseline, and the medians count.
//! Clients, service and Postgres share the same cores, so only ratios can be compared with another
//! machine. The results are also in `target/benchmark/results.json`.

mod client;
mod costs;
mod fill;
mod http;
mod machine;
mod measure;
mod options;
mod perf;
mod pgbench;
mod report;
mod scenarios;
mod service;
mod stage;
mod writers;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use client::Credential;
use fill::Sql;
use machine::Machine;
use options::{API_KEY, Options};
use pgbench::Pgbench;
use report::Earlier;
use service::{Database, Service};
use stage::Stage;

/// An error, in words for the person who runs the benchmark.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A value or a failure.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A scenario that cannot be measured here, which is not a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAvailable(pub(crate) String);

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything, and removes what it created. Returns false if a scenario failed.
fn run(options: Options) -> Result<bool> {
    // Before anything takes time.
    let earlier = options.compare.as_deref().map(Earlier::read).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // From here on signals are remembered, so that a signal while Postgres starts leads to a clean
    // end.
    let signals = runtime.block_on(async { Signals::take() })?;
    let database = Database::start(&options)?;
    let pgbench = Pgbench::find(database.bin_dir(), &database.directory()?, database.config()?);
    let outcome = runtime.block_on(perform(options, earlier, &database, pgbench, signals));
    // Connections that tasks still hold are closed before Postgres ends.
    drop(runtime);
    database.stop();
    outcome
}

async fn perform(
    options: Options,
    earlier: Option<Earlier>,
    database: &Database,
    pgbench: Option<Pgbench>,
    mut signals: Signals,
) -> Result<bool> {
    let service = Service::start(database, &options.auth)?;
    let outcome = tokio::select! {
        outcome = measure(options, earlier, database, pgbench, &service) => outcome,
        () = signals.next() => Err("stopped by a signal".into()),
    };
    let stopped = service.stop().await;
    outcome.and_then(|outcome| stopped.map(|()| outcome))
}

async fn measure(
    options: Options,
    earlier: Option<Earlier>,
    database: &Database,
    pgbench: Option<Pgbench>,
    service: &Service,
) -> Result<bool> {
    if pgbench.is_none() {
        eprintln!("{}", pgbench::MISSING);
    }
    let address = service.address().await?;
    if options.auth == API_KEY {
        client::call_with(Credential::key(&database.key().await?))?;
    }
    let sql = Sql::open(&database.config()?).await?;
    let stage = Stage::new(options, database, address, service.pid(), sql, pgbench).await?;
    if let Some(row) = &stage.options.perf {
        perf::prepare(row, stage.processes).await?;
    }
    let machine = Machine::observe().await?;
    let report = scenarios::run_all(&stage, machine, earlier).await?;
    println!("\n{report}");
    let saved = report.save(stage.options.json.as_deref())?;
    let drawn = perf::draw().await?;
    for path in saved.iter().chain(&drawn) {
        println!("{}", path.display());
    }
    Ok(!report.has_failures())
}

/// The signals that ask the program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
