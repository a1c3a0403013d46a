//! The service, once it serves.

use std::net::SocketAddr;

use rustix::process::{Signal, kill_process_group};

use crate::program::{Ended, Program, command};
use crate::scratch::Scratch;

/// A serving program.
pub struct Server {
    /// The process.
    pub program: Program,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts on the scratch's data directory.
    pub fn start(scratch: &Scratch) -> Self {
        let data_dir = scratch.data_dir();
        Self::start_with(scratch, &["--data-dir", data_dir.to_str().expect("a path of letters")])
    }

    /// Starts with these arguments, on a port of its own.
    pub fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        Self::of(Program::spawn(command(scratch, &arguments)))
    }

    /// Waits for its address.
    pub fn of(mut program: Program) -> Self {
        let greeting = program.says("crm-backend ");
        let (_version, address) = greeting.split_once(" listens on ").expect("a greeting");
        Self { program, address: address.parse().expect("an address") }
    }

    /// Returns the address of `GET /metrics`, which the program prints after its own address.
    pub fn metrics(&mut self) -> SocketAddr {
        let url = self.program.says("  metrics    ");
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
        address.and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn terminate(self) -> Ended {
        self.program.signal(Signal::TERM);
        self.program.wait()
    }

    /// Sends Ctrl-C as a terminal does, and waits for the end.
    pub fn interrupt(self) -> Ended {
        kill_process_group(self.program.pid(), Signal::INT).expect("a running program");
        self.program.wait()
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill(self) {
        self.program.signal(Signal::KILL);
        let ended = self.program.wait();
        assert_eq!(ended.status.code(), None, "{}", ended.stderr);
    }
}
