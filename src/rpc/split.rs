//! Splits texts into the words by which they are found.
//!
//! Most scripts have spaces between words, and Unicode defines where words begin and end (UAX 29). Chinese, Japanese,
//! Thai and others have no spaces, and only a dictionary knows their words. Such a run of characters is found by its
//! pairs of neighbours: every word of it consists of such pairs, in any language.

use std::ops::RangeInclusive;

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// Scripts without spaces between words. Korean belongs to them because its words end in particles: people who search
/// for 배송 must find 배송은.
const UNSPACED: &[RangeInclusive<char>] = &[
    // Thai, Lao
    '\u{e01}'..='\u{eff}',
    // Burmese
    '\u{1000}'..='\u{109f}',
    // Khmer
    '\u{1780}'..='\u{17ff}',
    // Iteration marks of Chinese and Japanese, kana, bopomofo
    '\u{3005}'..='\u{3007}',
    '\u{3031}'..='\u{3035}',
    '\u{3041}'..='\u{312f}',
    '\u{31f0}'..='\u{31ff}',
    // Han
    '\u{3400}'..='\u{4dbf}',
    '\u{4e00}'..='\u{9fff}',
    '\u{f900}'..='\u{faff}',
    '\u{20000}'..='\u{3ffff}',
    // Hangul
    '\u{ac00}'..='\u{d7a3}',
];

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A word between spaces or signs.
    Word(&'a str),
    /// Characters without spaces between their words.
    Run(&'a str),
}

impl<'a> Piece<'a> {
    /// The text of the piece.
    pub fn text(self) -> &'a str {
        let (Self::Word(text) | Self::Run(text)) = self;
        text
    }
}

/// Returns the words and runs of a text, in order.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    spans(text).flat_map(|(is_run, span)| {
        let run = is_run.then_some(Piece::Run(span));
        let words = if is_run { "" } else { span };
        run.into_iter().chain(words.unicode_words().map(Piece::Word))
    })
}

/// Splits a text into the longest unspaced and spaced parts.
fn spans(text: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_run = is_unspaced(rest.chars().next()?);
        let end = rest.find(|character| is_unspaced(character) != is_run).unwrap_or(rest.len());
        let (span, after) = rest.split_at(end);
        rest = after;
        Some((is_run, span))
    })
}

fn is_unspaced(character: char) -> bool {
    UNSPACED.iter().any(|range| range.contains(&character))
        && (character.is_alphanumeric() || is_combining_mark(character))
}

/// Returns the pairs of neighbours of a run; a run of one character is its only part.
pub fn pairs(run: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = run.char_indices().map(|(start, _)| start).chain([run.len()]).collect();
    let width = starts.len().min(3);
    let pairs: Vec<&str> = starts
        .windows(width)
        .filter_map(|window| run.get(*window.first()?..*window.last()?))
        .filter(|pair| !pair.is_empty())
        .collect();
    pairs.into_iter()
}

/// Returns the parts of a word that contains signs: `example.com` is also `example` and `com`. Numbers stay whole.
pub fn parts(word: &str) -> impl Iterator<Item = &str> {
    let is_within = |character: char| character.is_alphanumeric() || is_combining_mark(character);
    let is_number = !word.chars().any(char::is_alphabetic);
    word.split(move |character| !is_number && !is_within(character)).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_runs_are_told_apart() {
        use Piece::{Run, Word};
        for (text, expected) in [
            ("Where are you?", vec![Word("Where"), Word("are"), Word("you")]),
            ("你们周六送货吗？", vec![Run("你们周六送货吗")]),
            ("iPhone手机, 3.5寸", vec![Word("iPhone"), Run("手机"), Word("3.5"), Run("寸")]),
            ("土曜日・配達", vec![Run("土曜日"), Run("配達")]),
            ("배송은 언제?", vec![Run("배송은"), Run("언제")]),
            ("เปิดกี่โมง", vec![Run("เปิดกี่โมง")]),
            ("", vec![]),
            ("%&!", vec![]),
        ] {
            assert_eq!(pieces(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn a_run_is_its_pairs() {
        assert_eq!(pairs("周六送货").collect::<Vec<_>>(), ["周六", "六送", "送货"]);
        assert_eq!(pairs("茶").collect::<Vec<_>>(), ["茶"]);
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn signs_part_words_but_no_numbers_and_no_letters() {
        assert_eq!(parts("zoe.example").collect::<Vec<_>>(), ["zoe", "example"]);
        assert_eq!(parts("l'adresse").collect::<Vec<_>>(), ["l", "adresse"]);
        assert_eq!(parts("3.50").collect::<Vec<_>>(), ["3.50"]);
        assert_eq!(parts("पुस्तक").collect::<Vec<_>>(), ["पुस्तक"]);
    }
}
