//! The words of FAQs, and how FAQs are found by them.

pub(crate) mod rules;
pub(super) mod store;
