//! Pending questions: the questions still to be asked of customers, and their answers.

pub(crate) mod actions;
pub(crate) mod rules;
mod service;
pub(crate) mod store;
pub(crate) mod wire;

pub use service::PendingQuestions;
