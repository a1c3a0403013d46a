//! The interest and the purchases of customers, and the campaigns and conversations that led to them.

pub(crate) mod actions;
pub(crate) mod interest;
pub(crate) mod purchases;
pub(crate) mod rules;
mod service;

pub use service::Engagements;
