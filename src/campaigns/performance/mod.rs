//! The performance of campaigns, counted from events and purchases when it is requested.

pub(crate) mod actions;
mod rules;
mod store;
pub(crate) mod wire;
