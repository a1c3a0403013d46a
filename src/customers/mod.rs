//! Customers: who they are, how they speak, what they want.

pub(crate) mod actions;
mod rules;
mod service;
mod store;
mod wire;

pub use service::Customers;
