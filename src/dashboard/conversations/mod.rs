//! `GetConversationStatistics`.

pub(super) mod actions;
mod store;
mod tally;
pub(super) mod wire;
