//! What customers said about being contacted, by channel. Events of campaigns write it.

pub(crate) mod actions;
pub(crate) mod store;
pub(crate) mod wire;
