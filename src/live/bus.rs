//! How replicas, processes over one database, tell each other what happened.
//!
//! A hint and no record: the tables are the record, and whoever needs all of it reads them from
//! time to time. A signal makes that happen sooner.

mod envelope;
mod postgres;

use bytes::Bytes;
use uuid::Uuid;

use crate::auth::Caller;

pub use envelope::MAX_PAYLOAD;
pub use postgres::PostgresBus;

/// What is told about: a topic (a conversation) of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Whose it is.
    pub tenant: Uuid,
    /// The conversation.
    pub id: Uuid,
}

impl Topic {
    /// A topic of the caller's tenant.
    pub fn of(caller: &Caller, id: Uuid) -> Self {
        Self { tenant: caller.tenant().as_uuid(), id }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// To what.
    pub topic: Topic,
    /// What it was, at most [`MAX_PAYLOAD`] bytes. The bus does not look into it; replicas of the
    /// version before and after get it too.
    pub payload: Bytes,
}

/// Tells the other replicas.
///
/// A signal reaches every other replica once or not at all, and never the one that published it.
/// What a replica hears of another comes in the order of its publication, perhaps with holes;
/// between two publishers there is no order. Nobody is told of a signal that was lost.
pub trait Bus: Send + Sync + 'static {
    /// Tells the others, at some later time; does not wait, and does not fail.
    fn publish(&self, signal: Signal);

    /// Whether what others publish is heard, and none of it was missed here since this was last asked.
    fn hears(&self) -> bool;
}

/// A bus that tells nobody: for a single replica, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBus;

impl Bus for NoBus {
    fn publish(&self, _: Signal) {}

    fn hears(&self) -> bool {
        false
    }
}
