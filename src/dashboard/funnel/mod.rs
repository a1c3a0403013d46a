//! `GetConversionFunnel`.

pub(super) mod actions;
pub(super) mod model;
mod rules;
mod store;
pub(super) mod wire;
