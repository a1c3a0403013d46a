//! The context of a customer: all that an AI agent has to know, within a budget of tokens.
//!
//! One transaction reads a snapshot (`actions`). What could be in a context becomes items of sections, in
//! text (`about_…`, `messages`, `item`); of long texts a part is told (`cut`); which of them fit is decided (`budget`, `compose`); and what was
//! chosen is put into one of three shapes (`prompt`, `wire`). Only the first does I/O, and the clock
//! decides nothing but whether the time for a question has come: the same rows give the same bytes.

mod about_conversations;
mod about_customer;
mod about_engagement;
mod about_knowledge;
mod actions;
mod budget;
mod compose;
mod cut;
mod item;
mod messages;
mod prompt;
mod service;
mod turns;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use service::AiContexts;
