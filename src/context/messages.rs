//! Messages as items of a context.

use chrono::{DateTime, Utc};

use super::item::{Item, Place, Role, Turn, indent};
use crate::conversations::messages::quote::quote;
use crate::conversations::messages::store::Action;
use crate::conversations::messages::store::latest::Said;
use crate::pb::{ActionStatus, ContextResourceType, MessageRole, MessageStatus, Tokenizer};
use crate::rpc::words::{Text, Word};
use crate::tokens;

/// In which conversation something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// In the present one.
    Present,
    /// In one before it.
    Earlier,
}

/// Messages that belong together, in the order in which they were said: one, and the results of the
/// tools that it called.
struct Unit<'s>(Vec<&'s Said>);

/// The messages of one conversation as items, the newest first, as far back as there is no hole. They
/// come the newest first.
///
/// What a tool gave back belongs to the message before it. Where that one was not read, the result is not
/// an item either.
pub(super) fn items(said: &[Said], when: When, tokenizer: Tokenizer) -> Vec<Item> {
    let mut items = Vec::new();
    let mut results = Vec::new();
    for message in said.iter().filter(|message| message.status.0 != MessageStatus::InProgress) {
        results.push(message);
        if message.role.0 != MessageRole::Tool || message.sequence == 1 {
            results.reverse();
            items.push(Unit(std::mem::take(&mut results)).item(when, tokenizer));
        }
    }
    items
}

/// The messages of a conversation, newest first, that are still being written.
pub(super) fn in_progress(said: &[Said]) -> Vec<i64> {
    let open = said.iter().filter(|message| message.status.0 == MessageStatus::InProgress);
    open.map(|message| message.sequence).collect()
}

impl Unit<'_> {
    fn item(&self, when: When, tokenizer: Tokenizer) -> Item {
        let mut text = String::new();
        let mut count = 0;
        for message in &self.0 {
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
        Item {
            text,
            tokens: count,
            about: self.0.first().map(|first| (ContextResourceType::Message, first.id)),
            turns: match when {
                When::Present => self.0.iter().map(|message| turn(message)).collect(),
                When::Earlier => Vec::new(),
            },
            places: self.0.iter().map(|message| place(message)).collect(),
            ..Item::default()
        }
    }
}

/// The line above a message. It ends with a digit, so that its tokens do not run into the text.
fn head(message: &Said, when: When) -> String {
    let who = match message.role.0 {
        MessageRole::User => "Customer",
        MessageRole::Assistant | MessageRole::Unspecified => "Assistant",
        MessageRole::Agent => "Agent",
        MessageRole::System => "System",
        MessageRole::Tool => "Tool",
    };
    let author = match message.author.as_str() {
        "" => String::new(),
        author => format!(" ({author})"),
    };
    let state = match message.status.0 {
        MessageStatus::Completed => String::new(),
        status => format!(", {}", status.word()),
    };
    let conversation = match when {
        When::Present => "",
        When::Earlier => ", earlier conversation",
    };
    let time = minute(message.said_at);
    format!("### {who}{author}, {time}{conversation}{state}, message {}", message.sequence)
}

/// What was done for a message, an item of a list each. What has no result yet is not told.
fn actions(message: &Said) -> impl Iterator<Item = String> {
    message.actions.0.iter().filter(|action| is_done(action)).map(|action| {
        let Action { id: _, name, arguments, result, status } = action;
        let status = status.map_or("DONE", |Text(status)| status.word());
        let mut text = format!("- Action {name}, {status}\n");
        for (what, value) in [("arguments", arguments), ("result", result)] {
            if !value.is_empty() {
                text.push_str(&format!("  - {what}: {}\n", indent(value, 4)));
            }
        }
        text
    })
}

fn is_done(action: &Action) -> bool {
    let open = matches!(action.status, Some(Text(ActionStatus::Requested | ActionStatus::Running)));
    !open || !action.result.is_empty()
}

/// A message as a chat model takes it.
fn turn(message: &Said) -> Turn {
    let role = match message.role.0 {
        MessageRole::User => Role::User,
        MessageRole::Assistant | MessageRole::Agent | MessageRole::Unspecified => Role::Assistant,
        MessageRole::System | MessageRole::Tool => Role::System,
    };
    let mut content = message.content.clone();
    for action in actions(message) {
        if !content.is_empty() && !content.ends_with('\n') {
            content.push('\n');
        }
        content.push_str(&action);
    }
    if content.is_empty() {
        content.push_str("(no text)");
    }
    Turn { role, content }
}

fn place(message: &Said) -> Place {
    Place { conversation_id: message.conversation_id, sequence: message.sequence }
}

/// A time to the minute, in UTC.
pub(super) fn minute(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

/// The last messages of the customer among these, which come the newest first, in the order in which they
/// were said.
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
