//! The customers of campaigns, and how far each of them has come.

pub(crate) mod actions;
pub(crate) mod store;
pub(crate) mod wire;
