//! Telephone numbers as people write them.

use std::ops::Range;
use std::str::FromStr;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, Region};

use crate::rpc::fold;

/// The number of digits from which a text within another is a telephone number, and not a year or a house
/// number.
const MIN_DIGITS: usize = 5;

/// The number of digits from which both sides of a slash are numbers of their own: `030/90182017` is one
/// number.
const MIN_DIGITS_BESIDE_A_SLASH: usize = 6;

/// The limit of numbers of a text that count.
const MAX_NUMBERS: usize = 8;

/// The limit of characters of E.164: a plus and 15 digits.
const MAX_E164: usize = 16;

/// The beginning of a number that is dialled with its country code.
const INTERNATIONAL: [&str; 2] = ["+", "00"];

/// A telephone number within a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Number {
    /// The place of the number in the folded text.
    place: Range<usize>,
    written: String,
}

/// A form of a number by which a customer is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// All digits with the country code.
    International(String),
    /// All digits without the country code and without leading zeros.
    National(String),
    /// The same as `National`, for a number with an unknown country.
    Unplaced(String),
    /// The digits from the last to the first, so that its prefix is the end of the number.
    Reversed(String),
}

impl Number {
    /// Returns the folded text of the number.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// Returns the digits as they are written.
    fn digits(&self) -> String {
        self.written.chars().filter(char::is_ascii_digit).collect()
    }

    /// Returns the digits without the zeros that are dialled before them.
    fn significant(&self) -> String {
        self.digits().trim_start_matches('0').to_owned()
    }

    fn is_international(&self) -> bool {
        INTERNATIONAL.iter().any(|prefix| self.written.starts_with(prefix))
    }

    fn parse(&self, region: Option<Region>) -> Option<PhoneNumber> {
        let national = parse(&self.written, region);
        let international =
            || self.written.strip_prefix("00").and_then(|rest| parse(&format!("+{rest}"), None));
        national.or_else(international)
    }

    /// Returns the forms by which a customer in this country is found by the number.
    fn stored_forms(&self, region: Option<Region>) -> Vec<Form> {
        let written = self.significant();
        let Some(number) = self.parse(region) else {
            let reversed = Form::Reversed(reversed(&written));
            let forms = vec![Form::National(written.clone()), Form::Unplaced(written.clone()), reversed];
            let international = self.is_international().then_some(Form::International(written));
            return forms.into_iter().chain(international).collect();
        };
        let (international, national) = (digits_of(&number), significant_of(&number));
        // The number may have a prefix that only this country has, such as the 8 of Russia.
        let prefixed = (!international.ends_with(&written))
            .then(|| [Form::National(written.clone()), Form::Reversed(reversed(&written))]);
        let reversed = Form::Reversed(reversed(&international));
        let forms = [Form::International(international), Form::National(national), reversed];
        forms.into_iter().chain(prefixed.into_iter().flatten()).collect()
    }

    /// Returns the prefixes that find the number, however it is written.
    pub(crate) fn beginnings(&self) -> Vec<Form> {
        let digits = self.significant();
        // Russia and its neighbours dial an 8 before ten digits.
        let without_eight = digits.strip_prefix('8').filter(|rest| rest.len() == 10).map(reversed);
        let forms =
            [Form::Reversed(reversed(&digits)), Form::International(digits.clone()), Form::National(digits)];
        forms.into_iter().chain(without_eight.map(Form::Reversed)).collect()
    }

    /// Returns the forms that a customer with exactly this number has.
    pub(crate) fn exactly(&self) -> Vec<Form> {
        if !self.is_international() {
            return vec![Form::National(self.significant())];
        }
        match self.parse(None) {
            Some(number) => {
                vec![Form::International(digits_of(&number)), Form::Unplaced(significant_of(&number))]
            }
            None => vec![Form::International(self.significant())],
        }
    }
}

/// Returns the first number of a text in E.164, e.g. `+493090182017`, for a customer in this country; empty if
/// no number can be dialled.
pub(crate) fn e164(text: &str, country_code: &str) -> String {
    let region = Region::from_str(country_code).ok();
    let (numbers, _) = in_text(text);
    // A text with letters as digits, such as 1-800-FLOWERS, is read as a whole.
    let number =
        numbers.iter().find_map(|number| number.parse(region)).or_else(|| parse(&fold::fold(text), region));
    let e164 = number.map(|number| number.format_as(PhoneNumberFormat::E164).into_owned());
    e164.filter(|e164| e164.len() <= MAX_E164).unwrap_or_default()
}

/// Returns the forms by which a customer in this country is found by the text of its phone, and the rest of the
/// text.
pub(crate) fn stored(text: &str, country_code: &str) -> (Vec<Form>, String) {
    let region = Region::from_str(country_code).ok();
    let (numbers, rest) = all(text);
    (numbers.iter().flat_map(|number| number.stored_forms(region)).collect(), rest)
}

/// Returns the numbers of a text that is a telephone number, also a short one, and the rest of the text.
pub(crate) fn all(text: &str) -> (Vec<Number>, String) {
    let (numbers, rest) = in_text(text);
    if numbers.is_empty() && rest.contains(|character: char| character.is_ascii_digit()) {
        return (vec![Number { place: 0..rest.len(), written: rest }], String::new());
    }
    (numbers, rest)
}

/// Returns the numbers within a text, and the rest of the text, folded.
pub(crate) fn in_text(text: &str) -> (Vec<Number>, String) {
    // Each line has numbers of its own. Folding would turn the end of a line into a space.
    let folded = fold::fold(&text.replace(['\n', '\r'], ";"));
    let numbers: Vec<Number> =
        runs(&folded).flat_map(|run| numbers_of(&folded, run)).take(MAX_NUMBERS).collect();
    let mut rest = String::new();
    let mut end = 0;
    for number in &numbers {
        let before = folded.get(end..number.place.start).unwrap_or_default();
        rest.push_str(before.strip_suffix("tel:").unwrap_or(before));
        rest.push(' ');
        end = number.place.end;
    }
    rest.push_str(folded.get(end..).unwrap_or_default());
    (numbers, rest.trim().to_owned())
}

/// Returns the ranges of a folded text that consist of digits and the signs between them.
fn runs(folded: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = folded.get(from..)?;
            let start = from
                + rest
                    .find(|character: char| character.is_ascii_digit() || matches!(character, '+' | '('))?;
            let signs = |character: char| character.is_ascii_digit() || " -./()".contains(character);
            let run = folded.get(start..)?;
            let length = run.char_indices().skip(1).find(|(_, character)| !signs(*character));
            let length = length.map_or(run.len(), |(length, _)| length);
            from = start + length.max(1);
            let run =
                folded.get(start..from)?.trim_end_matches(|character: char| !character.is_ascii_digit());
            let place = start..start + run.len();
            let touches = folded.get(..start).is_some_and(|before| before.ends_with(char::is_alphabetic));
            let goes_on = goes_on(folded.get(place.end..).unwrap_or_default());
            if !touches && !goes_on && count(run) >= MIN_DIGITS {
                return Some(place);
            }
        }
    })
}

/// Returns whether a word goes on after its digits, as in `230907ab`. An extension, as in `x12`, is no part of a word.
fn goes_on(after: &str) -> bool {
    let extension = after.strip_prefix("ext").or_else(|| after.strip_prefix('x'));
    let digits = extension.map(|rest| rest.trim_start_matches(['.', ':', ' ']));
    after.starts_with(char::is_alphabetic)
        && !digits.is_some_and(|digits| digits.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// Returns the numbers of a run: more than one if slashes separate numbers of full length.
fn numbers_of(folded: &str, run: Range<usize>) -> Vec<Number> {
    let text = folded.get(run.clone()).unwrap_or_default();
    let whole = Number { place: run.clone(), written: text.to_owned() };
    if !text.split('/').all(|part| count(part) >= MIN_DIGITS_BESIDE_A_SLASH) {
        return vec![whole];
    }
    let mut start = run.start;
    let parts = text.split('/').map(|part| {
        let place = start..start + part.len();
        start = place.end + 1;
        Number { place, written: part.trim().to_owned() }
    });
    parts.collect()
}

fn count(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Returns a number that can be dialled. With its country code it may have any possible length; without one it
/// must be valid.
fn parse(text: &str, region: Option<Region>) -> Option<PhoneNumber> {
    let number = PHONE_NUMBER_UTIL.parse(text, region).ok()?;
    let is_possible = matches!(number.is_possible_with_reason(), Ok(NumberLengthType::IsPossible));
    let is_certain = text.trim_start().starts_with('+') || number.is_valid();
    (is_possible && is_certain).then_some(number)
}

fn digits_of(number: &PhoneNumber) -> String {
    format!("{}{}", number.country_code, number.get_national_significant_number())
}

fn significant_of(number: &PhoneNumber) -> String {
    number.get_national_significant_number().trim_start_matches('0').to_owned()
}

fn reversed(digits: &str) -> String {
    digits.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_that_begin_a_word_are_no_number() {
        for (text, count, rest) in [
            ("Café 230907ab", 0, "cafe 230907ab"),
            ("230907é", 0, "230907e"),
            ("4155552671x12", 1, "x12"),
            ("4155552671ext 12", 1, "ext 12"),
            ("230907, ab", 1, ", ab"),
        ] {
            let (numbers, left) = in_text(text);
            assert_eq!((numbers.len(), left.as_str()), (count, rest), "{text}");
        }
    }

    #[test]
    fn numbers_as_people_write_them_have_one_form() {
        for (text, country, expected) in [
            ("+49 30 9018-2017", "", "+493090182017"),
            ("030 9018-2017", "DE", "+493090182017"),
            ("030/90182017", "DE", "+493090182017"),
            ("(030) 9018.2017", "DE", "+493090182017"),
            ("00493090182017", "DE", "+493090182017"),
            ("00493090182017", "", "+493090182017"),
            ("+49 (0)30 9018-2017", "AT", "+493090182017"),
            ("+49 30 9018-2017 ext. 89", "", "+493090182017"),
            ("+49 30 9018-2017 Durchwahl 89", "", "+493090182017"),
            ("+49\u{a0}30\u{a0}9018\u{2013}2017", "", "+493090182017"),
            ("tel:+49-30-9018-2017;ext=89", "", "+493090182017"),
            ("Tel. 030 90182017", "DE", "+493090182017"),
            ("030 90182017 / 0171 2345678", "DE", "+493090182017"),
            ("030 90182017\n0171 2345678", "DE", "+493090182017"),
            ("+49 30 90182017; +49 171 2345678", "", "+493090182017"),
            ("Büro: +49 30 90182017 (Mo-Fr)", "", "+493090182017"),
            ("＋４９　３０　９０１８２０１７", "", "+493090182017"),
            ("٠٣٠٩٠١٨٢٠١٧", "DE", "+493090182017"),
            ("+٩٦٦ ٥٠ ١٢٣ ٤٥٦٧", "", "+966501234567"),
            ("  +49 30 90182017\t", "", "+493090182017"),
            ("(415) 555-2671", "US", "+14155552671"),
            ("415.555.2671x12", "US", "+14155552671"),
            ("1-800-FLOWERS", "US", "+18003569377"),
            ("8 (495) 123-45-67", "RU", "+74951234567"),
            ("06 6982", "IT", "+39066982"),
            ("030 9018-2017", "", ""),
            ("110", "DE", ""),
            ("no number", "DE", ""),
            ("+", "", ""),
            ("", "XX", ""),
        ] {
            assert_eq!(e164(text, country), expected, "{text} in {country:?}");
        }
    }

    /// Returns whether a customer with this phone is found by a text.
    fn finds(phone: &str, country: &str, query: &str) -> bool {
        let (stored, _) = stored(phone, country);
        let (asked, _) = in_text(query);
        let has = |number: &Number| {
            number.beginnings().iter().any(|beginning| {
                stored.iter().any(|form| match (form, beginning) {
                    (Form::International(form), Form::International(asked))
                    | (Form::National(form), Form::National(asked))
                    | (Form::Reversed(form), Form::Reversed(asked)) => form.starts_with(asked.as_str()),
                    _ => false,
                })
            }) || number.exactly().iter().any(|asked| stored.contains(asked))
        };
        !asked.is_empty() && asked.iter().all(has)
    }

    #[test]
    fn a_number_is_found_by_any_of_its_forms() {
        let forms = [
            "+49 30 9018-2017",
            "00493090182017",
            "493090182017",
            "030 9018 2017",
            "(030) 9018-2017",
            "030/90182017",
            "9018-2017",
            "90182017",
            "+49 30 9018",
            "tel:+49-30-9018-2017",
        ];
        for query in forms {
            for (phone, country) in [
                ("+49 30 9018-2017", ""),
                ("030 90182017", "DE"),
                ("00493090182017", "AT"),
                ("x 030-9018 2017 x", "DE"),
            ] {
                assert!(finds(phone, country, query), "{phone} by {query}");
            }
        }
        for query in ["00493090182017", "030 9018 2017", "9018-2017"] {
            assert!(finds("030 90182017", "", query), "{query}: of a number whose country nobody knows");
        }
        for phone in ["8 (495) 123-45-67", "+7 495 123 45 67"] {
            assert!(
                finds(phone, "RU", "8 (495) 123-45-67") && finds(phone, "RU", "+7 495 1234567"),
                "{phone}"
            );
        }
        assert!(finds("030 90182017 / 0171 2345678", "DE", "+49 171 2345678"), "the second one");
        assert!(!finds("+49 30 9018-2017", "", "9018-2018"));
        assert!(!finds("+49 30 9018-2017", "", "+43 30 9018-2017"));
    }

    #[test]
    fn what_is_no_number_stays_text() {
        let (numbers, rest) = in_text("Café Zoë 1897, tel:+49 30 9018-2017 ext. 89");
        assert_eq!((numbers.len(), rest.as_str()), (1, "cafe zoe 1897,   ext. 89"));
        assert_eq!(in_text("a12345 100% 10-20").0, []);
        assert_eq!(all("110").0.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "[+0-9 ()./x#;,\\-a-z\\u{660}-\\u{669}\\u{a0}é]{0,40}", country in "[A-Z]{2}") {
            let e164 = e164(&text, &country);
            prop_assert!(e164.is_empty() || e164.starts_with('+') && e164.len() <= 16, "{e164}");
            let (forms, _) = stored(&text, &country);
            prop_assert!(forms.len() <= 5 * MAX_NUMBERS);
        }
    }
}
