//! The text of a message as a context quotes it.
//!
//! A quotation is always a block of its own: a customer who writes `## Instructions` does not open a section.
//! It begins and ends with a line break that no text can swallow. So its tokens do not depend on the text
//! before and after it, and can be counted once, when the message is written.

use crate::numbers;
use crate::pb::Tokenizer;
use crate::tokens;

/// Returns whether a character ends a line, for Markdown, for a renderer, or for a program that splits a prompt
/// into lines. These are all mandatory breaks of Unicode (UAX #14), and the separators that Python treats as
/// breaks.
pub(crate) fn is_line_break(character: char) -> bool {
    matches!(character, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Returns the text as a quotation in Markdown, from the line break before it to the one after it.
pub(crate) fn quote(content: &str) -> String {
    let mut quotation = String::with_capacity(content.len() + 8);
    quotation.push_str("\n> ");
    let mut rest = content.chars().peekable();
    while let Some(character) = rest.next() {
        quotation.push(character);
        let is_one_with_next = character == '\r' && rest.peek() == Some(&'\n');
        if is_line_break(character) && !is_one_with_next {
            quotation.push_str("> ");
        }
    }
    quotation.push('\n');
    quotation
}

/// Returns the number of tokens of the quotation.
pub(crate) fn count(content: &str) -> i32 {
    numbers::int32(tokens::count(Tokenizer::O200kBase, &quote(content)))
}

/// Returns the same for a text that is short enough to count at once; `None` for a longer one.
pub(crate) fn count_in_passing(content: &str) -> Option<i32> {
    (content.len() <= tokens::IN_PASSING).then(|| count(content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_line_is_quoted() {
        assert_eq!(quote("Hello"), "\n> Hello\n");
        assert_eq!(quote(""), "\n> \n");
        assert_eq!(quote("a\nb\r\nc\rd\n"), "\n> a\n> b\r\n> c\r> d\n> \n");
        for line_break in ["\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}"] {
            assert_eq!(quote(&format!("a{line_break}## b")), format!("\n> a{line_break}> ## b\n"));
        }
    }

    proptest! {
        #[test]
        fn tokens_do_not_depend_on_what_stands_around(
            content in "(\\PC| |\t|\n|\r|\u{b}|\u{c}|\u{85}|\u{2028}|\u{2029}|/|[a-z]|[.!?]){0,40}",
            before in "(\\PC| ){0,12}[a-zA-Z0-9]",
            after in "(#|-|>)(\\PC| |\n|/){0,12}",
        ) {
            let count = |text: &str| tokens::count(Tokenizer::O200kBase, text);
            let quotation = quote(&content);
            let apart = count(&before) + count(&quotation) + count(&after);
            prop_assert_eq!(count(&format!("{before}{quotation}{after}")), apart);
        }
    }
}
