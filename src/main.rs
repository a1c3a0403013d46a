//! Command line → [`crm_backend::startup`].

use std::process::ExitCode;

use clap::Parser;
use crm_backend::config::{Cli, Command};
use crm_backend::{startup, telemetry};

fn main() -> ExitCode {
    let command = Cli::parse().into_command();
    let started = telemetry::start(command.log()).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| format!("The runtime does not start: {error}."))
    });
    let outcome = started.and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Serve(config) => startup::serve(*config).await.map_err(|error| error.to_string()),
                Command::Migrate(config) => startup::migrate(config).await.map_err(|error| error.to_string()),
                Command::Recount(config) => startup::recount(config).await.map_err(|error| error.to_string()),
                Command::Keys(config) => startup::keys(config).await.map_err(|error| error.to_string()),
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crm-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
