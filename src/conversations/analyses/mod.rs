//! What was made of conversations, version after version.

pub(crate) mod actions;
pub(crate) mod store;
pub(super) mod wire;
