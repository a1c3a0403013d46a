//! The parts of a context.

use uuid::Uuid;

use super::words::Words;
use crate::pb::{ContextSectionKind, ResourceType, Tokenizer};
use crate::tokens;

/// A section of a context, with all items that could be in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub(super) kind: ContextSectionKind,
    /// The items that could be in it, the most important first.
    pub(super) items: Vec<Item>,
}

/// One item of a context, which is in it as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Item {
    /// The text in Markdown: whole lines, of which the first begins with `-` or `#`.
    ///
    /// A tokenizer never merges a line break and such a sign into one token. So the tokens of items one after
    /// the other are the sum of their tokens.
    pub(super) text: String,
    /// The number of tokens of the text.
    pub(super) tokens: i64,
    /// The resource that the item is about.
    pub(super) about: Option<(ResourceType, Uuid)>,
    /// The label of the item in the text.
    pub(super) label: Option<String>,
    /// The score by which its section is ordered.
    pub(super) score: f64,
    /// The reason for the score.
    pub(super) reason: String,
    /// The item as turns of a chat. `None` for an item that is text in a chat too, because it is not a turn of
    /// the present conversation.
    pub(super) turns: Option<Vec<Turn>>,
    /// The messages that the item shows; empty for any other item.
    pub(super) places: Vec<Place>,
}

/// A message in the form that chat models accept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// The known facts, in the service's own words. Text from data is never a turn of the system.
    System(String),
    /// A message of the customer.
    User(String),
    /// A message of the assistant, or its calls of tools, or both.
    Assistant { content: String, calls: Vec<Call> },
    /// The result of a tool.
    Tool { call_id: String, content: String },
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// The place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conversation_id: Uuid,
    pub(super) sequence: i64,
}

impl Item {
    /// Returns an item of a list.
    pub(super) fn line(tokenizer: Tokenizer, words: Words, about: Option<(ResourceType, Uuid)>) -> Self {
        let text = format!("- {}\n", words.into_text());
        Self { tokens: tokens::recall(tokenizer, &text), text, about, ..Self::default() }
    }
}
