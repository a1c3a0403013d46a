//! The words of FAQs, and how FAQs are found by them.

pub(super) mod rules;
pub(super) mod store;
