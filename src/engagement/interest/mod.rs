//! Each time that a customer showed interest in something, and what that makes in all.

pub(crate) mod actions;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod wire;
