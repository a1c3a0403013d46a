//! The limits on texts in a context, which may be far longer than a context.
//!
//! The result of a tool may have 256 KiB, and an analysis hundreds. An item is in a context as a whole or not
//! at all. So one such text would keep out a message, and all messages before it. These texts are cut, always
//! to the same lengths, whether Postgres has cut them before or not. A text that is cut ends with `…`.

use super::model::Params;
use crate::conversations::analyses::store::Analysis;
use crate::conversations::messages::store::latest::Said;
use crate::conversations::store::briefs::{ANALYSIS, Brief};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::numbers;
use crate::pb::ContextFormat;

/// The limit of actions of a message that are shown. An agent that called more tools at once says in its text
/// what they returned.
pub(super) const ACTIONS: usize = 20;

/// The number of tokens of a budget for each character of an action's arguments, and of its result.
const TOKENS_PER_CHARACTER: i64 = 2;

/// The minimum and the maximum of characters of each.
const CHARACTERS: (i64, i64) = (500, 8_000);

/// The end of a text that is cut.
const MARK: char = '…';

impl Params {
    /// Returns how many characters of an action's arguments, and of its result, are shown.
    pub(super) fn characters(&self) -> usize {
        let (least, most) = CHARACTERS;
        numbers::size((self.max_tokens / TOKENS_PER_CHARACTER).clamp(least, most))
    }
}

/// Cuts a message to the part that is shown.
pub(super) fn message(said: &mut Said, params: &Params) {
    let Json(actions) = &mut said.actions;
    actions.truncate(ACTIONS);
    for action in actions {
        // In a chat, arguments must be JSON.
        if shorten(&mut action.arguments, params.characters()) && params.format == ContextFormat::ChatMessages
        {
            action.arguments = serde_json::json!({ "cut": action.arguments }).to_string();
        }
        shorten(&mut action.result, params.characters());
    }
}

/// Cuts a conversation to the part that is shown.
pub(super) fn brief(brief: &mut Brief) {
    let Some(Json(analysis)) = &mut brief.latest_analysis else { return };
    let Analysis { summary, topics: Texts(topics), questions: Texts(questions), objections, .. } = analysis;
    shorten(summary, ANALYSIS.summary);
    topics.truncate(ANALYSIS.texts);
    questions.truncate(ANALYSIS.texts);
    for question in questions {
        shorten(question, ANALYSIS.characters);
    }
    for objection in &mut objections.0 {
        shorten(&mut objection.evidence, ANALYSIS.characters);
    }
}

/// Cuts a text that has more characters. Returns whether it did.
fn shorten(text: &mut String, characters: usize) -> bool {
    let Some((end, _)) = text.char_indices().nth(characters) else { return false };
    text.truncate(end);
    text.push(MARK);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters_and_says_so() {
        for (text, cut) in [("", ""), ("äöü", "äöü"), ("äöüß", "äöü…"), ("abcdef", "abc…")] {
            let mut text = text.to_owned();
            shorten(&mut text, 3);
            assert_eq!(text, cut);
        }
    }
}
