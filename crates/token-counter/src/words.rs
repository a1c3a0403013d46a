//! Texts cut into words, and the counts of words that were seen before.

use std::cell::RefCell;

/// The longest word in bytes that is remembered. Most words are shorter, in any language.
const LONGEST: usize = 24;

/// The number of words that a thread remembers of an encoding: 52 KiB.
const PLACES: usize = 2_048;

/// Any odd number with mixed bits: words that differ get different places.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A word and its count. One without a count is an empty place.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    text: [u8; LONGEST],
    length: u8,
    count: u8,
}

/// The words that a thread remembers of an encoding.
#[derive(Debug, Default)]
pub(crate) struct Words(RefCell<Vec<Word>>);

/// Cuts a text before each space that is between two characters that are no whitespace.
///
/// No token reaches over such a place: in both encodings a space can only be the first character of a piece with other
/// characters. What is before it does not depend on what comes after it, so the tokens of a text are those of its words.
pub(crate) fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut cuts = text.match_indices(' ').map(|(at, _)| at).filter(|at| is_cut(text, *at));
    std::iter::from_fn(move || {
        let Some(at) = cuts.next() else {
            return (!rest.is_empty()).then(|| std::mem::take(&mut rest));
        };
        let (word, after) = rest.split_at_checked(at - (text.len() - rest.len()))?;
        rest = after;
        Some(word)
    })
}

/// Returns whether the space at this place is between two characters that are no whitespace.
fn is_cut(text: &str, at: usize) -> bool {
    let is_word = |next: Option<char>| next.is_some_and(|next| !next.is_whitespace());
    let before = text.get(..at).and_then(|before| before.chars().next_back());
    is_word(before) && is_word(text.get(at + 1..).and_then(|after| after.chars().next()))
}

impl Words {
    /// Returns the count of a word: a remembered one, or what `count` returns.
    pub(crate) fn count(&self, word: &str, count: impl FnOnce(&str) -> usize) -> usize {
        let Some(text) = padded(word) else { return count(word) };
        let mut words = self.0.borrow_mut();
        if words.is_empty() {
            words.resize(PLACES, Word::default());
        }
        let Some(place) = words.get_mut(place(&text)) else { return count(word) };
        if place.count > 0 && usize::from(place.length) == word.len() && place.text == text {
            return usize::from(place.count);
        }
        let count = count(word);
        // Neither is larger than the longest word.
        if let (Ok(length), Ok(short)) = (u8::try_from(word.len()), u8::try_from(count)) {
            *place = Word { text, length, count: short };
        }
        count
    }
}

/// Returns the bytes of a short word; `None` if it is too long to be remembered.
fn padded(word: &str) -> Option<[u8; LONGEST]> {
    let mut text = [0; LONGEST];
    text.get_mut(..word.len())?.copy_from_slice(word.as_bytes());
    Some(text)
}

/// Returns the place of a word.
fn place(text: &[u8; LONGEST]) -> usize {
    let (parts, _) = text.as_chunks::<8>();
    let mixed = parts
        .iter()
        .fold(0_u64, |mixed, part| (mixed ^ u64::from_le_bytes(*part)).wrapping_mul(MIX).rotate_left(29));
    usize::try_from(mixed % PLACES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_before_spaces_between_them() {
        let words = |text| cut(text).collect::<Vec<_>>();
        assert_eq!(words("Do you, Zoë?"), ["Do", " you,", " Zoë?"]);
        assert_eq!(words(" a  b\n c \u{a0}d "), [" a  b\n c \u{a0}d "]);
        assert_eq!(words("a b"), ["a", " b"]);
        assert_eq!(words(" "), [" "]);
        assert!(words("").is_empty());
    }

    #[test]
    fn a_word_is_counted_once() {
        let words = Words::default();
        assert_eq!(words.count("bread", |_| 1), 1);
        assert_eq!(words.count("bread", |_| panic!("counted again")), 1);
        let long = "b".repeat(LONGEST + 1);
        assert_eq!(words.count(&long, |_| 3), 3);
        assert_eq!(words.count(&long, |_| 4), 4);
    }

    #[test]
    fn a_word_is_not_another_that_ends_in_nul() {
        let words = Words::default();
        assert_eq!(words.count("a", |_| 1), 1);
        assert_eq!(words.count("a\0", |_| 2), 2);
    }
}
