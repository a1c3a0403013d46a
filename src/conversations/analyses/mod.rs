//! Analyses of conversations, in versions.

pub(crate) mod actions;
pub(crate) mod store;
pub(super) mod wire;
