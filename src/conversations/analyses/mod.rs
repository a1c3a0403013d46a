//! What was made of conversations, version after version.

pub(super) mod actions;
pub(crate) mod store;
pub(super) mod wire;
