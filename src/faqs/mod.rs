//! FAQs: what the clientele of a customer asks, what the answer is, and how sure that is.

pub(crate) mod actions;
mod observations;
pub(crate) mod rules;
pub(crate) mod search;
mod service;
pub(crate) mod store;
mod wire;

pub use service::Faqs;
