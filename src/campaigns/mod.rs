//! Campaigns: what a tenant sends to many customers, the customers, and the results.

pub(crate) mod actions;
pub(crate) mod assignments;
pub(crate) mod events;
pub(crate) mod performance;
pub(crate) mod rules;
mod service;
pub(crate) mod store;
pub(crate) mod touches;
pub(crate) mod wire;

pub use service::Campaigns;
