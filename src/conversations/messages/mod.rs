//! What was said in conversations.

pub(crate) mod actions;
pub(super) mod drafts;
pub(super) mod rules;
pub(super) mod session;
pub(super) mod store;
pub(super) mod stream;
pub(super) mod wire;
pub(super) mod writer;

#[cfg(test)]
mod model;
