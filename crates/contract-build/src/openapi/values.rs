//! The schema of one value: its type in JSON, and what its rules allow.

use prost_reflect::{EnumDescriptor, Kind, Value};
use regex::Regex;

use super::json::{Json, Object};
use crate::validation::options::{Ignore, Rules};
use crate::validation::{as_re2, pattern_example};

/// The pattern of a UUID, where an empty text is allowed as well.
const UUID_OR_EMPTY: &str = "^$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

/// The patterns with classes of Unicode, which many languages of clients do not have, and patterns that are the same there
/// or allow more. The service holds the first.
const PORTABLE: [(&str, &str); 5] = [
    (r"^\P{Cc}*$", r"^[^\x00-\x1f\x7f-\x9f]*$"),
    (r"[^\p{Z}\p{Cc}\p{Cf}]", r"\S"),
    (
        r"^\P{Cc}*[^\p{Z}\p{Cc}\p{Cf}]\P{Cc}*$",
        r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    ),
    (
        r"^[\P{Cc}\t\r\n]*\p{Nd}[\P{Cc}\t\r\n]*\p{Nd}[\P{Cc}\t\r\n]*$",
        r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]{2,}$",
    ),
    (
        r#"^[^\p{Z}\p{C}@<>()\[\]\\,;:"]+@[\p{L}\p{M}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?(\.[\p{L}\p{M}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?)*$"#,
        r#"^[^\s@<>()\[\]\\,;:"]+@[^\s@<>()\[\]\\,;:"]+$"#,
    ),
];

/// An example of a UUID.
pub(crate) const UUID: &str = "018f4e0a-7b7c-7000-8000-000000000000";

/// Returns the schema of a text with these rules. `examples` are what to show, the best first; the last is its name, for
/// texts with a pattern of which a viewer would make nonsense.
///
/// # Errors
///
/// If its pattern is not portable: the build fails with a text that names it.
pub(crate) fn text(mut rules: Rules, ignore: Ignore, examples: &[&str]) -> Result<Object, String> {
    let may_be_empty = ignore != Ignore::Unspecified;
    let mut schema = Object::new().with("type", "string").and(lengths(&mut rules, may_be_empty));
    let pattern = rules.take_text("pattern");
    if let Some(pattern) = &pattern {
        let pattern = portable(pattern)?;
        schema.set("pattern", if may_be_empty { format!("^$|{pattern}") } else { pattern });
    }
    let is_uuid = rules.take_switch("uuid");
    schema = schema.and(formats(&mut rules, is_uuid, may_be_empty));
    let words = words(&mut rules, may_be_empty);
    let refused = texts(rules.take_list("not_in"));
    let fits = |example: &&str| {
        words.is_empty()
            && !refused.iter().any(|word| word == example)
            && fits(&schema, pattern.as_deref(), example)
    };
    let example = candidates(examples, is_uuid, pattern.as_deref()).into_iter().find(fits).map(str::to_owned);
    Ok(schema
        .with_some("enum", words)
        .with_some("not", Object::new().with_some("enum", refused))
        .with_some("examples", example.into_iter().collect::<Vec<_>>()))
}

fn lengths(rules: &mut Rules, may_be_empty: bool) -> Object {
    let least = rules.take_size("min_len");
    let most = rules.take_size("max_len");
    let exactly = rules.take_size("len");
    let least = exactly.or(least).filter(|least| *least > 0 && !may_be_empty);
    let limits = [("minLength", least), ("maxLength", exactly.or(most))];
    limits.into_iter().filter_map(|(keyword, limit)| Some((keyword.to_owned(), limit?))).collect()
}

/// Returns the format, or, where an empty text is allowed as well, the pattern: no format has it.
fn formats(rules: &mut Rules, is_uuid: bool, may_be_empty: bool) -> Object {
    let others = ["email", "hostname", "uri"].into_iter().find(|rule| rules.take_switch(rule));
    match (is_uuid, may_be_empty) {
        (true, true) => Object::new().with("pattern", UUID_OR_EMPTY),
        (true, false) => Object::new().with("format", "uuid"),
        (false, true) => Object::new(),
        (false, false) => Object::new().with_some("format", others.unwrap_or_default()),
    }
}

/// Returns the words that a text may be, if it may not be any.
fn words(rules: &mut Rules, may_be_empty: bool) -> Vec<String> {
    let mut words = texts(rules.take_list("in"));
    if may_be_empty && !words.is_empty() && !words.contains(&String::new()) {
        words.push(String::new());
    }
    words
}

/// Returns what may be an example, the best first.
fn candidates<'e>(examples: &[&'e str], is_uuid: bool, pattern: Option<&str>) -> Vec<&'e str> {
    let (name, said) = match examples {
        [said @ .., name] => (pattern.is_some().then_some(*name), said),
        [] => (None, examples),
    };
    let by_rule = [is_uuid.then_some(UUID), pattern.and_then(pattern_example), name];
    said.iter().copied().chain(by_rule.into_iter().flatten()).collect()
}

/// Returns a pattern that all languages read in the same way.
fn portable(pattern: &str) -> Result<String, String> {
    match PORTABLE.iter().find(|(known, _)| *known == pattern) {
        Some((_, portable)) => Ok((*portable).to_owned()),
        None if pattern.contains(r"\p") || pattern.contains(r"\P") => Err(format!(
            "OpenAPI needs a pattern for all languages: say in PORTABLE what is as wide as {pattern}"
        )),
        None => Ok(pattern.to_owned()),
    }
}

/// Whether a text may be an example: one in a comment may be a part of a text, or one that is refused.
fn fits(schema: &Object, pattern: Option<&str>, example: &str) -> bool {
    let most = match schema.get("maxLength") {
        Some(Json::Number(most)) => most.parse().unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let matches = |pattern: &str| {
        let regex = as_re2(pattern).ok().and_then(|pattern| Regex::new(&pattern).ok());
        regex.is_some_and(|regex| regex.is_match(example))
    };
    example.chars().count() <= most && pattern.is_none_or(matches)
}

fn texts(list: Vec<Value>) -> Vec<String> {
    list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Returns the schema of a number with these rules. Numbers of 64 bits are texts, as JSON of protobuf has them.
pub(crate) fn number(kind: &Kind, mut rules: Rules, ignore: Ignore) -> Object {
    let (name, format) = match kind {
        Kind::Double => ("number", "double"),
        Kind::Float => ("number", "float"),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => ("string", "int64"),
        Kind::Uint64 | Kind::Fixed64 => ("string", "uint64"),
        Kind::Uint32 | Kind::Fixed32 => ("integer", "uint32"),
        _ => ("integer", "int32"),
    };
    let mut schema = Object::new().with("type", name).with("format", format);
    if name == "string" {
        return schema.with("pattern", "^-?[0-9]{1,20}$");
    }
    for (rule, keyword) in [
        ("gt", "exclusiveMinimum"),
        ("gte", "minimum"),
        ("lt", "exclusiveMaximum"),
        ("lte", "maximum"),
        ("const", "const"),
    ] {
        if let Some(limit) = rules.take(rule).as_ref().and_then(digits) {
            let is_low = keyword.ends_with("inimum") && ignore != Ignore::Unspecified;
            let (keyword, limit) = if is_low { ("minimum", "0".to_owned()) } else { (keyword, limit) };
            schema.set(keyword, Json::Number(limit));
        }
    }
    let words: Vec<Json> = rules.take_list("in").iter().filter_map(digits).map(Json::Number).collect();
    schema.with_some("enum", words)
}

fn digits(value: &Value) -> Option<String> {
    match value {
        Value::I32(number) => Some(number.to_string()),
        Value::U32(number) => Some(number.to_string()),
        Value::F32(number) => Some(number.to_string()),
        Value::F64(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns what the rules of a word of an enum allow, beside the schema of the enum.
pub(crate) fn word(mut rules: Rules, words: &EnumDescriptor) -> Object {
    let mut names = |rule: &str| -> Vec<String> {
        let list = rules.take_list(rule);
        let value = |value: &Value| words.get_value(value.as_i32()?).map(|value| value.name().to_owned());
        list.iter().filter_map(value).collect()
    };
    Object::new()
        .with_some("enum", names("in"))
        .with_some("not", Object::new().with_some("enum", names("not_in")))
}
