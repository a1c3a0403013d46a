//! What customers showed interest in, what they bought, and which campaign and conversation it came of.

pub(crate) mod actions;
pub(crate) mod interest;
pub(crate) mod purchases;
pub(crate) mod rules;
mod service;

pub use service::Engagements;
