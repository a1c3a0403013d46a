//! The running server: spawned by a thread that lives as long as it, watched, and stopped.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster;
use crate::fault::Fault;
use crate::find::Installation;
use crate::keeper::Keeper;
use crate::options::{Durability, Options};
use crate::run;
use crate::storage::Place;

/// Usually ready in 40 ms. After a crash Postgres first replays the log, at most a gigabyte.
const START_LIMIT: Duration = Duration::from_mins(5);
/// How often the state is read: a tenth of the time of a start.
const READY_POLL: Duration = Duration::from_millis(3);
/// Another process may take the free port before Postgres does; five times in a row is not bad luck.
const PORT_TRIES: u32 = 5;
/// A fast shutdown writes a checkpoint, which may take this long on a slow disk.
const FAST_LIMIT: Duration = Duration::from_secs(20);
/// An immediate shutdown writes nothing.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
/// The line of `postmaster.pid`, counted from 0, that says how far the start is.
const STATUS_LINE: usize = 7;

/// A Postgres that is ready; [`Server::stop`] must be called before it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    keeper: Keeper,
}

impl Server {
    /// Starts Postgres on a free port of the loopback address and waits until it is ready.
    pub(crate) fn start(place: &Place, binaries: &Installation, options: &Options) -> Result<Self, Fault> {
        let mut tries = 1;
        loop {
            match Self::try_start(place, binaries, options) {
                Err(Fault::Start { tail, .. }) if tries < PORT_TRIES && tail.contains("could not bind") => {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    fn try_start(place: &Place, binaries: &Installation, options: &Options) -> Result<Self, Fault> {
        let port = free_port().map_err(Fault::io("find a free port", place.root()))?;
        let log = place.new_log()?;
        let errors = log.try_clone().map_err(Fault::io("open the log", &place.log()))?;
        let mut command = cluster::helper(place, binaries, "postgres");
        command.arg("-D").arg(place.pgdata());
        for setting in settings(port, options) {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // SIGINT is a fast shutdown: its clients die with us anyway, and nothing is left to recover. SIGTERM would
        // wait for clients, and SIGQUIT would skip the checkpoint.
        run::end_with_us(&mut command, Signal::INT);
        let keeper = Keeper::spawn(command).map_err(Fault::io("run postgres", &binaries.bin_dir))?;
        let mut server = Self { port, keeper };
        match server.wait_ready(&place.pgdata()) {
            Ok(()) => Ok(server),
            Err(why) => {
                server.stop(false);
                let text = fs::read(place.log()).unwrap_or_default();
                Err(Fault::Start { why, log: place.log(), tail: run::tail(&String::from_utf8_lossy(&text)) })
            }
        }
    }

    /// Waits until the pid file says that Postgres accepts connections. The error says how it ended instead.
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

    pub(crate) fn pid(&self) -> u32 {
        self.keeper.pid()
    }

    /// Ends the server and waits for it: first a fast shutdown, then an immediate one, then a kill. Temporary data
    /// skips the fast one.
    pub(crate) fn stop(&mut self, throwaway: bool) {
        let steps = [(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT)];
        for (signal, limit) in &steps[usize::from(throwaway)..] {
            self.keeper.end_by(*signal);
            if self.keeper.wait_end(*limit).is_some() {
                break;
            }
            tracing::warn!(pid = self.pid(), ?signal, "Postgres does not stop");
        }
        self.keeper.end_by(Signal::KILL);
        // The kernel removes a process after SIGKILL as soon as it can.
        self.keeper.join();
    }
}

/// The settings on the command line, which override those that `initdb` wrote.
fn settings(port: u16, options: &Options) -> Vec<String> {
    let mut settings = vec![
        // No access from other machines.
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // A socket file would need a directory with a short path that both accounts can write.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.max_connections),
        // Enough for a small working set, and little enough for a laptop or a container.
        "shared_buffers=128MB".to_owned(),
        // Tables of a new database may grow a thousandfold within a minute, the default interval. Until Postgres
        // analyses them, its plans are for empty tables.
        "autovacuum_naptime=5s".to_owned(),
        // Compiling takes longer than the short queries of a service.
        "jit=off".to_owned(),
        // The log is our file, opened before the start, so that it has the first lines as well.
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        // Values of rows and texts of statements are data of people and do not belong in a log.
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

/// Returns a port that is free now.
pub(crate) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Whether the text of a pid file belongs to this process and says that it accepts connections.
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
