//! The audit log: who did what, to what, when, and with what outcome.
//!
//! Code that changes rows for a caller writes the event into the same transaction. That is
//! [`crate::rpc::mutate`], and the writer of messages, for which the `ledger` says which messages need an
//! event. Events of failed calls go through the [`recorder`], after the fact.

pub(crate) mod ledger;
pub mod recorder;
mod retention;
pub(crate) mod rules;
pub(crate) mod store;

pub use recorder::Recorder;
pub(crate) use retention::run as retain;
pub(crate) use rules::Operation;
pub use rules::Subject;
