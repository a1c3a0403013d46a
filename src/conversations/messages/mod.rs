//! The messages of conversations.

pub(crate) mod actions;
pub(crate) mod audited;
pub(super) mod counter;
pub(super) mod drafts;
pub(crate) mod quote;
pub(crate) mod rules;
pub(crate) mod session;
pub(crate) mod store;
pub(super) mod stream;
pub(super) mod wire;
pub(super) mod writer;

#[cfg(any(test, fuzzing))]
mod model;
