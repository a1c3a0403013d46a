//! The events between campaigns and customers.

pub(crate) mod actions;
pub(crate) mod model;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod wire;
