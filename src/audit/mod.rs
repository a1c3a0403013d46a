//! The audit log: who did what, to what, when, and what came of it.
//!
//! Whoever changes rows for a caller writes the event into the same transaction: [`crate::rpc::mutate`],
//! and the writer of messages, where the [`ledger`] says which messages need one. What failed goes
//! through the [`recorder`], after the fact.

pub(crate) mod ledger;
pub mod recorder;
mod retention;
pub(crate) mod rules;
pub mod service;
pub(crate) mod store;
mod wire;

pub use recorder::Recorder;
pub(crate) use retention::run as retain;
pub use rules::Asked;
pub(crate) use rules::Operation;
pub use service::AuditLog;
