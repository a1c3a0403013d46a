//! What was said in conversations.

pub(super) mod actions;
pub(super) mod rules;
pub(super) mod store;
pub(super) mod stream;
pub(super) mod wire;
