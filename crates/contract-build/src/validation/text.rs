//! The rules of strings.

use regex::Regex;

use super::options::Rules;
use super::values::{BYTES, CHECK, Checks, Unit, call, counted, limits};

/// The unit of `min_len`: Unicode code points.
const CHARACTERS: Unit = Unit { verb: "be", one: "character", many: "characters" };

/// What each pattern allows, in words and with an example. An error does not show the pattern
/// itself.
const PATTERNS: [(&str, &str); 10] = [
    ("^[A-Z]{2}$", "be a country code of two capital letters (ISO 3166-1), such as AT"),
    ("^[A-Z]{3}$", "be a currency code of three capital letters (ISO 4217), such as EUR"),
    (
        "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        "be lower-case letters a to z, digits and hyphens, without a hyphen at either end, such as cafe-zoe",
    ),
    ("^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,7}$", "be a language tag (BCP 47), such as de or pt-BR"),
    (
        r#"^[^\p{Z}\p{C}@<>()\[\]\\,;:"]+@[\p{L}\p{M}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?(\.[\p{L}\p{M}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?)*$"#,
        "be an e-mail address, such as name@example.com",
    ),
    (
        r"^[\P{Cc}\t\r\n]*\p{Nd}[\P{Cc}\t\r\n]*\p{Nd}[\P{Cc}\t\r\n]*$",
        "be a phone number with at least two digits, in any form, such as +43 1 23456",
    ),
    (
        r#"^[a-z]+/[A-Za-z0-9!#$&^_.+-]+(; *[A-Za-z0-9_-]+=[A-Za-z0-9_."-]+)*$"#,
        "be a media type that begins in lower case, such as text/plain or text/markdown; charset=utf-8",
    ),
    (r"[^\p{Z}\p{Cc}\p{Cf}]", "have a visible character, not only spaces"),
    (r"^\P{Cc}*$", "not contain control characters, such as line breaks or tabs"),
    (
        r"^\P{Cc}*[^\p{Z}\p{Cc}\p{Cf}]\P{Cc}*$",
        "have a visible character, and no control characters, such as line breaks or tabs",
    ),
];

impl Checks {
    /// Adds the checks of a text.
    pub(crate) fn text(&mut self, mut rules: Rules) -> Result<(), String> {
        self.always.push(call("no_nul", "value"));
        for (rule, limit, must) in limits(&mut rules, ["min_len", "max_len"], CHARACTERS)? {
            self.ruled.push(call(rule, &format!("value, {limit}_usize, {must:?}")));
        }
        self.size(&mut rules, ["min_bytes", "max_bytes"], "value.len()", BYTES)?;
        if let Some(len) = rules.take_size("len") {
            let must = format!("must be {}", counted(len, CHARACTERS));
            self.ruled.push(call("len", &format!("value, {len}_usize, {must:?}")));
        }
        self.parts(&mut rules);
        self.pattern(&mut rules)?;
        self.formats(&mut rules);
        self.lists(&mut rules, |value| {
            let text = value.as_str().ok_or("a rule's value is no text")?;
            Ok((format!("{text:?}"), format!("{text:?}")))
        })?;
        rules.finish()
    }

    fn parts(&mut self, rules: &mut Rules) {
        for (rule, condition, must) in [
            ("const", "value == {}", "must be {}"),
            ("prefix", "value.starts_with({})", "must start with {}"),
            ("suffix", "value.ends_with({})", "must end with {}"),
            ("contains", "value.contains({})", "must contain {}"),
            ("not_contains", "!value.contains({})", "must not contain {}"),
        ] {
            if let Some(text) = rules.take_text(rule) {
                let text = format!("{text:?}");
                self.holds(rules, rule, &condition.replace("{}", &text), &must.replace("{}", &text));
            }
        }
    }

    fn formats(&mut self, rules: &mut Rules) {
        for (rule, what) in [
            ("email", "an e-mail address, such as name@example.com"),
            ("hostname", "a host name, such as www.example.com"),
            ("uri", "a URI, such as https://example.com/"),
            ("uuid", "a UUID, such as 018f4e0a-7b7c-7000-8000-000000000000"),
        ] {
            if rules.take_switch(rule) {
                let condition = format!("crate::validate::formats::is_{rule}(value)");
                self.holds(rules, rule, &condition, &format!("must be {what}"));
            }
        }
    }

    fn pattern(&mut self, rules: &mut Rules) -> Result<(), String> {
        let Some(pattern) = rules.take_text("pattern") else {
            return Ok(());
        };
        let same = as_re2(&pattern)?;
        Regex::new(&same).map_err(|error| format!("the rule string.pattern is no regex: {error}"))?;
        let (_, allowed) = PATTERNS.iter().find(|(known, _)| *known == pattern).ok_or_else(|| {
            format!("the rule string.pattern has no words yet: say in PATTERNS what {pattern} allows")
        })?;
        let must = format!("must {allowed}");
        let check = call("pattern", &format!("value, &PATTERN, {must:?}"));
        self.ruled.push(format!(
            "{{ static PATTERN: {CHECK}::Pattern = std::sync::LazyLock::new(|| regex::Regex::new({same:?}).ok()); {check} }}"
        ));
        Ok(())
    }
}

/// Returns a text that a pattern allows; `None` if it has no example.
pub(crate) fn pattern_example(pattern: &str) -> Option<&'static str> {
    let (_, allowed) = PATTERNS.iter().find(|(known, _)| *known == pattern)?;
    let (before, example) = allowed.split_once("such as ")?;
    let example = example.split(" or ").next()?;
    (!before.contains("control characters")).then_some(example)
}

/// Translates a pattern of RE2, the language of the rules, into one of the regex crate. In RE2, `\d`, `\w` and `\s` are
/// ASCII only; in the regex crate they are Unicode.
pub(crate) fn as_re2(pattern: &str) -> Result<String, String> {
    let mut same = String::new();
    let mut rest = pattern.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            same.push(char);
            continue;
        }
        match rest.next() {
            Some('d') => same += "[0-9]",
            Some('D') => same += "[^0-9]",
            Some('w') => same += "[0-9A-Za-z_]",
            Some('W') => same += "[^0-9A-Za-z_]",
            Some('s') => same += r"[\t\n\f\r ]",
            Some('S') => same += r"[^\t\n\f\r ]",
            Some(b @ ('b' | 'B')) => {
                return Err(format!("the rule string.pattern has \\{b}, which RE2 reads otherwise"));
            }
            Some(other) => same.extend(['\\', other]),
            None => same.push('\\'),
        }
    }
    Ok(same)
}
