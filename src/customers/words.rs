//! The lexemes of the search vectors of customers, and queries for them.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use unicode_normalization::char::is_combining_mark;
use uuid::Uuid;

use super::model::Customer;
use super::phone::{self, Form};
use crate::rpc::fold::{self, fold};
use crate::rpc::split::{self, Piece};

/// The limit of words by which a customer is found. A description of full length has fewer different ones. The
/// limit bounds the index for a text that is not in any language.
const MAX_WORDS: usize = 1_000;

/// The limit of characters of a word: no language has longer words.
const MAX_WORD: usize = 48;

/// The limit of words of a query: more words find nothing that fewer would not.
const MAX_QUERY_WORDS: usize = 16;

/// The conditions of a list on the search vectors. All of them must hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Words, addresses and numbers, as a person types them.
    pub(crate) query: &'a str,
    pub(crate) tags: &'a [String],
    /// A whole address; empty for any.
    pub(crate) email: &'a str,
    /// A whole number; empty for any.
    pub(crate) phone: &'a str,
}

/// Returns the lexemes of a customer's search vector: the words of its texts, its tags, its address and its
/// numbers.
pub(crate) fn lexemes(tenant: Uuid, customer: &Customer) -> Vec<String> {
    let mark = Mark::of(tenant);
    let (forms, beside) = phone::stored(&customer.phone, &customer.address.0.country_code);
    let texts = [
        &customer.business_name,
        &customer.contact_name,
        &customer.email,
        &beside,
        &customer.business_context.0.description,
    ];
    let tags = &customer.tags.0;
    let words = texts.into_iter().chain(tags).flat_map(|text| words(text)).map(|word| mark.word(&word));
    let mut found = BTreeSet::new();
    for word in words {
        if found.len() >= MAX_WORDS {
            break;
        }
        found.insert(word);
    }
    found.extend(tags.iter().map(|tag| mark.tag(tag)));
    found.extend(forms.iter().map(|form| mark.number(form)));
    if !customer.email.is_empty() {
        let address = fold::address(&customer.email);
        found.extend(address.rsplit_once('@').map(|(_, domain)| mark.domain(domain)));
        found.insert(mark.address(&address));
    }
    found.into_iter().collect()
}

/// The customers that meet all conditions, as a query of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    /// The text of a tsquery.
    pub(crate) tsquery: String,
    /// The beginning of the lexeme, if the query is for one word.
    only_word: Option<String>,
}

impl Search {
    /// Returns the beginning of the lexeme that is searched for; `None` if the search has other conditions.
    pub(crate) fn only_word(&self) -> Option<&str> {
        self.only_word.as_deref()
    }
}

/// Returns the search for customers that meet all conditions; `None` if there is no condition.
///
/// Every word must be a prefix of some word of the customer. An address must be the customer's whole one. For a
/// number, the customer may have any form of it.
pub(crate) fn search(tenant: Uuid, asked: Asked<'_>) -> Option<Search> {
    let mark = Mark::of(tenant);
    let Asked { query, tags, email, phone } = asked;
    let (addresses, rest) = addresses(&mark, query);
    let (numbers, rest) = phone::in_text(&rest);
    let numbers = numbers.iter().map(|number| {
        // It may also be something else, such as a postal code.
        let words = distinct(number.written()).map(|word| begins_with(&mark.word(&word))).collect::<Vec<_>>();
        let beginnings = number.beginnings();
        let whole = number.exactly();
        let forms = beginnings.iter().map(|form| begins_with(&mark.number(form)));
        let forms = forms.chain(whole.iter().map(|form| quote(&mark.number(form))));
        any_of([words.join(" & ")].into_iter().chain(forms))
    });
    let words: Vec<_> = distinct(&rest).map(|word| mark.word(&word)).collect();
    let begun = words.iter().map(|word| begins_with(word));
    let typed: Vec<_> = addresses.into_iter().chain(numbers).chain(begun).take(MAX_QUERY_WORDS).collect();
    let tags = tags.iter().map(|tag| quote(&mark.tag(tag)));
    let email = (!email.is_empty()).then(|| quote(&mark.address(&fold::address(email))));
    let (phones, _) = phone::all(phone);
    let phones =
        phones.iter().map(|number| any_of(number.exactly().iter().map(|form| quote(&mark.number(form)))));
    let terms: Vec<_> = typed.into_iter().chain(tags).chain(email).chain(phones).collect();
    let only_word = <[String; 1]>::try_from(words).ok().filter(|_| terms.len() == 1).map(|[word]| word);
    (!terms.is_empty()).then(|| Search { tsquery: terms.join(" & "), only_word })
}

/// Returns whether a query has any word. `%` has none, and finds no customer.
pub(crate) fn has_words(query: &str) -> bool {
    !words(query).is_empty()
}

/// Returns the words of a text by Unicode's rules (UAX 29), and the parts of words with signs in them. For
/// example, `example.com` is also `example` and `com`. A text without spaces between words gives its pairs of
/// characters and its last character, so that every character is a prefix of something.
fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words = Vec::new();
    for piece in split::pieces(&folded) {
        match piece {
            Piece::Word(word) => {
                words.push(cut(word));
                words.extend(split::parts(word).filter(|part| part.len() < word.len()).map(cut));
            }
            Piece::Run(run) => {
                words.extend(split::pairs(run).map(cut));
                words.extend(run.chars().next_back().map(String::from));
            }
        }
    }
    words
}

/// Returns the different words of a query.
fn distinct(text: &str) -> impl Iterator<Item = String> {
    words(text).into_iter().collect::<BTreeSet<_>>().into_iter()
}

fn cut(word: &str) -> String {
    word.chars().take(MAX_WORD).collect()
}

/// Returns terms for the whole addresses and domains (`@firma.de`) of a query, and the rest of it.
fn addresses(mark: &Mark, query: &str) -> (Vec<String>, String) {
    let (mut terms, mut rest) = (Vec::new(), Vec::new());
    for token in query.split_whitespace() {
        let bare = token.trim_matches(|end| matches!(end, '<' | '>' | '(' | ')' | ',' | ';' | '"' | '.'));
        let bare = bare.strip_prefix("mailto:").unwrap_or(bare);
        match bare.rsplit_once('@').filter(|(_, domain)| is_domain(domain)) {
            Some(("", domain)) => terms.push(quote(&mark.domain(&fold::domain(domain)))),
            Some(_) => terms.push(quote(&mark.address(&fold::address(bare)))),
            None => rest.push(token),
        }
    }
    (terms, rest.join(" "))
}

/// Returns whether a text is a whole domain, of at least two labels.
fn is_domain(text: &str) -> bool {
    let is_sign =
        |character: char| character.is_alphanumeric() || is_combining_mark(character) || character == '-';
    text.contains('.') && text.split('.').all(|label| !label.is_empty() && label.chars().all(is_sign))
}

/// The prefix of all lexemes of a tenant: the whole of its id. So one GIN index keeps tenants apart, and no
/// tenant can have an id whose lexemes are another tenant's.
struct Mark(String);

impl Mark {
    fn of(tenant: Uuid) -> Self {
        Self(URL_SAFE_NO_PAD.encode(tenant.as_bytes()))
    }

    fn word(&self, word: &str) -> String {
        format!("{}/{word}", self.0)
    }

    fn tag(&self, tag: &str) -> String {
        format!("{}#{tag}", self.0)
    }

    fn address(&self, address: &str) -> String {
        format!("{}@{address}", self.0)
    }

    fn domain(&self, domain: &str) -> String {
        format!("{}@@{domain}", self.0)
    }

    fn number(&self, form: &Form) -> String {
        let (kind, digits) = match form {
            Form::International(digits) => ('+', digits),
            Form::National(digits) => ('0', digits),
            Form::Unplaced(digits) => ('?', digits),
            Form::Reversed(digits) => ('~', digits),
        };
        format!("{}{kind}{digits}", self.0)
    }
}

fn begins_with(lexeme: &str) -> String {
    format!("{}:*", quote(lexeme))
}

/// Returns an alternative of these terms. Empty terms are left out.
fn any_of(terms: impl Iterator<Item = String>) -> String {
    let terms: Vec<_> = terms.filter(|term| !term.is_empty()).collect();
    format!("({})", terms.join(" | "))
}

/// Quotes a lexeme as the input syntax of tsquery requires.
fn quote(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

    fn typed(query: &str) -> Option<String> {
        tsquery(Asked { query, ..Asked::default() })
    }

    fn tsquery(asked: Asked<'_>) -> Option<String> {
        search(Uuid::from_u128(1), asked).map(|search| search.tsquery)
    }

    proptest! {
        #[test]
        fn every_word_of_a_text_is_found_again(text in "\\PC{0,200}") {
            let stored = words(&text);
            for piece in split::pieces(&fold(&text)) {
                for found in words(piece.text()) {
                    prop_assert!(stored.iter().any(|word| word.starts_with(&found)), "{piece:?} gives {found:?}");
                }
            }
        }

        #[test]
        fn tenants_have_marks_of_their_own(one in any::<u128>(), bit in 0..128_u32) {
            let other = one ^ (1 << bit);
            let (one, other) = (Mark::of(Uuid::from_u128(one)), Mark::of(Uuid::from_u128(other)));
            prop_assert!(one.0 != other.0 && one.0.len() == 22);
        }
    }

    #[test]
    fn words_have_no_case_and_no_accents() {
        assert_eq!(words("Café ZOË"), ["cafe", "zoe"]);
        assert_eq!(words("zoe@cafe-zoe.example"), ["zoe", "cafe", "zoe.example", "zoe", "example"]);
        assert_eq!(words("北京烤鸭"), ["北京", "京烤", "烤鸭", "鸭"]);
        assert!(words("% _ \\ ' & | ! ()").iter().all(|word| word == "_"));
        assert!(!has_words("%"));
    }

    #[test]
    fn a_query_is_quoted() {
        let tags = ["it's \\ 'x' | y".to_owned()];
        let query = tsquery(Asked { query: "zo'e", tags: &tags, ..Asked::default() });
        let expected =
            format!("'{MARK}/e':* & '{MARK}/zo':* & '{MARK}/zo''e':* & '{MARK}#it''s \\\\ ''x'' | y'");
        assert_eq!(query, Some(expected));
        assert_eq!(typed(" "), None);
    }

    #[test]
    fn whole_addresses_are_asked_for_as_such() {
        assert_eq!(typed("Info@Firma.de"), Some(format!("'{MARK}@info@firma.de'")));
        assert_eq!(typed("<info@firma.de>, "), typed("mailto:info@firma.de"));
        assert_eq!(typed("@firma.de"), Some(format!("'{MARK}@@firma.de'")));
        assert_eq!(
            typed("firma.de"),
            Some(format!("'{MARK}/de':* & '{MARK}/firma':* & '{MARK}/firma.de':*"))
        );
        assert_eq!(typed("info@firma"), Some(format!("'{MARK}/firma':* & '{MARK}/info':*")), "not whole yet");
    }

    #[test]
    fn numbers_are_asked_for_in_all_forms_and_as_words() {
        let query = typed("zoe 9018-2017").expect("a query");
        assert!(query.starts_with(&format!("('{MARK}/2017':* & '{MARK}/9018':* | ")), "{query}");
        assert!(query.contains(&format!("'{MARK}~71028109':*")), "{query}");
        assert!(query.ends_with(&format!(" & '{MARK}/zoe':*")), "{query}");
        let phone = |phone| tsquery(Asked { phone, ..Asked::default() });
        assert_eq!(phone("+49 30 9018-2017"), Some(format!("('{MARK}+493090182017' | '{MARK}?3090182017')")));
        assert_eq!(phone("0049 30 90182017"), phone("+49 30 9018-2017"));
        assert_eq!(phone("030 9018-2017"), Some(format!("('{MARK}03090182017')")));
        assert_eq!(phone("110"), Some(format!("('{MARK}0110')")));
    }
}
