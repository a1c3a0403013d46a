//! Texts by which things are recognised: without what makes no difference to people.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// How often a text is folded until nothing changes any more. Two times do for every character; this is
/// the bound of the loop.
const MAX_FOLDS: usize = 4;

/// One step to a text without compatibility forms, case and needless white space. Case is folded by way of
/// capitals, which makes `ß` the same as `ss`.
pub fn fold(text: &str) -> String {
    let folded: String =
        text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is left of a text when another `step` changes nothing any more.
pub fn settle(text: &str, step: impl Fn(&str) -> String) -> String {
    let mut settled = step(text);
    for _ in 1..MAX_FOLDS {
        let again = step(&settled);
        if again == settled {
            break;
        }
        settled = again;
    }
    settled
}

/// A text as a key of an index, which takes no long ones: what is longer than so many bytes is known by its
/// beginning and its hash.
pub fn key(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let hash = Sha256::digest(text.as_bytes());
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('#');
        for byte in hash {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_make_no_difference() {
        for (text, same) in [
            ("Single Origin", "  single\u{a0}\u{a0}origin "),
            ("Straße", "STRASSE"),
            ("ﬁne ①", "FINE 1"),
            ("ÇA", "c\u{327}a"),
        ] {
            assert_eq!(settle(text, fold), settle(same, fold));
        }
        assert_ne!(settle("C", fold), settle("C++", fold), "signs do");
        assert_ne!(settle("Café", fold), settle("Cafe", fold), "so do accents");
    }

    #[test]
    fn a_long_text_is_known_by_its_hash() {
        let (one, other) = ("é".repeat(600), format!("{}e", "é".repeat(599)));
        assert_eq!(key(one.clone(), 1_200), one);
        assert_eq!(key(one.clone(), 99).len(), 98 + 1 + 64, "no character is cut");
        assert_ne!(key(one, 99), key(other, 99));
    }
}
