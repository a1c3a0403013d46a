//! The running server: started by a thread that lives as long as it, watched, stopped.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cluster;
use super::error::EmbeddedError;
use super::find::Installation;
use super::keeper::Keeper;
use super::run;
use super::storage::Place;
use super::{Durability, Options};

/// Usually ready in 40 ms; after a crash the log is replayed first, a gigabyte of it at most.
const START_LIMIT: Duration = Duration::from_mins(5);
/// How often the state is read: a tenth of what a start takes.
const READY_POLL: Duration = Duration::from_millis(3);
/// Somebody else may take the free port before Postgres does; five times in a row is not bad luck.
const PORT_TRIES: u32 = 5;
/// A fast shutdown writes a checkpoint, which a slow disk may need this long for.
const FAST_LIMIT: Duration = Duration::from_secs(20);
/// An immediate shutdown writes nothing.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
/// The line of `postmaster.pid`, counted from 0, that says how far the start has come.
const STATUS_LINE: usize = 7;

/// A Postgres that is ready; [`Server::stop`] must be called before it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    keeper: Keeper,
}

impl Server {
    /// Starts Postgres on a free port of the loopback address and waits until it is ready.
    pub(super) fn start(
        place: &Place,
        binaries: &Installation,
        options: &Options,
    ) -> Result<Self, EmbeddedError> {
        let mut tries = 1;
        loop {
            match Self::try_start(place, binaries, options) {
                Err(EmbeddedError::Start { tail, .. })
                    if tries < PORT_TRIES && tail.contains("could not bind") =>
                {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    fn try_start(place: &Place, binaries: &Installation, options: &Options) -> Result<Self, EmbeddedError> {
        let port = free_port().map_err(EmbeddedError::io("find a free port", place.root()))?;
        let log = place.new_log()?;
        let errors = log.try_clone().map_err(EmbeddedError::io("open the log", &place.log()))?;
        let mut command = cluster::helper(place, binaries, "postgres");
        command.arg("-D").arg(place.pgdata());
        for setting in settings(port, options) {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // SIGINT is a fast shutdown: its clients die with us anyway, and it leaves nothing to
        // recover, where SIGTERM would wait for clients and SIGQUIT would skip the checkpoint.
        run::end_with_us(&mut command, Signal::INT);
        let keeper = Keeper::spawn(command).map_err(EmbeddedError::io("run postgres", &binaries.bin_dir))?;
        let mut server = Self { port, keeper };
        match server.wait_ready(&place.pgdata()) {
            Ok(()) => Ok(server),
            Err(why) => {
                server.stop(false);
                let text = fs::read(place.log()).unwrap_or_default();
                Err(EmbeddedError::Start {
                    why,
                    log: place.log(),
                    tail: run::tail(&String::from_utf8_lossy(&text)),
                })
            }
        }
    }

    /// Postgres says in its pid file when it takes connections; the error is how it failed to.
    fn wait_ready(&self, pgdata: &Path) -> Result<(), String> {
        let file = pgdata.join("postmaster.pid");
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if is_ready(&text, self.pid()) {
                return Ok(());
            }
            if let Some(end) = self.keeper.wait_end(READY_POLL) {
                return Err(format!("it ended with {end}"));
            }
        }
        Err(format!("it was not ready after {} s", START_LIMIT.as_secs()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.keeper.pid()
    }

    /// Ends the server and waits for it: fast, then immediate, then killed. Data that is thrown away needs no fast end.
    pub(super) fn stop(&mut self, throwaway: bool) {
        let steps = [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT)];
        for (signal, limit) in &steps[usize::from(throwaway)..] {
            self.keeper.end_by(*signal);
            if self.keeper.wait_end(*limit).is_some() {
                break;
            }
            tracing::warn!(pid = self.pid(), ?signal, "Postgres does not stop");
        }
        self.keeper.end_by(Signal::KILL);
        // After SIGKILL it is gone as soon as the kernel gets to it.
        self.keeper.join();
    }
}

/// What is set on the command line, over what `initdb` wrote.
fn settings(port: u16, options: &Options) -> Vec<String> {
    let mut settings = vec![
        // Nobody outside of this machine.
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // A socket file would need a directory that both accounts can write, with a short path.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.max_connections),
        // Enough for a small working set, little enough for a laptop and for a container.
        "shared_buffers=128MB".to_owned(),
        // Tables of a new database grow a thousandfold within a minute, which is how often Postgres
        // looks at them otherwise: until then its plans are for empty ones.
        "autovacuum_naptime=5s".to_owned(),
        // Compiling takes longer than the short queries of a service run.
        "jit=off".to_owned(),
        // Our file, opened before the start, so that the first lines are in it as well.
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        // Values of rows and texts of statements are customers' data and do not belong in a log.
        "log_error_verbosity=terse".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    let durable = match options.durability {
        Durability::Full => "on",
        Durability::Off => "off",
    };
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        settings.push(format!("{name}={durable}"));
    }
    settings
}

/// A port that is free now.
pub(super) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Whether the text of a pid file is this process's and says that it takes connections.
fn is_ready(text: &str, pid: u32) -> bool {
    let line = |number| text.lines().nth(number).map(str::trim);
    line(0) == Some(pid.to_string().as_str()) && line(STATUS_LINE) == Some("ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_believed_only_of_the_process_that_was_started() {
        let text = "42\n/data\n1700000000\n5433\n\n127.0.0.1\n 5433  0\nready   \n";
        assert!(is_ready(text, 42));
        assert!(!is_ready(text, 43));
        assert!(!is_ready(&text.replace("ready   ", "starting"), 42));
        assert!(!is_ready("42\n/data\n", 42));
        assert!(!is_ready("", 42));
    }
}
