//! FAQs: the questions of a customer's clientele, their answers, and the confidence in them.

pub(crate) mod actions;
mod observations;
pub(crate) mod rules;
pub(crate) mod search;
mod service;
pub(crate) mod store;
mod wire;

pub use service::Faqs;
