//! Customers: who they are, how they speak, what they want.

pub(crate) mod actions;
pub(crate) mod common;
pub(crate) mod consents;
pub(crate) mod counts;
pub(crate) mod field;
pub(crate) mod model;
pub(crate) mod phone;
pub(crate) mod rules;
mod service;
pub(crate) mod store;
pub(crate) mod wire;
pub(crate) mod words;

pub use service::{Contexts, Customers};
