//! The context of a customer: all that an AI agent has to know, within a budget of tokens.
//!
//! One transaction reads a snapshot (`actions`). Long texts are cut (`cut`). All that could be in a context
//! becomes items of sections, in text (`about_…`, `messages`, `item`). Then the items that fit are selected
//! (`budget`, `compose`) and put into one of three formats (`prompt`, `wire`). Only the first step does I/O.
//! The clock decides only whether the time for a question has come. So the same rows give the same bytes.

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
mod model;
mod prompt;
mod service;
mod turns;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use service::AiContexts;
