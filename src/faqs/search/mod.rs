//! The words of FAQs, and the search for FAQs by words.

pub(crate) mod model;
pub(crate) mod rules;
pub(super) mod store;
