//! What was made of conversations, version after version.

pub(super) mod actions;
pub(super) mod store;
pub(super) mod wire;
