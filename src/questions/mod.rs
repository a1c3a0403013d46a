//! Pending questions: what is still to be asked of customers, and what came of it.

pub(crate) mod actions;
pub(crate) mod rules;
mod service;
pub(crate) mod store;
pub(crate) mod wire;

pub use service::PendingQuestions;
