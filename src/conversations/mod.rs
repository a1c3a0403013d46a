//! Conversations: every talk with a customer, what was said, and what was made of it.

mod actions;
mod analyses;
mod messages;
mod rules;
mod service;
mod store;
mod wire;

pub use service::Conversations;
