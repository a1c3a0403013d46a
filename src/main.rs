//! Command line → [`crm_backend::startup`].

use std::process::ExitCode;

use clap::Parser;
use crm_backend::config::{Cli, Command};
use crm_backend::{startup, telemetry};

/// The service allocates small values on one thread and frees them on another, all the time. This allocator does so in
/// less time than that of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of `migrate --check` if migrations are missing. 1 means a failure, 2 invalid arguments.
const PENDING: u8 = 3;

fn done(outcome: Result<(), impl ToString>) -> Result<ExitCode, String> {
    outcome.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let command = Cli::parse().into_command();
    let started = telemetry::start(command.log()).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| format!("The runtime does not start: {error}."))
    });
    let outcome = started.and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Serve(config) => done(startup::serve(*config).await),
                Command::Migrate(config) => {
                    let pending = startup::migrate(config).await.map_err(|error| error.to_string())?;
                    Ok(if pending { ExitCode::from(PENDING) } else { ExitCode::SUCCESS })
                }
                Command::Recount(config) => done(startup::recount(config).await),
                Command::Keys(config) => done(startup::keys(config).await),
                Command::Mcp(config) => done(startup::mcp(config).await),
            }
        })
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("crm-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
