//! The first and the last campaign that a customer responded to before a purchase.

pub(crate) mod paid;
pub(crate) mod store;
