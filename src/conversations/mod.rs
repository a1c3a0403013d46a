//! Conversations with customers, their messages and their analyses.

pub(crate) mod actions;
pub(crate) mod analyses;
mod caretaker;
pub(crate) mod feed;
pub(crate) mod messages;
pub(crate) mod rules;
mod service;
pub(crate) mod store;
mod watch;
mod wire;

pub use service::{Conversations, Parts};
#[cfg(test)]
pub(crate) use watch::foreign_token;
