//! `GetConversionFunnel`.

pub(super) mod actions;
mod rules;
mod store;
pub(super) mod wire;
