//! What a context is made of.

use uuid::Uuid;

use super::words::Words;
use crate::pb::{ContextSectionKind, ResourceType, Tokenizer};
use crate::tokens;

/// A part of a context, with all that could be in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub(super) kind: ContextSectionKind,
    /// What could be in it, the most wanted first.
    pub(super) items: Vec<Item>,
}

/// One thing in a context, which is there as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Item {
    /// In Markdown: whole lines, of which the first begins with `-` or `#`.
    ///
    /// A tokenizer never takes a line break and such a sign for one piece, so that the tokens of items one
    /// after the other are the sum of their tokens.
    pub(super) text: String,
    /// The tokens of the text.
    pub(super) tokens: i64,
    /// What it is about.
    pub(super) about: Option<(ResourceType, Uuid)>,
    /// How the text calls it.
    pub(super) label: Option<String>,
    /// What its section is ordered by.
    pub(super) score: f64,
    /// Why the score is what it is.
    pub(super) reason: String,
    /// The same as turns of a chat, as many as it takes; nothing for what is told as text there too, since it
    /// is not a turn of the present conversation.
    pub(super) turns: Option<Vec<Turn>>,
    /// The messages that it is made of; none for anything else.
    pub(super) places: Vec<Place>,
}

/// A message as a chat model takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// What is known, in our own words. No text from data is ever one.
    System(String),
    /// What the customer said.
    User(String),
    /// What the assistant said, or which tools it called, or both.
    Assistant { content: String, calls: Vec<Call> },
    /// What a tool gave back.
    Tool { call_id: String, content: String },
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conversation_id: Uuid,
    pub(super) sequence: i64,
}

impl Item {
    /// An item of a list.
    pub(super) fn line(tokenizer: Tokenizer, words: Words, about: Option<(ResourceType, Uuid)>) -> Self {
        let text = format!("- {}\n", words.into_text());
        Self { tokens: tokens::recall(tokenizer, &text), text, about, ..Self::default() }
    }
}
