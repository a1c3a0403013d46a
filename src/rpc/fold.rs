//! Folds texts for search and comparison: removes differences that do not matter to people.
//!
//! There is one folding. Searches, filters and keys all use it, so that they agree on which texts are the same.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// How often a text is folded at most until nothing changes. Two times are enough for every character; this only
/// bounds the loop.
const MAX_FOLDS: usize = 4;

/// Marks above, below and within letters that people omit: accents, and the vowel signs of Hebrew and Arabic. The
/// marks of other scripts are letters of their own, as in Hindi, Thai and Japanese.
const LEFT_OUT: &[RangeInclusive<char>] = &[
    '\u{300}'..='\u{36f}',
    '\u{483}'..='\u{487}',
    '\u{591}'..='\u{5bd}',
    '\u{5bf}'..='\u{5bf}',
    '\u{5c1}'..='\u{5c2}',
    '\u{5c4}'..='\u{5c5}',
    '\u{5c7}'..='\u{5c7}',
    '\u{610}'..='\u{61a}',
    '\u{64b}'..='\u{65f}',
    '\u{670}'..='\u{670}',
    '\u{6d6}'..='\u{6dc}',
    '\u{6df}'..='\u{6e4}',
    '\u{6e7}'..='\u{6e8}',
    '\u{6ea}'..='\u{6ed}',
    '\u{1ab0}'..='\u{1aff}',
    '\u{1dc0}'..='\u{1dff}',
    '\u{20d0}'..='\u{20ff}',
    '\u{fe20}'..='\u{fe2f}',
    // Invisible characters: soft hyphens, joiners, directions, variants, and the Arabic line that stretches words.
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{640}'..='\u{640}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
];

/// The zeros of scripts that have digits of their own, each followed by the other nine.
const ZEROS: &[char] = &[
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{17e0}',
    '\u{1810}', '\u{ff10}',
];

/// Removes case, accents, compatibility forms (width, ligatures) and needless white space from a text. `ß` becomes
/// `ss`, a final `ς` becomes `σ`, `ł` becomes `l`, `æ` becomes `ae`. Dashes, apostrophes and digits of all kinds
/// become those of ASCII. Folding a folded text changes nothing.
pub fn fold(text: &str) -> String {
    let folded = step(text);
    // An ASCII text needs no second fold.
    if folded.is_ascii() { folded } else { settle(&folded, step) }
}

/// One step towards the folded text.
fn step(text: &str) -> String {
    if text.is_ascii() {
        return spaced(&text.to_ascii_lowercase());
    }
    let mut folded = String::with_capacity(text.len());
    // Case is folded through capitals, which have no ligatures and no final forms.
    let characters = text.chars().map(sign).nfkd().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    for character in characters.nfkd().filter(|character| !is_left_out(*character)) {
        match letters(character) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(digit(character).unwrap_or(character)),
        }
    }
    spaced(&folded.nfc().collect::<String>())
}

/// Returns the text with one space between its words.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push_str(word);
    }
    spaced
}

/// Returns the ASCII sign that people write instead of a dash or an apostrophe.
fn sign(character: char) -> char {
    match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '´' | '\u{1ffd}' | '\u{2b9}'..='\u{2bc}' | '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{ff07}' => '\'',
        other => other,
    }
}

fn is_left_out(character: char) -> bool {
    character > '\u{7f}' && LEFT_OUT.iter().any(|range| range.contains(&character))
}

/// Returns the ASCII digit with the value of a decimal digit of another script.
pub fn digit(character: char) -> Option<char> {
    if character.is_ascii() {
        return Some(character).filter(char::is_ascii_digit);
    }
    let value = ZEROS
        .iter()
        .find_map(|zero| u32::from(character).checked_sub(u32::from(*zero)).filter(|value| *value < 10));
    value.and_then(|value| char::from_digit(value, 10))
}

/// Returns what people write instead of a small letter that Unicode does not decompose.
fn letters(character: char) -> Option<&'static str> {
    Some(match character {
        'ł' | 'ƚ' => "l",
        'ø' | 'ɵ' => "o",
        'đ' | 'ð' | 'ɖ' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ƀ' => "b",
        'ǥ' => "g",
        'ɨ' | 'ı' => "i",
        'ɉ' => "j",
        'ĸ' => "k",
        'ɍ' => "r",
        'ʉ' => "u",
        'ƶ' => "z",
        'ŋ' => "n",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        // Arabic and Persian keyboards differ in these letters, and writers in a hurry confuse them.
        '\u{671}' => "\u{627}",
        '\u{629}' => "\u{647}",
        '\u{649}' | '\u{6cc}' => "\u{64a}",
        '\u{6a9}' => "\u{643}",
        _ => return None,
    })
}

/// Applies `step` until the text does not change any more.
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

/// Returns an e-mail address in the form for comparison: without case, and with the domain in DNS form. Accents are
/// kept: they make a different address.
pub fn address(address: &str) -> String {
    match address.trim().rsplit_once('@') {
        Some((local, name)) => format!("{}@{}", caseless(local), domain(name)),
        None => caseless(address.trim()),
    }
}

/// Returns a domain in DNS form: `müller.example` becomes `xn--mller-kva.example`.
pub fn domain(name: &str) -> String {
    let plain = caseless(name);
    idna::domain_to_ascii_cow(plain.as_bytes(), idna::AsciiDenyList::EMPTY)
        .map_or(plain.clone(), Cow::into_owned)
}

/// Removes case and compatibility forms from a text.
fn caseless(text: &str) -> String {
    text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect()
}

/// Returns a text as a key of an index, whose entries must be short. A text of more than `max_bytes` bytes becomes
/// its beginning and its hash.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_makes_no_difference_to_people_is_folded() {
        for (text, same) in [
            ("Single Origin", "  single\u{a0}\u{a0}origin "),
            ("Straße", "STRASSE"),
            ("STRAẞE", "strasse"),
            ("ﬁne ①", "FINE 1"),
            ("ÇA", "c\u{327}a"),
            ("Café", "CAFE"),
            ("Cafe\u{301}", "café"),
            ("ΟΔΥΣΣΕΎΣ", "οδυσσευς"),
            ("Łódź", "lodz"),
            ("Ørsted & Æther", "ORSTED & AETHER"),
            ("Đặng", "dang"),
            ("cœur", "COEUR"),
            ("ＡＢＣ　１２３", "abc 123"),
            ("ｶﾞｽ", "ガス"),
            ("İstanbul ISPARTA", "istanbul ısparta"),
            ("O’Brien", "o'brien"),
            ("O´Brien", "o'brien"),
            ("Wi\u{2011}Fi – 9018—2017", "wi-fi - 9018-2017"),
            ("Co\u{ad}op\u{200b}", "coop"),
            ("٠٣٠ ۱۲۳", "030 123"),
            ("مُحَمَّد", "محمد"),
            ("אֶחָד", "אחד"),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ] {
            assert_eq!(fold(text), fold(same), "{text}");
        }
        for (one, other) in [("C", "C++"), ("か", "が"), ("कि", "का"), ("กา", "กี"), ("", "x")]
        {
            assert_ne!(fold(one), fold(other), "{one} and {other} differ");
        }
        assert_eq!(fold("Łódź Straße"), "lodz strasse");
    }

    #[test]
    fn every_character_is_folded_like_its_other_forms() {
        // Hangul, whose eleven thousand syllables are all decomposed in the same way, has a case above. So does the
        // single acute accent, which people use as an apostrophe.
        let others = |character: &char| !matches!(character, '\u{ac00}'..='\u{d7a3}' | '´' | '\u{1ffd}');
        for character in ('\0'..=char::MAX).filter(others) {
            let text = character.to_string();
            if text.chars().nfkd().eq(text.chars()) && text.to_uppercase() == text.to_lowercase() {
                continue;
            }
            let folded = fold(&text);
            assert_eq!(fold(&folded), folded, "{character:?} is folded at once");
            assert_eq!(fold(&text.to_uppercase()), folded, "{character:?} in capitals");
            assert_eq!(fold(&text.to_lowercase()), folded, "{character:?} in small letters");
            assert_eq!(fold(&text.nfd().collect::<String>()), folded, "{character:?} taken apart");
            assert_eq!(fold(&text.nfkc().collect::<String>()), folded, "{character:?} put together");
        }
    }

    proptest! {
        #[test]
        fn a_folded_text_is_folded(text in "\\PC{0,60}") {
            let folded = fold(&text);
            prop_assert_eq!(&fold(&folded), &folded);
            prop_assert_eq!(fold(&text.nfd().collect::<String>()), folded);
        }
    }

    #[test]
    fn addresses_differ_by_accents_and_not_by_case() {
        for (one, same) in [
            ("Info@Firma.DE", "info@firma.de"),
            ("jürgen@müller.example", "JÜRGEN@xn--mller-kva.example"),
            ("ju\u{308}rgen@firma.de", "jürgen@firma.de"),
        ] {
            assert_eq!(address(one), address(same));
        }
        assert_ne!(address("jürgen@firma.de"), address("jurgen@firma.de"));
        assert_eq!(address("no address"), "no address");
    }

    #[test]
    fn a_long_text_is_known_by_its_hash() {
        let (one, other) = ("é".repeat(600), format!("{}e", "é".repeat(599)));
        assert_eq!(key(one.clone(), 1_200), one);
        assert_eq!(key(one.clone(), 99).len(), 98 + 1 + 64, "no character is cut");
        assert_ne!(key(one, 99), key(other, 99));
    }
}
