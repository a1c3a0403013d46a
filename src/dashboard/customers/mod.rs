//! `GetCustomerStatistics`.

pub(super) mod actions;
mod store;
pub(super) mod wire;
