//! `GetConversationStatistics`.

pub(super) mod actions;
mod rules;
mod store;
mod tally;
pub(super) mod wire;
