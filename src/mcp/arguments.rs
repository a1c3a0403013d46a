//! The arguments of a call, checked against the schema of its tool.

use rmcp::model::JsonObject;
use serde_json::Value;

use super::catalog::{self, Entry};
use super::trouble::Trouble;
use crate::contract::Word;

/// The budget of an answer in tokens, if a call names none.
const DEFAULT_BUDGET: i64 = 2_000;

/// Arguments that keep the schema of their tool.
#[derive(Debug, Default)]
pub(super) struct Arguments(JsonObject);

impl Arguments {
    /// Checks arguments. `null` is taken as an argument that is not given, as many models write it.
    ///
    /// # Errors
    ///
    /// All that is wrong with them, and what to send instead.
    pub(super) fn check(entry: &Entry, mut given: JsonObject) -> Result<Self, Trouble> {
        given.retain(|_, value| !value.is_null());
        let schema = &entry.tool.input_schema;
        let empty = JsonObject::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing = required.filter_map(Value::as_str).filter(|name| !given.contains_key(*name));
        let mut wrong: Vec<_> = missing.map(|name| format!("{name} is missing")).collect();
        for (name, value) in &given {
            match properties.get(name) {
                Some(property) => wrong.extend(mismatch(name, property, value)),
                None => wrong.push(unknown(name, properties)),
            }
        }
        if wrong.is_empty() { Ok(Self(given)) } else { Err(refuse(entry, properties, &wrong)) }
    }

    /// Returns a text; `None` if it is not given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a text, empty if it is not given.
    pub(super) fn text_or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// Returns a list of texts, empty if it is not given.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Returns a whole number; `None` if it is not given.
    pub(super) fn number(&self, name: &str) -> Option<i32> {
        whole(self.0.get(name)?).and_then(|number| i32::try_from(number).ok())
    }

    /// Whether a flag is given and true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Returns the value of an enum; `None` if it is not given. The schema lists its words, in small letters.
    pub(super) fn word<W: Word>(&self, name: &str) -> Option<W> {
        W::from_word(&self.text(name)?.to_uppercase())
    }

    /// Returns how many tokens the answer may have.
    pub(super) fn budget(&self) -> i64 {
        self.number("max_tokens").map_or(DEFAULT_BUDGET, i64::from)
    }
}

fn unknown(name: &str, properties: &JsonObject) -> String {
    let meant = catalog::nearest(name, properties.keys().map(String::as_str));
    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    format!("{name:?} is not an argument of this tool{meant}")
}

fn refuse(entry: &Entry, properties: &JsonObject, wrong: &[String]) -> Trouble {
    let names: Vec<_> = properties.keys().map(String::as_str).collect();
    let (tool, wrong) = (&entry.tool.name, wrong.join("\n- "));
    Trouble::new(format!(
        "Nothing was done. Correct these arguments and call {tool} again:\n- {wrong}\n{tool} takes: {}.",
        names.join(", ")
    ))
}

/// Returns what is wrong with a value, if anything is.
fn mismatch(name: &str, property: &Value, value: &Value) -> Option<String> {
    let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "string" if value.is_string() => not_among(name, property, value),
        "boolean" if value.is_boolean() => None,
        "array" if value.as_array().is_some_and(|items| items.iter().all(Value::is_string)) => None,
        "array" => Some(format!("{name} must be a list of texts, such as [\"a\", \"b\"]")),
        "integer" => match whole(value) {
            Some(number) => out_of_range(name, property, number),
            None => Some(format!("{name} must be a whole number")),
        },
        "boolean" => Some(format!("{name} must be true or false")),
        _ => Some(format!("{name} must be a text")),
    }
}

fn not_among(name: &str, property: &Value, value: &Value) -> Option<String> {
    let words = property.get("enum").and_then(Value::as_array)?;
    if words.contains(value) {
        return None;
    }
    let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
    Some(format!("{name} must be one of {}", words.join(", ")))
}

fn out_of_range(name: &str, property: &Value, number: i64) -> Option<String> {
    let bound = |key| property.get(key).and_then(Value::as_i64);
    let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i32::MAX.into()));
    let fits = (least..=most).contains(&number);
    (!fits).then(|| format!("{name} must be a whole number from {least} to {most}"))
}

/// Returns a whole number, also one that is written with a fraction of nothing, as in `5.0`.
fn whole(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number without a fraction, and a cast stops at the limits"
    )]
    let rounded = |number: f64| (number.fract() == 0.0).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(rounded))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pb::CustomerStatus;

    fn check(tool: &str, given: Value) -> Result<Arguments, String> {
        let entry = catalog::find(tool).expect("a tool");
        let given = given.as_object().expect("an object").clone();
        Arguments::check(entry, given).map_err(|trouble| trouble.to_string())
    }

    #[test]
    fn what_the_schema_says_is_taken() {
        let given = json!({"query": "café", "status": "lead", "tag": null, "max_tokens": 5000.0});
        let arguments = check("find_customers", given).expect("good arguments");
        assert_eq!((arguments.text("query"), arguments.text("tag")), (Some("café"), None));
        assert_eq!(arguments.word::<CustomerStatus>("status"), Some(CustomerStatus::Lead));
        assert_eq!(arguments.budget(), 5_000);
        assert_eq!(check("find_customers", json!({})).expect("nothing is required").budget(), 2_000);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let given = json!({"custmer": "zoe", "max_tokens": 499, "conversation_id": 7});
        let refusal = check("next_questions", given).expect_err("bad arguments");
        for part in [
            "customer is missing",
            "\"custmer\" is not an argument of this tool; did you mean customer?",
            "max_tokens must be a whole number from 500 to 20000",
            "conversation_id must be a text",
            "next_questions takes: conversation_id, customer, max_tokens, query.",
        ] {
            assert!(refusal.contains(part), "{part:?} is not in {refusal}");
        }
    }

    #[test]
    fn words_and_lists_are_checked() {
        let refusal = check("find_customers", json!({"status": "LEAD"})).expect_err("capital letters");
        assert!(refusal.contains("status must be one of lead, prospect"), "{refusal}");
        let refusal = check("save_customer", json!({"add_tags": "vip"})).expect_err("no list");
        assert!(refusal.contains("add_tags must be a list of texts"), "{refusal}");
        let refusal = check("record_answer", json!({"question_id": "", "declined": "yes"}));
        assert!(refusal.expect_err("no flag").contains("declined must be true or false"));
    }

    #[test]
    fn every_word_of_every_schema_is_one_of_the_contract() {
        use crate::pb::{ContactChannel, ConversationOutcome, MessageRole};
        fn known<W: Word>(tool: &str, name: &str) {
            let schema = &catalog::find(tool).expect("a tool").tool.input_schema;
            for word in schema["properties"][name]["enum"].as_array().expect("words") {
                let word = word.as_str().expect("a word").to_uppercase();
                assert!(W::from_word(&word).is_some(), "{word}");
            }
        }
        known::<CustomerStatus>("find_customers", "status");
        known::<CustomerStatus>("save_customer", "status");
        known::<ContactChannel>("start_conversation", "channel");
        known::<MessageRole>("add_message", "role");
        known::<ConversationOutcome>("end_conversation", "outcome");
    }
}
