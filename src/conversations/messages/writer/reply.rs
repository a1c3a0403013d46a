//! The writes that wait to be committed, and how their callers are told the outcomes.

use std::mem;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use crate::conversations::messages::audited::Author;
use crate::conversations::messages::rules::{Change, Effect, Outcome, Placed, Write};
use crate::conversations::messages::store::Message;
use crate::error::{Error, Result};

/// A write that waits to be committed.
pub(crate) struct Pending {
    pub(crate) author: Author,
    pub(crate) write: Write,
    pub(crate) reply: Reply,
}

/// The receiver of the outcome of a write. It is told in any case.
pub(crate) struct Reply {
    /// The time since which it waits.
    pub(super) asked: Instant,
    to: To,
}

/// The place that the answer to a write goes to.
enum To {
    /// To a stream, which knows the write by a number.
    Stream(u64, mpsc::UnboundedSender<(u64, Outcome)>),
    /// To a call that waits only for this write.
    Call(oneshot::Sender<Result<Settled>>),
    /// The answer was told.
    Told,
}

/// The result of a write for its message.
pub(crate) struct Settled {
    pub(crate) placed: Placed,
    /// The message as it stands, if the write added it.
    pub(crate) added: Option<Message>,
}

impl Reply {
    pub(crate) fn new(ticket: u64, to: mpsc::UnboundedSender<(u64, Outcome)>) -> Self {
        Self { asked: Instant::now(), to: To::Stream(ticket, to) }
    }

    pub(super) fn to_call(to: oneshot::Sender<Result<Settled>>) -> Self {
        Self { asked: Instant::now(), to: To::Call(to) }
    }

    /// Tells the outcome of a write that was made at this time.
    pub(super) fn send(&mut self, outcome: Outcome, write: &Write, now: DateTime<Utc>) {
        let settled = |placed: Placed| {
            let added = match &write.change {
                Change::Add(message) if placed.effect == Effect::Added => {
                    Some(Message::of(message, placed.sequence, placed.status, now))
                }
                _ => None,
            };
            Settled { placed, added }
        };
        self.tell(outcome, settled);
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.tell(Err(error), |placed| Settled { placed, added: None });
    }

    /// Tells the outcome. A receiver that is gone does not need to know it.
    fn tell(&mut self, outcome: Outcome, settled: impl FnOnce(Placed) -> Settled) {
        match mem::replace(&mut self.to, To::Told) {
            To::Stream(ticket, to) => drop(to.send((ticket, outcome))),
            To::Call(to) => drop(to.send(outcome.map(settled))),
            To::Told => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.refuse(Error::internal("a write was lost on its way to the database"));
    }
}
