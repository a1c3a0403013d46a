//! With which campaign a customer first and last had to do before a purchase.

pub(crate) mod paid;
pub(crate) mod store;
