//! Customers: who they are, how they speak, what they want.

pub(crate) mod actions;
mod rules;
mod service;
pub(crate) mod store;
mod wire;

pub use service::{Contexts, Customers};
