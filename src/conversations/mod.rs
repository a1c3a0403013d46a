//! Conversations: every talk with a customer, what was said, and what was made of it.

pub(crate) mod actions;
mod analyses;
mod caretaker;
mod feed;
pub(crate) mod messages;
mod rules;
mod service;
mod store;
mod watch;
mod wire;

pub use service::{Conversations, Parts};
