//! Messages as items of a context.

use chrono::{DateTime, Utc};

use super::item::{Item, Place};
use super::turns::{self, Ids, is_done, is_open};
use super::words::Words;
use crate::contract::Word;
use crate::conversations::messages::quote::quote;
use crate::conversations::messages::store::Action;
use crate::conversations::messages::store::latest::Said;
use crate::db::words::Text;
use crate::pb::{MessageRole, MessageStatus, ResourceType, Tokenizer};
use crate::tokens;

/// The conversation of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The present one.
    Present,
    /// An earlier one.
    Earlier,
}

/// Messages that belong together, in the order in which they were said: a message, and the results of the tools
/// that it called. Messages in progress are among them, and are not shown.
struct Unit<'s>(Vec<&'s Said>);

/// Returns the messages of one conversation as items, the newest first. `said` has the newest first.
///
/// The result of a tool belongs to the message before it, unless that is a note of a system, which calls no
/// tools. If the message before it was not read, the result is not an item either.
pub(super) fn items(said: &[Said], when: When, tokenizer: Tokenizer) -> Vec<Item> {
    let ids = Ids::new(said);
    let mut items = Vec::new();
    let mut results = Vec::new();
    let mut close = |messages: &mut Vec<_>| {
        messages.reverse();
        items.extend(Unit(std::mem::take(messages)).item(when, &ids, tokenizer));
    };
    for message in said {
        if message.role.0 == MessageRole::System {
            close(&mut results);
        }
        results.push(message);
        if message.role.0 != MessageRole::Tool || message.sequence == 1 {
            close(&mut results);
        }
    }
    items
}

/// Returns the sequences of the messages in progress. `said` has the newest first.
pub(super) fn in_progress(said: &[Said]) -> Vec<i64> {
    let open = said.iter().filter(|message| is_open(message));
    open.map(|message| message.sequence).collect()
}

impl Unit<'_> {
    /// Returns the complete messages as an item; `None` if all are in progress.
    fn item(&self, when: When, ids: &Ids<'_>, tokenizer: Tokenizer) -> Option<Item> {
        let whole: Vec<&Said> = self.0.iter().copied().filter(|message| !is_open(message)).collect();
        let first = whole.first()?;
        let mut text = String::new();
        let mut count = 0;
        for message in &whole {
            let head = head(message, when);
            let quotation = quote(&message.content);
            let actions: String = actions(message).collect();
            count += tokens::recall(tokenizer, &head) + tokens::recall(tokenizer, &actions);
            count += match (tokenizer, message.token_count) {
                (Tokenizer::O200kBase, Some(tokens)) => i64::from(tokens),
                _ => tokens::recall(tokenizer, &quotation),
            };
            text.extend([head, quotation, actions]);
        }
        // A note of a system is quoted with the known facts. As a turn, it would have a voice that it must not
        // have, or be taken for words of the customer.
        let is_turn = when == When::Present && first.role.0 != MessageRole::System;
        Some(Item {
            text,
            tokens: count,
            about: Some((ResourceType::Message, first.id)),
            turns: is_turn.then(|| turns::of(&self.0, ids)),
            places: whole.iter().map(|message| place(message)).collect(),
            ..Item::default()
        })
    }
}

/// Returns the line above a message. It ends with a digit, so that its tokens do not merge with those of the
/// text.
fn head(message: &Said, when: When) -> String {
    let who = match message.role.0 {
        MessageRole::User => "Customer",
        MessageRole::Assistant | MessageRole::Unspecified => "Assistant",
        MessageRole::Agent => "Agent",
        MessageRole::System => "System",
        MessageRole::Tool => "Tool",
    };
    let mut words = Words::new().ours("### ").ours(who);
    if !message.author.is_empty() {
        words = words.ours(" (").name(&message.author).ours(")");
    }
    words = words.ours(", ").data(&minute(message.said_at));
    if when == When::Earlier {
        words = words.ours(", earlier conversation");
    }
    if message.status.0 != MessageStatus::Completed {
        words = words.ours(", ").ours(message.status.0.word());
    }
    words.ours(", message ").data(&message.sequence.to_string()).into_text()
}

/// Returns the actions of a message, each an item of a list. Actions without a result are not shown.
fn actions(message: &Said) -> impl Iterator<Item = String> {
    message.actions.0.iter().filter(|action| is_done(action)).map(|action| {
        let Action { id: _, name, arguments, result, status } = action;
        let status = status.map_or("DONE", |Text(status)| status.word());
        let mut words = Words::indented(4).ours("- Action ").name(name).ours(", ").ours(status).ours("\n");
        for (what, value) in [("  - arguments: ", arguments), ("  - result: ", result)] {
            if !value.is_empty() {
                words = words.ours(what).data(value).ours("\n");
            }
        }
        words.into_text()
    })
}

fn place(message: &Said) -> Place {
    Place { conversation_id: message.conversation_id, sequence: message.sequence }
}

/// Returns a time to the minute, in UTC.
pub(super) fn minute(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

/// Returns the last messages of the customer, in the order in which they were said. `said` has the newest
/// first.
pub(super) fn last_of_customer(said: &[Said], count: usize) -> Vec<&str> {
    let mut texts: Vec<&str> = said
        .iter()
        .filter(|message| message.role.0 == MessageRole::User)
        .take(count)
        .map(|message| message.content.as_str())
        .collect();
    texts.reverse();
    texts
}
