//! Decisions about customers that need no database: slugs, and words to find them by.

use std::collections::BTreeSet;

use deunicode::deunicode;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;
use uuid::Uuid;

use super::store::{ContentPreferences, Customer};

/// Characters of a slug at most: a label of the domain name system.
pub(crate) const MAX_SLUG: usize = 63;

/// Characters that a made slug leaves for a number: `-` and up to seven digits.
const ROOM_FOR_NUMBER: usize = 8;

/// The slug of a name that has no letter or digit.
const NAMELESS: &str = "customer";

/// Words that a customer is found by at most. A description of full length has fewer different
/// ones; this bounds the index for one that is no language.
const MAX_WORDS: usize = 1_000;

/// Characters of a word that count: no language's words are longer, and what is longer is no word.
const MAX_WORD: usize = 48;

/// Words of a query at most; more find nothing that fewer would not.
const MAX_QUERY_WORDS: usize = 16;

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

/// A text without case and accents, for order and search.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkd().filter(|character| !is_combining_mark(*character)).flat_map(char::to_lowercase).collect()
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

/// The lexemes of a customer's search vector: the words of its texts, and its tags.
pub(crate) fn lexemes(tenant: Uuid, customer: &Customer) -> Vec<String> {
    let mark = mark(tenant);
    let texts = [
        &customer.business_name,
        &customer.contact_name,
        &customer.email,
        &customer.business_context.0.description,
    ];
    let tags = &customer.tags.0;
    let mut found = BTreeSet::new();
    for text in texts.into_iter().chain(tags) {
        for word in words(text) {
            if found.len() >= MAX_WORDS {
                break;
            }
            found.insert(word_lexeme(&mark, &word));
        }
    }
    found.extend(tags.iter().map(|tag| tag_lexeme(&mark, tag)));
    found.into_iter().collect()
}

/// The text of a tsquery for customers that have, for every word of `query`, a word that starts
/// with it, and all of `tags`. Nothing where there is nothing to look for.
pub(crate) fn tsquery(tenant: Uuid, query: &str, tags: &[String]) -> Option<String> {
    let mark = mark(tenant);
    let words: BTreeSet<_> = words(query).into_iter().take(MAX_QUERY_WORDS).collect();
    let words = words.iter().map(|word| format!("{}:*", quote(&word_lexeme(&mark, word))));
    let tags = tags.iter().map(|tag| quote(&tag_lexeme(&mark, tag)));
    let terms: Vec<_> = words.chain(tags).collect();
    (!terms.is_empty()).then(|| terms.join(" & "))
}

/// Whether a query has a word in it at all. `%` has none, and finds nobody.
pub(crate) fn has_words(query: &str) -> bool {
    !words(query).is_empty()
}

/// The words of a text by Unicode's rules (UAX 29), and the parts of words that have signs within:
/// `example.com` is also `example` and `com`.
fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words = Vec::new();
    for word in folded.unicode_words() {
        words.push(cut(word));
        let parts = word.split(|character: char| !character.is_alphanumeric());
        words.extend(parts.filter(|part| !part.is_empty() && part.len() < word.len()).map(cut));
    }
    words
}

fn cut(word: &str) -> String {
    word.chars().take(MAX_WORD).collect()
}

/// What the lexemes of a tenant begin with, so that the index keeps tenants apart and the planner
/// knows how common a word is within one. Two tenants may share a mark: the tenant is asked for as
/// well.
fn mark(tenant: Uuid) -> String {
    let (high, low) = tenant.as_u64_pair();
    let mixed = high ^ low;
    format!("{:08x}", (mixed ^ (mixed >> 32)) & 0xffff_ffff)
}

fn word_lexeme(mark: &str, word: &str) -> String {
    format!("{mark}/{word}")
}

fn tag_lexeme(mark: &str, tag: &str) -> String {
    format!("{mark}#{tag}")
}

/// A lexeme as tsquery's input syntax quotes it.
fn quote(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
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

        #[test]
        fn every_word_of_a_text_is_found_again(text in "\\PC{0,200}") {
            let stored = words(&text);
            for word in fold(&text).unicode_words() {
                for found in words(word) {
                    prop_assert!(stored.contains(&found), "{word:?} gives {found:?}");
                }
            }
        }
    }

    #[test]
    fn words_have_no_case_and_no_accents() {
        assert_eq!(words("Café ZOË"), ["cafe", "zoe"]);
        assert_eq!(words("zoe@cafe-zoe.example"), ["zoe", "cafe", "zoe.example", "zoe", "example"]);
        assert!(words("% _ \\ ' & | ! ()").iter().all(|word| word == "_"));
        assert!(!has_words("%"));
    }

    #[test]
    fn a_query_is_quoted() {
        let tenant = Uuid::from_u128(1);
        let query = tsquery(tenant, "zo'e", &["it's \\ 'x' | y".to_owned()]);
        assert_eq!(
            query.as_deref(),
            Some("'00000001/e':* & '00000001/zo':* & '00000001/zo''e':* & '00000001#it''s \\\\ ''x'' | y'")
        );
        assert_eq!(tsquery(tenant, " ", &[]), None);
    }
}
