//! What customers bought and paid, and what was paid back.

pub(crate) mod actions;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod wire;
