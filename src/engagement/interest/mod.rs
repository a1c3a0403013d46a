//! The events of customers' interest, and the scores that follow from them.

pub(crate) mod actions;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod wire;
