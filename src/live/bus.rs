//! How replicas, which are processes over one database, tell each other events.
//!
//! A signal is a hint and not a record. The tables are the record, and a process that needs all events reads
//! them from time to time. A signal makes it read sooner.

mod envelope;
mod postgres;

use bytes::Bytes;
use uuid::Uuid;

use crate::identity::Caller;

pub use envelope::MAX_PAYLOAD;
pub use postgres::PostgresBus;

/// The subject of a signal: a topic (a conversation) of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The tenant.
    pub tenant: Uuid,
    /// The conversation.
    pub id: Uuid,
}

impl Topic {
    /// Returns a topic of the caller's tenant.
    pub fn of(caller: &Caller, id: Uuid) -> Self {
        Self { tenant: caller.tenant().as_uuid(), id }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The topic of the event.
    pub topic: Topic,
    /// The event, at most [`MAX_PAYLOAD`] bytes. The bus does not look into it. Replicas of the version before
    /// and after receive it too.
    pub payload: Bytes,
}

/// Tells the other replicas.
///
/// A signal reaches every other replica once or not at all, and never the one that published it. Signals of one
/// publisher arrive in the order of publication, perhaps with holes. Between two publishers there is no order.
/// A replica is not told which signals were lost.
pub trait Bus: Send + Sync + 'static {
    /// Tells the others, at some later time. It does not wait, and does not fail.
    fn publish(&self, signal: Signal);

    /// Returns whether signals of others are heard, and none was missed here since the last call.
    fn hears(&self) -> bool;
}

/// A bus that tells no replica: for a single replica, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBus;

impl Bus for NoBus {
    fn publish(&self, _: Signal) {}

    fn hears(&self) -> bool {
        false
    }
}
