//! What came of campaigns, counted from events and purchases when it is asked for.

pub(crate) mod actions;
mod rules;
mod store;
pub(crate) mod wire;
