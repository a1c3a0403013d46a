//! The consents of customers to being contacted, by channel. Events of campaigns write them.

pub(crate) mod actions;
pub(crate) mod store;
pub(crate) mod wire;
