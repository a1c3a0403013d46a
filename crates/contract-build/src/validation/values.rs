//! The checks of one value, by its kind. The generated code finds the value as `value` (`&str`, `&[u8]`, a reference
//! to a message, or a copy of any other value), its path as `at` and the report as `report`.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor, Value};

use super::numbers::{Limit, take_range};
use super::options::{FieldRules, Ignore, Rules};

/// The module of the functions that the generated code calls.
pub(crate) const CHECK: &str = "crate::validate::check";

/// The well-known types that have checks of their own, in addition to the messages of the package.
const KNOWN: [&str; 8] =
    ["Any", "Duration", "Empty", "FieldMask", "ListValue", "Struct", "Timestamp", "Value"];

/// A unit of counting.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// The verb in descriptions: a value must *be* 3 bytes or *have* 3 items.
    pub(crate) verb: &'static str,
    /// The singular.
    pub(crate) one: &'static str,
    /// The plural.
    pub(crate) many: &'static str,
}

/// The unit of `min_bytes`, and of `min_len` for bytes.
pub(crate) const BYTES: Unit = Unit { verb: "be", one: "byte", many: "bytes" };

/// The checks of one value, each an expression that is true if nothing was wrong. They run in order, up to the first
/// that fails. So a value gets one violation, and a text that is too long is not matched with a pattern.
#[derive(Default)]
pub(crate) struct Checks {
    /// The checks that need no rule.
    pub(crate) always: Vec<String>,
    /// The checks of the rules, sizes first.
    pub(crate) ruled: Vec<String>,
    /// The code for each item of a list or a map, if there are not too many.
    pub(crate) each: Option<String>,
    /// Whether the value must be set.
    pub(crate) required: bool,
    /// When the rules do not apply.
    pub(crate) ignore: Ignore,
}

impl Checks {
    /// Returns the checks of a value of this kind.
    pub(crate) fn new(kind: &Kind, rules: FieldRules, package: &str) -> Result<Self, String> {
        let mut checks = Self { required: rules.required, ignore: rules.ignore, ..Self::default() };
        match kind {
            Kind::String => checks.text(rules.into_kind("string")?)?,
            Kind::Bytes => checks.bytes(rules.into_kind("bytes")?)?,
            Kind::Bool => checks.boolean(rules.into_kind("bool")?)?,
            Kind::Enum(descriptor) => checks.word(rules.into_kind("enum")?, descriptor)?,
            Kind::Message(descriptor) => checks.message(rules, descriptor, package)?,
            number => checks.number(rules.into_kind(kind_name(number))?)?,
        }
        if checks.ignore == Ignore::Always {
            checks.ruled.clear();
        }
        Ok(checks)
    }

    /// Whether there is nothing to check.
    pub(crate) fn is_empty(&self) -> bool {
        self.always.is_empty() && self.ruled.is_empty() && self.each.is_none() && !self.required
    }

    /// Adds the checks of a pair of rules on the number of bytes, items or entries.
    pub(crate) fn size(
        &mut self,
        rules: &mut Rules,
        pair: [&str; 2],
        count: &str,
        unit: Unit,
    ) -> Result<(), String> {
        for (rule, limit, must) in limits(rules, pair, unit)? {
            let range =
                if rule == pair[0] { format!("{limit}_usize..") } else { format!("..={limit}_usize") };
            let id = rules.id(rule);
            self.ruled.push(call("size", &format!("{count}, {range}, {id:?}, {must:?}")));
        }
        Ok(())
    }

    fn bytes(&mut self, mut rules: Rules) -> Result<(), String> {
        self.size(&mut rules, ["min_len", "max_len"], "value.len()", BYTES)?;
        rules.finish()
    }

    fn boolean(&mut self, mut rules: Rules) -> Result<(), String> {
        if let Some(value) = rules.take("const").and_then(|value| value.as_bool()) {
            let condition = if value { "value" } else { "!value" };
            self.holds(&rules, "const", condition, &format!("must be {value}"));
        }
        rules.finish()
    }

    fn word(&mut self, mut rules: Rules, descriptor: &EnumDescriptor) -> Result<(), String> {
        let limit = |value: &Value| {
            let number = value.as_i32().ok_or("a rule's value is no number")?;
            let word = descriptor.get_value(number);
            let word = word.ok_or_else(|| format!("a rule's value {number} is not in the enum"))?;
            Ok((format!("{number}_i32"), word.name().to_owned()))
        };
        if let Some(value) = rules.take("const") {
            let (code, shown) = limit(&value)?;
            self.holds(&rules, "const", &format!("value == {code}"), &format!("must be {shown}"));
        }
        let defined_only = rules.take_switch("defined_only");
        let refused: Vec<_> = rules.take_list("not_in").iter().map(limit).collect::<Result<_, _>>()?;
        // The zero value is left out of the text, whether it is allowed or not.
        let words = descriptor
            .values()
            .filter(|value| value.number() != 0 && refused.iter().all(|(_, word)| word != value.name()));
        let words: Vec<_> = words.map(|value| value.name().to_owned()).collect();
        let must = format!("must be one of {}", words.join(", "));
        if defined_only {
            let numbers = descriptor.values().map(|value| value.number()).collect();
            let condition = format!("matches!(value, {})", any_of(numbers));
            self.holds(&rules, "defined_only", &condition, &must);
        }
        if !refused.is_empty() {
            let codes: Vec<_> = refused.into_iter().map(|(code, _)| code).collect();
            let condition = format!("![{}].contains(&value)", codes.join(", "));
            self.holds(&rules, "not_in", &condition, &must);
        }
        self.lists(&mut rules, limit)?;
        rules.finish()
    }

    fn number(&mut self, mut rules: Rules) -> Result<(), String> {
        let is_float = ["float", "double"].map(|name| rules.id("") == format!("{name}."));
        if is_float.contains(&true) {
            rules.take("finite");
            let id = rules.id("finite");
            let value = if is_float[0] { "f64::from(value)" } else { "value" };
            self.always.push(call("finite", &format!("{value}, {id:?}")));
        }
        if let Some(value) = rules.take("const") {
            let limit = Limit::new(&value)?;
            let condition = format!("value == {}", limit.code);
            self.holds(&rules, "const", &condition, &format!("must be {}", limit.shown));
        }
        if let Some(range) = take_range(&mut rules)? {
            let arguments = format!("value, {}, {:?}, {:?}", range.code, range.id, range.must);
            self.ruled.push(call("range", &arguments));
        }
        self.lists(&mut rules, |value| Limit::new(value).map(|limit| (limit.code, limit.shown)))?;
        rules.finish()
    }

    fn message(
        &mut self,
        rules: FieldRules,
        descriptor: &MessageDescriptor,
        package: &str,
    ) -> Result<(), String> {
        let name = descriptor.full_name();
        let known = descriptor.package_name() == "google.protobuf";
        if known && KNOWN.contains(&descriptor.name()) {
            self.always.push(call("message", "value"));
        } else if descriptor.package_name() == package {
            let ignored = self.ignore == Ignore::Always;
            self.always.push(call(if ignored { "without_rules" } else { "message" }, "value"));
        } else if descriptor.package_name() != "google.rpc" {
            return Err(format!("the type {name} has no checks"));
        }
        match descriptor.name() {
            "Timestamp" if known => self.time(rules.into_kind("timestamp")?),
            "Duration" if known => self.time(rules.into_kind("duration")?),
            _ => rules.into_none(),
        }
    }

    fn time(&mut self, mut rules: Rules) -> Result<(), String> {
        let value = format!("{CHECK}::nanos(value.seconds, value.nanos)");
        if let Some(range) = take_range(&mut rules)? {
            let condition = format!("std::ops::RangeBounds::contains(&{}, &{value})", range.code);
            self.ruled.push(call("holds", &format!("{condition}, {:?}, {:?}", range.id, range.must)));
        }
        if rules.take_switch("lt_now") {
            self.holds(&rules, "lt_now", &format!("{value} <= {CHECK}::now()"), "must not be in the future");
        }
        if rules.take_switch("gt_now") {
            self.holds(&rules, "gt_now", &format!("{value} >= {CHECK}::now()"), "must not be in the past");
        }
        if let Some(within) = rules.take("within") {
            let limit = Limit::new(&within)?;
            let condition = format!("({value} - {CHECK}::now()).abs() <= {}", limit.code);
            self.holds(&rules, "within", &condition, &format!("must be within {} of now", limit.shown));
        }
        rules.finish()
    }

    /// Adds the checks of the rules `in` and `not_in`; `limit` returns a value as code and as text.
    pub(crate) fn lists(
        &mut self,
        rules: &mut Rules,
        limit: impl Fn(&Value) -> Result<(String, String), String>,
    ) -> Result<(), String> {
        for (rule, not, must) in [("in", "", "must be one of"), ("not_in", "!", "must not be any of")] {
            let list = rules.take_list(rule);
            if list.is_empty() {
                continue;
            }
            let limits = list.iter().map(&limit).collect::<Result<Vec<_>, _>>()?;
            let (codes, shown): (Vec<_>, Vec<_>) = limits.into_iter().unzip();
            let condition = format!("{not}[{}].contains(&value)", codes.join(", "));
            self.holds(rules, rule, &condition, &format!("{must} {}", shown.join(", ")));
        }
        Ok(())
    }

    /// Adds the check of a condition.
    pub(crate) fn holds(&mut self, rules: &Rules, rule: &str, condition: &str, must: &str) {
        let id = rules.id(rule);
        self.ruled.push(call("holds", &format!("{condition}, {id:?}, {must:?}")));
    }
}

/// Returns the checks of two rules, one for the minimum and one for the maximum: the rule, the limit and its
/// description.
pub(crate) fn limits<'a>(
    rules: &mut Rules,
    [min, max]: [&'a str; 2],
    unit: Unit,
) -> Result<Vec<(&'a str, u64, String)>, String> {
    let (least, most) = (rules.take_size(min), rules.take_size(max));
    if least.unwrap_or(0) > most.unwrap_or(u64::MAX) {
        return Err(format!("the rules {min} and {max} leave no value"));
    }
    let verb = unit.verb;
    let must = |word, limit| format!("must {verb} at {word} {}", counted(limit, unit));
    let least = least.map(|limit| (min, limit, must("least", limit)));
    let most = most.map(|limit| (max, limit, must("most", limit)));
    Ok(least.into_iter().chain(most).collect())
}

/// Returns the call of a check, which is true if the check found nothing.
pub(crate) fn call(function: &str, arguments: &str) -> String {
    format!("{CHECK}::{function}({arguments}, at, report)")
}

/// `1 byte`, `2 bytes`.
pub(crate) fn counted(count: u64, unit: Unit) -> String {
    format!("{count} {}", if count == 1 { unit.one } else { unit.many })
}

/// Returns the pattern of a set of numbers: `0..=3 | 7`.
fn any_of(mut numbers: Vec<i32>) -> String {
    numbers.sort_unstable();
    numbers.dedup();
    let runs = numbers.chunk_by(|before, next| before.checked_add(1) == Some(*next));
    let patterns = runs.map(|run| match run {
        [first, .., last] => format!("{first}..={last}"),
        _ => run.iter().map(ToString::to_string).collect(),
    });
    patterns.collect::<Vec<_>>().join(" | ")
}

/// Returns the name of the rules for a number.
pub(crate) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Enum(_) => "",
    }
}
