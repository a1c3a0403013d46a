//! How much a context tells of texts that may be far longer than a context.
//!
//! What a tool gave back may have 256 KiB, and an analysis hundreds. An item is there as a whole or not at all,
//! so that one such text would keep a message out, and all messages before it. These are cut, to the same
//! lengths whether Postgres has done so before or not. A text that is cut ends with `…`.

use super::actions::Wish;
use crate::conversations::analyses::store::Analysis;
use crate::conversations::messages::store::latest::Said;
use crate::conversations::store::briefs::{ANALYSIS, Brief};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::pb::ContextFormat;

/// Actions of a message that are told: an agent that called more tools at once says in its text what came of
/// them.
pub(super) const ACTIONS: usize = 20;

/// Tokens of a budget for each character that is told of an action's arguments, and of its result.
const TOKENS_PER_CHARACTER: i64 = 2;

/// Characters that are told of each, at least and at most.
const CHARACTERS: (i64, i64) = (500, 8_000);

/// What a text that is cut ends with.
const MARK: char = '…';

impl Wish {
    /// Characters that are told of an action's arguments, and of its result.
    pub(super) fn characters(&self) -> usize {
        let (least, most) = CHARACTERS;
        usize::try_from((self.max_tokens / TOKENS_PER_CHARACTER).clamp(least, most)).unwrap_or(0)
    }
}

/// Leaves of a message what is told of it.
pub(super) fn message(said: &mut Said, wish: &Wish) {
    let Json(actions) = &mut said.actions;
    actions.truncate(ACTIONS);
    for action in actions {
        // To a chat, arguments are JSON.
        if shorten(&mut action.arguments, wish.characters()) && wish.format == ContextFormat::ChatMessages {
            action.arguments = serde_json::json!({ "cut": action.arguments }).to_string();
        }
        shorten(&mut action.result, wish.characters());
    }
}

/// Leaves of a conversation what is told of it.
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

/// Cuts a text that has more characters, and says whether it had.
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
