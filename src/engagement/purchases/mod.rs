//! The purchases of customers, their payments and their refunds.

pub(crate) mod actions;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod wire;
