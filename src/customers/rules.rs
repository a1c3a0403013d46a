//! Decisions about customers that need no database.

use deunicode::deunicode;

use uuid::Uuid;

use super::model::{ContentPreferences, ExternalId};
use crate::error::{Error, Result};
use crate::rpc::fold::fold;

/// The limit of characters of a slug: a label of the domain name system.
pub(crate) const MAX_SLUG: usize = 63;

/// The number of characters that a made slug leaves for a number: `-` and up to seven digits.
const ROOM_FOR_NUMBER: usize = 8;

/// The slug of a name without letters and digits.
const NAMELESS: &str = "customer";

/// The beginning of the slug of a customer without a name.
const VISITOR: &str = "visitor";

/// The number of bytes of a visitor's id that are in its slug. They are from its end, which is random: visitors
/// are many, and would otherwise all look for one free number.
const VISITOR_BYTES: usize = 6;

/// Names that follow a customer in URLs, such as `/customers/{customer_id}/ai-context`. They are not slugs, so
/// that `/customers/slug/{slug}` has only one meaning. The contract has the same list as a rule of
/// `Customer.slug`.
pub(crate) const RESERVED_SLUGS: [&str; 15] = [
    "ai-context",
    "brand-voice",
    "business-context",
    "campaigns",
    "consents",
    "contacts",
    "content-preferences",
    "conversations",
    "customer-faqs",
    "duplicates",
    "faqs",
    "interest-events",
    "interest-scores",
    "pending-questions",
    "purchases",
];

/// The key after all names in their order: the largest code point. It is not a character of any script, so only
/// a name that begins with it comes later.
const AFTER_ALL_NAMES: &str = "\u{10ffff}";

/// The limit of tags of a customer, as in the contract.
const MAX_TAGS: usize = 50;

/// The limit of bytes of a name that count for the order. The token of a page has them, as JSON and then as
/// base64, and a token has at most 1 KiB. One character may fold to eighteen, so the limit of names is not
/// enough.
const MAX_SORT_NAME: usize = 320;

/// Returns the key by which a customer of this name is ordered: the beginning of the folded name. Names with
/// the same beginning are ordered by id. A customer without a name comes last.
pub(crate) fn sort_name(name: &str) -> String {
    if name.is_empty() {
        return AFTER_ALL_NAMES.to_owned();
    }
    let mut folded = fold(name);
    folded.truncate(folded.floor_char_boundary(MAX_SORT_NAME));
    folded
}

/// Returns the BCP 47 tag of a customer's first language; empty if it has none.
pub(crate) fn language(preferences: &ContentPreferences) -> &str {
    preferences.languages.first().map_or("", String::as_str)
}

/// Returns the slug that a name suggests: `Café Zoë & Söhne` is `cafe-zoe-sohne`. It leaves room for a number.
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

/// Returns the slug of a customer without a name.
pub(crate) fn visitor_slug(id: Uuid) -> String {
    let bytes = id.as_bytes();
    let random = bytes.iter().skip(bytes.len() - VISITOR_BYTES);
    random.fold(format!("{VISITOR}-"), |slug, byte| format!("{slug}{byte:02x}"))
}

/// Returns the slug of the `number`th customer of that name, from 1. A reserved slug has no first one.
pub(crate) fn numbered(slug: &str, number: u32) -> String {
    match number.max(if RESERVED_SLUGS.contains(&slug) { 2 } else { 1 }) {
        1 => slug.to_owned(),
        number => format!("{slug}-{number}"),
    }
}

/// Checks that the external ids of a customer are different.
///
/// # Errors
///
/// The first id that occurs twice.
pub(crate) fn check_external_ids(ids: &[ExternalId]) -> Result<()> {
    let twice =
        (0..ids.len()).find(|index| ids.iter().take(*index).any(|before| Some(before) == ids.get(*index)));
    match twice {
        None => Ok(()),
        Some(index) => {
            let field = format!("customer.external_ids[{index}]");
            Err(Error::invalid(field, "repeated.unique", "is there twice; name each id once"))
        }
    }
}

/// Returns the tags of a customer with more: the present ones, and then those that are new.
///
/// # Errors
///
/// If there are more than a customer may have.
pub(crate) fn with_tags(present: &[String], added: &[String]) -> Result<Vec<String>> {
    let mut tags = present.to_vec();
    for tag in added {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    match tags.len() {
        0..=MAX_TAGS => Ok(tags),
        count => {
            let description = format!("would make {count} tags of the customer; it may have {MAX_TAGS}");
            Err(Error::invalid("tags", "repeated.max_items", description))
        }
    }
}

/// Returns the tags of a customer without those in `removed`.
pub(crate) fn without_tags(present: &[String], removed: &[String]) -> Vec<String> {
    present.iter().filter(|tag| !removed.contains(tag)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::validate::validate;
    use crate::pb;

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
        assert_eq!(numbered("ai-context", 1), "ai-context-2");
        assert_eq!(numbered("ai-context", 3), "ai-context-3");
        assert_eq!(visitor_slug(Uuid::from_u128(0xabcd_ef01_2345_6789)), "visitor-ef0123456789");
    }

    #[test]
    fn visitors_come_after_all_names() {
        for name in ["zoe", "\u{4e2d}", "\u{1f600}", "\u{e000}"] {
            assert!(sort_name(name) < sort_name(""), "{name}");
        }
    }

    #[test]
    fn the_contract_reserves_the_same_slugs() {
        let rule = |slug: &str| {
            let customer = pb::Customer { slug: slug.to_owned(), ..Default::default() };
            validate(&customer).is_ok()
        };
        assert!(RESERVED_SLUGS.iter().all(|slug| !rule(slug)));
        assert!(rule("ai-context-2") && rule("zoe"));
    }

    #[test]
    fn tags_are_a_set() {
        let tags = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let present = tags(&["a", "b"]);
        assert_eq!(with_tags(&present, &tags(&["c", "b", "c"])).expect("few"), tags(&["a", "b", "c"]));
        assert_eq!(without_tags(&present, &tags(&["c", "a"])), tags(&["b"]));
        let many: Vec<_> = (0..49).map(|number: u32| number.to_string()).collect();
        assert_eq!(with_tags(&many, &tags(&["x"])).expect("50").len(), 50);
        with_tags(&many, &tags(&["x", "y"])).expect_err("51");
    }

    #[test]
    fn an_id_that_is_there_twice_is_named() {
        let id = |source: &str, id: &str| ExternalId { source: source.to_owned(), id: id.to_owned() };
        check_external_ids(&[id("a", "1"), id("a", "2"), id("b", "1")]).expect("different");
        let error = check_external_ids(&[id("a", "1"), id("b", "1"), id("a", "1")]).expect_err("twice");
        assert!(error.to_string().contains("customer.external_ids[2]"), "{error}");
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
