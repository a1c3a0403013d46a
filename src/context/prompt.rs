//! A context as text for a model.

use super::item::{Call, Item, Turn};
use super::model::{Context, Part};
use crate::pb::{ContextFormat, ContextSectionKind, Tokenizer};
use crate::tokens;

/// The tokens that a chat model adds to each message, for its beginning, its role and its end. OpenAI documents
/// the number in the cookbook's "How to count tokens with tiktoken".
const PER_TURN: i64 = 4;

/// The tokens around the call of a tool: for its beginning, its kind and its end.
const PER_CALL: i64 = 4;

/// The tokens that a chat model adds for the beginning of its reply.
const PER_REPLY: i64 = 3;

/// Returns the line above a section. The line after it begins with a sign, so that their tokens add up.
pub(super) fn heading(kind: ContextSectionKind) -> &'static str {
    match kind {
        ContextSectionKind::Unspecified => "",
        ContextSectionKind::Profile => "## Customer\n",
        ContextSectionKind::BusinessContext => "## Business\n",
        ContextSectionKind::BrandVoice => "## Brand voice\n",
        ContextSectionKind::ContentPreferences => "## Content preferences\n",
        ContextSectionKind::Summary => "## Conversations so far\n",
        ContextSectionKind::Objections => "## Open objections\n",
        ContextSectionKind::FollowUps => "## Follow-ups\n",
        ContextSectionKind::Interest => "## Interest and outcomes\n",
        ContextSectionKind::Faqs => "## FAQs\n",
        ContextSectionKind::QuestionsToAsk => "## Questions to ask\n",
        ContextSectionKind::QuestionsNotToAsk => "## Not to ask\n",
        ContextSectionKind::RecentMessages => "## Recent messages\n",
    }
}

/// Returns the tokens that a format has with any content.
pub(super) fn frame(format: ContextFormat) -> i64 {
    match format {
        ContextFormat::ChatMessages => PER_TURN + PER_REPLY,
        _ => 0,
    }
}

/// Returns the tokens of turns of a chat.
pub(super) fn cost(turns: &[Turn], tokenizer: Tokenizer) -> i64 {
    let count = |text: &str| tokens::recall(tokenizer, text);
    let call = |Call { id, name, arguments }: &Call| count(id) + count(name) + count(arguments) + PER_CALL;
    let said = |turn: &Turn| match turn {
        Turn::System(content) | Turn::User(content) => count(content),
        Turn::Assistant { content, calls } => count(content) + calls.iter().map(call).sum::<i64>(),
        Turn::Tool { call_id, content } => count(call_id) + count(content),
    };
    turns.iter().map(|turn| said(turn) + PER_TURN).sum()
}

/// Returns the context as one text.
pub(super) fn markdown(context: &Context) -> String {
    let mut text = String::new();
    for part in &context.parts {
        push(&mut text, part, |_| true);
    }
    text
}

/// Returns the context as a chat: the known facts as a message of the system, then the turns of the present
/// conversation.
pub(super) fn chat(context: &Context) -> Vec<Turn> {
    let mut known = String::new();
    let mut turns = Vec::new();
    for part in &context.parts {
        push(&mut known, part, |item| item.turns.is_none());
        turns.extend(part.told().into_iter().filter_map(|item| item.turns.clone()).flatten());
    }
    let system = (!known.is_empty()).then_some(Turn::System(known));
    system.into_iter().chain(turns).collect()
}

/// Returns the tokens of a chat, and of the beginning of the reply.
pub(super) fn cost_of_chat(turns: &[Turn], tokenizer: Tokenizer) -> i64 {
    if turns.is_empty() { 0 } else { cost(turns, tokenizer) + PER_REPLY }
}

fn push(text: &mut String, part: &Part, told: impl Fn(&Item) -> bool) {
    let mut items = part.told().into_iter().filter(|item| told(item)).peekable();
    if items.peek().is_some() {
        text.push_str(heading(part.kind));
        text.extend(items.map(|item| item.text.as_str()));
    }
}

impl Part {
    /// Returns the items that are in the context, in the order of the text. Messages are in the order in which
    /// they were said. All other items come with the most important first.
    pub(super) fn told(&self) -> Vec<&Item> {
        let mut items: Vec<&Item> = self
            .items
            .iter()
            .zip(&self.chosen)
            .filter(|(_, chosen)| **chosen)
            .map(|(item, _)| item)
            .collect();
        if self.kind == ContextSectionKind::RecentMessages {
            items.reverse();
        }
        items
    }
}
