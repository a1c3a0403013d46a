//! Decisions about customers that need no database.

use deunicode::deunicode;

use super::store::ContentPreferences;
use crate::rpc::fold::fold;

/// Characters of a slug at most: a label of the domain name system.
pub(crate) const MAX_SLUG: usize = 63;

/// Characters that a made slug leaves for a number: `-` and up to seven digits.
const ROOM_FOR_NUMBER: usize = 8;

/// The slug of a name that has no letter or digit.
const NAMELESS: &str = "customer";

/// Bytes of a name that count in the order of names. A token of a page has them, as JSON and then as base64, and
/// tokens have 1 KiB at most. One character may fold to eighteen, so the limit of names is no such bound.
const MAX_SORT_NAME: usize = 320;

/// What a customer of this name is ordered by: the beginning of the folded name. Names that are equal so far are
/// ordered by id.
pub(crate) fn sort_name(name: &str) -> String {
    let mut folded = fold(name);
    folded.truncate(folded.floor_char_boundary(MAX_SORT_NAME));
    folded
}

/// The BCP 47 tag of the language that comes first to a customer; empty when it says none.
pub(crate) fn language(preferences: &ContentPreferences) -> &str {
    preferences.languages.first().map_or("", String::as_str)
}

/// The slug that a name suggests: `Café Zoë & Söhne` is `cafe-zoe-sohne`. It leaves room for a
/// number.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in deunicode(name).chars() {
        if slug.len() >= MAX_SLUG - ROOM_FOR_NUMBER {
            break;
        }
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !matches!(character, '\'' | '`') && !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { NAMELESS.to_owned() } else { slug.to_owned() }
}

/// The `number`th customer of that slug, from 1.
pub(crate) fn numbered(slug: &str, number: u32) -> String {
    if number <= 1 { slug.to_owned() } else { format!("{slug}-{number}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_are_ordered_by_is_bounded_in_whole_characters() {
        assert_eq!(sort_name("Café Zoë"), "cafe zoe");
        for name in ["\u{fdfa}".repeat(256), "\u{4e2d}".repeat(256), "x".repeat(256), "\u{1f600}".repeat(256)]
        {
            let sort_name = sort_name(&name);
            assert!(fold(&name).starts_with(&sort_name), "{sort_name}");
            assert!(sort_name.len() <= MAX_SORT_NAME && sort_name.len() > 250, "{} bytes", sort_name.len());
        }
    }

    #[test]
    fn slugs_are_transliterated() {
        for (name, expected) in [
            ("Café Zoë", "cafe-zoe"),
            ("  Müller & Söhne GmbH ", "muller-sohne-gmbh"),
            ("O'Brien's", "obriens"),
            ("北京烤鸭", "bei-jing-kao-ya"),
            ("Привет", "privet"),
            ("---", "customer"),
            ("😀", "grinning"),
            ("\u{200b}", "customer"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
        assert_eq!(numbered("cafe-zoe", 1), "cafe-zoe");
        assert_eq!(numbered("cafe-zoe", 2), "cafe-zoe-2");
    }

    proptest! {
        #[test]
        fn every_name_has_a_valid_slug(name in "\\PC{0,300}", number in 1..9_999_999u32) {
            let slug = numbered(&slug(&name), number);
            prop_assert!(slug.len() <= MAX_SLUG);
            prop_assert!(slug.starts_with(|first: char| first.is_ascii_alphanumeric()));
            prop_assert!(slug.ends_with(|last: char| last.is_ascii_alphanumeric()));
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            prop_assert!(slug.bytes().all(allowed), "{slug}");
        }
    }
}
