//! The events of the audit log, as callers read them. [`crate::audit`] writes them.

pub(crate) mod rules;
pub mod service;
mod store;
mod wire;

pub use service::AuditLog;
