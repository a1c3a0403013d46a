//! The answers of the tools as Markdown, within a budget of tokens. No I/O.

pub(super) mod context;
pub(super) mod conversations;
pub(super) mod customers;
pub(super) mod faqs;
pub(super) mod questions;

use std::fmt::Write;

use prost_types::Timestamp;

use super::trouble::Trouble;
use crate::contract::Word;
use crate::conversations::messages::quote::is_line_break;
use crate::pb::Tokenizer;
use crate::times;
use crate::tokens;

/// What stands where something was cut.
const CUT: &str = " …";

/// The tokens of [`CUT`], and of what may form at its seam.
const TOKENS_OF_CUT: i64 = 3;

/// More bytes than a token of ordinary text has. Where text is cut to tokens, it is cut to this many bytes for each
/// before it is counted.
const BYTES_OF_TOKEN: usize = 8;

/// Parts of an answer that together never have more tokens than its budget.
#[derive(Debug)]
pub(super) struct Answer {
    parts: Vec<String>,
    left: i64,
}

impl Answer {
    /// Creates an empty answer.
    pub(super) fn new(budget: i64) -> Self {
        Self { parts: Vec::new(), left: budget }
    }

    /// Adds a part, whole or not at all. Returns whether it had room.
    pub(super) fn add(&mut self, part: String) -> bool {
        let tokens = count(&part);
        let fits = tokens <= self.left;
        if fits {
            self.left -= tokens;
            self.parts.push(part);
        }
        fits
    }

    /// Adds a part, cut to what is left.
    pub(super) fn add_cut(&mut self, part: &str) {
        let part = cut(part, self.left);
        self.left -= count(&part);
        self.parts.push(part);
    }

    /// Adds parts in their order until one has no room. Of the first one, as much is added as fits. Returns how many
    /// were added.
    pub(super) fn add_all(&mut self, parts: impl IntoIterator<Item = String>) -> usize {
        let mut added = 0;
        for part in parts {
            if !self.add(part.clone()) {
                if added == 0 {
                    self.add_cut(&part);
                    added = 1;
                }
                break;
            }
            added += 1;
        }
        added
    }

    /// Keeps tokens for what is added last.
    pub(super) fn keep(&mut self, tokens: i64) {
        self.left -= tokens;
    }

    /// Returns kept tokens.
    pub(super) fn release(&mut self, tokens: i64) {
        self.left += tokens;
    }

    /// Turns the parts from this one on round.
    pub(super) fn reverse_from(&mut self, first: usize) {
        self.parts.get_mut(first..).unwrap_or_default().reverse();
    }

    /// The number of parts.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The tokens that are left.
    pub(super) fn left(&self) -> i64 {
        self.left
    }

    /// Returns the text.
    pub(super) fn text(self) -> String {
        self.parts.concat().trim_end().to_owned()
    }
}

/// Returns the number of tokens of a text.
pub(super) fn count(text: &str) -> i64 {
    tokens::count(Tokenizer::O200kBase, text)
}

/// Returns a text with at most this many tokens; what was cut ends with `…`.
fn cut(text: &str, tokens: i64) -> String {
    let room = usize::try_from(tokens.max(0)).unwrap_or(usize::MAX);
    let mut end = text.floor_char_boundary(room.saturating_mul(BYTES_OF_TOKEN));
    if end == text.len() && count(text) <= tokens {
        return text.to_owned();
    }
    let room = tokens - TOKENS_OF_CUT;
    while end > 0 {
        let kept = text.get(..end).unwrap_or_default();
        let has = count(kept);
        if has <= room {
            return format!("{}{CUT}\n", kept.trim_end());
        }
        // In proportion, and always by one character at least.
        let share =
            end.saturating_mul(usize::try_from(room.max(0)).unwrap_or(0)) / usize::try_from(has).unwrap_or(1);
        end = text.floor_char_boundary(share.min(end - 1));
    }
    String::new()
}

/// Runs work that counts the tokens of about this many bytes of text, without holding up calls that share the thread.
///
/// # Errors
///
/// If it panics.
pub(super) async fn counting<R: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Trouble> {
    if bytes <= tokens::IN_PASSING {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| {
        Trouble::new("The answer could not be written: an internal error. Ask with a smaller max_tokens.")
    })
}

/// Returns a text on one line, without what is beyond this many characters.
fn short(text: &str, characters: usize) -> String {
    let text = one_line(text);
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Returns a text on one line, so that a text of a customer begins no line of an answer.
pub(super) fn one_line(text: &str) -> String {
    let ends_word = |character: char| character.is_whitespace() || is_line_break(character);
    text.split(ends_word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns the word of an enum as the tools write it; empty for `UNSPECIFIED`.
pub(super) fn word<W: Word>(value: i32) -> String {
    let word = W::try_from(value).ok().map(Word::word).filter(|word| W::from_word(word).is_some());
    word.unwrap_or_default().to_lowercase()
}

/// Returns a time to the minute, in UTC.
pub(super) fn minute(time: Option<&Timestamp>) -> String {
    times::optional(time).map(|time| time.format("%Y-%m-%d %H:%MZ").to_string()).unwrap_or_default()
}

/// Returns a number of things, such as `1 message` and `2 messages`.
pub(super) fn number_of(count: i32, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Joins what is not empty.
pub(super) fn joined<'p>(parts: impl IntoIterator<Item = &'p str>, separator: &str) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(separator)
}

/// Adds a sentence to a text, with a space between.
pub(super) fn sentence(text: &mut String, sentence: std::fmt::Arguments<'_>) {
    if !text.is_empty() {
        text.push(' ');
    }
    // A `String` takes everything.
    let _ = text.write_fmt(sentence);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_never_has_more_than_its_budget(
            budget in 20_i64..400,
            parts in prop::collection::vec("(\\PC|[a-z ]|\n|#|\\*| ){0,400}", 0..12),
        ) {
            let mut answer = Answer::new(budget);
            answer.add_all(parts.iter().map(|part| format!("- {part}\n")));
            prop_assert!(count(&answer.text()) <= budget);
        }

        #[test]
        fn what_is_cut_is_a_beginning(text in "(\\PC|[a-z]{1,9} |\n){0,300}", tokens in 0_i64..200) {
            let cut = cut(&text, tokens);
            prop_assert!(count(&cut) <= tokens.max(0), "{} of {tokens}", count(&cut));
            let kept = cut.trim_end().strip_suffix('…').unwrap_or(&cut).trim_end();
            prop_assert!(text.starts_with(kept));
        }
    }

    #[test]
    fn the_first_part_is_cut_and_later_ones_are_left_out() {
        let mut answer = Answer::new(30);
        assert_eq!(answer.add_all(["word ".repeat(100), "second".to_owned()]), 1);
        assert!(answer.text().ends_with('…'));
        let mut answer = Answer::new(30);
        assert_eq!(answer.add_all(["first\n".to_owned(), "word ".repeat(100), "third".to_owned()]), 1);
        assert_eq!(answer.text(), "first");
    }

    #[test]
    fn words_and_times_are_short() {
        assert_eq!(word::<crate::pb::CustomerStatus>(1), "lead");
        assert_eq!(word::<crate::pb::CustomerStatus>(0), "");
        assert_eq!(word::<crate::pb::CustomerStatus>(99), "");
        assert_eq!(minute(Some(&Timestamp { seconds: 1_764_485_579, nanos: 5 })), "2025-11-30 06:52Z");
        assert_eq!(minute(None), "");
        assert_eq!((number_of(1, "time"), number_of(0, "time")), ("1 time".to_owned(), "0 times".to_owned()));
        assert_eq!(one_line(" a\n b\t c\u{1c}\u{2028}d "), "a b c d");
    }
}
