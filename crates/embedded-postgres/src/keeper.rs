//! The thread that spawns Postgres and lives as long as it.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// A child process, and its thread: the kernel's death signal comes when that thread ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: Pid,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    life: Mutex<Life>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Life {
    /// How the process ended. Its pid is its own until this is set; later the pid may belong to another process.
    end: Option<String>,
    /// Whether the end was requested, so that it is no error.
    stopping: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Spawns the command in a thread of its own that stays until the process has ended.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let watched = Arc::clone(&state);
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("embedded-postgres".to_owned()).spawn(move || {
            match command.spawn() {
                Ok(child) => {
                    // The receiver waits for exactly this message.
                    let _ = tell.send(Ok(Pid::from_child(&child)));
                    watch(child, &watched);
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })?;
        let pid = told.recv().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))?;
        Ok(Self { pid, state, thread: Some(thread) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Returns how the process ended, waiting for at most `limit`.
    pub(crate) fn wait_end(&self, limit: Duration) -> Option<String> {
        let (life, _) = self
            .state
            .ended
            .wait_timeout_while(self.state.lock(), limit, |life| life.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        life.end.clone()
    }

    /// Requests the end with a signal, unless the process has ended: then its pid may belong to another process.
    pub(crate) fn end_by(&self, signal: Signal) {
        let mut life = self.state.lock();
        life.stopping = true;
        if life.end.is_none() {
            // The process is our child and not reaped, so it can be signalled.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits for the thread, which ends with the process.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps Postgres panicked");
        }
    }
}

/// Waits for the end, and records it at the moment the pid is released.
fn watch(mut child: Child, state: &State) {
    let pid = Pid::from_child(&child);
    // NOWAIT leaves it a zombie, so that the pid stays its own until the lock is held.
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    let mut life = state.lock();
    let end = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("an unknown status: {error}"),
    };
    if !life.stopping {
        tracing::error!(pid = child.id(), %end, "Postgres ended by itself");
    }
    life.end = Some(end);
    state.ended.notify_all();
}
