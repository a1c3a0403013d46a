//! The program under test, which is killed, stopped and restarted.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crm_testkit::{Ended, Program, Scratch, Server, command_of};
use rustix::process::Pid;
use tokio::sync::watch;

use super::scratch;
use super::workload::Place;

/// How a program is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// `None` for this build's program.
    program: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
}

impl Setup {
    /// This build's program, on this database.
    pub(crate) fn of(url: &str) -> Self {
        let arguments = vec!["--database-url".to_owned(), url.to_owned()];
        Self { program: None, arguments, environment: Vec::new() }
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Another program, with the same settings.
    pub(crate) fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    fn start(&self, scratch: &Scratch) -> Server {
        let arguments: Vec<&str> = ["--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(self.arguments.iter().map(String::as_str))
            .collect();
        let program = self.program.as_deref().unwrap_or(scratch.program());
        let mut command = command_of(program, scratch, &arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Server::of(Program::spawn(command))
    }
}

/// A program that serves from a database, and can be restarted.
pub(crate) struct Service {
    scratch: Scratch,
    setup: Setup,
    server: Option<Server>,
    place: watch::Sender<SocketAddr>,
}

impl Service {
    pub(crate) fn start(url: &str) -> Self {
        Self::launch(Setup::of(url))
    }

    pub(crate) fn launch(setup: Setup) -> Self {
        let scratch = scratch();
        let server = setup.start(&scratch);
        let place = watch::Sender::new(server.address);
        Self { scratch, setup, server: Some(server), place }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it is ended only to be started")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address
    }

    /// Returns the address of `GET /metrics`. It needs `--metrics-listen`, and may be called once.
    pub(crate) fn metrics(&mut self) -> SocketAddr {
        self.server.as_mut().expect("it is ended only to be started").metrics()
    }

    pub(crate) fn pid(&self) -> Pid {
        self.server().program.pid()
    }

    /// Returns its address, which follows restarts.
    pub(crate) fn place(&self) -> Place {
        self.place.subscribe()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Sends SIGTERM and waits for a clean end, in a thread of its own: clients continue meanwhile.
    pub(crate) async fn stop(&mut self) -> Ended {
        let server = self.server.take().expect("it runs");
        let ended = tokio::task::spawn_blocking(move || server.terminate()).await.expect("an end");
        ended.succeeded();
        ended
    }

    /// Restarts it, and returns how long it took until it served.
    pub(crate) fn restart(&mut self) -> Duration {
        let began = Instant::now();
        let server = self.setup.start(&self.scratch);
        let took = began.elapsed();
        self.place.send_replace(server.address);
        self.server = Some(server);
        took
    }

    /// Sends SIGTERM, and waits for a clean end.
    pub(crate) fn terminate(mut self) {
        if let Some(server) = self.server.take() {
            server.terminate().succeeded();
        }
    }
}
