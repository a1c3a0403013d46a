//! What a context is made of.

use uuid::Uuid;

use crate::pb::{ContextResourceType, ContextSectionKind, Tokenizer};
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
    pub(super) about: Option<(ContextResourceType, Uuid)>,
    /// How the text calls it.
    pub(super) label: Option<String>,
    /// What its section is ordered by.
    pub(super) score: f64,
    /// Why the score is what it is.
    pub(super) reason: String,
    /// The same as turns of a chat; none for what is not said in the present conversation.
    pub(super) turns: Vec<Turn>,
    /// The messages that it is made of; none for anything else.
    pub(super) places: Vec<Place>,
}

/// A message as a chat model takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) content: String,
}

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) conversation_id: Uuid,
    pub(super) sequence: i64,
}

impl Item {
    /// An item of a list: `- text`. Further lines of the text are indented.
    pub(super) fn line(tokenizer: Tokenizer, text: &str, about: Option<(ContextResourceType, Uuid)>) -> Self {
        let text = format!("- {}\n", indent(text, 2));
        Self { tokens: tokens::recall(tokenizer, &text), text, about, ..Self::default() }
    }
}

/// A text of several lines as part of an item of a list; empty lines are left out.
pub(super) fn indent(text: &str, spaces: usize) -> String {
    let mut lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    let mut indented = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        indented.push('\n');
        indented.extend(std::iter::repeat_n(' ', spaces));
        indented.push_str(line);
    }
    indented
}
