//! The observations of FAQs: each time that a question was asked or a FAQ was used.

pub(super) mod store;
pub(super) mod wire;
