//! The checks of a field or a oneof: how to find its values, and when its rules apply.

use prost_reflect::{FieldDescriptor, Kind, OneofDescriptor};

use super::names::{camel, rust_path, snake};
use super::options::{FieldRules, Ignore, Rules, is_oneof_required, is_per_item};
use super::values::{CHECK, Checks, Unit, call};

/// The unit of `min_items`.
const ITEMS: Unit = Unit { verb: "have", one: "item", many: "items" };

/// The unit of `min_pairs`.
const ENTRIES: Unit = Unit { verb: "have", one: "entry", many: "entries" };

/// Returns the statements that check a field of `self`; empty if there is nothing to check.
pub(crate) fn of_field(field: &FieldDescriptor, package: &str) -> Result<String, String> {
    let rules = FieldRules::of_field(field)?;
    let per_item = is_per_item(field)?;
    if field.is_map() {
        of_map(field, rules, package)
    } else if field.is_list() {
        of_list(field, rules, per_item, package)
    } else if field.supports_presence() {
        of_option(field, rules, package)
    } else {
        of_plain(field, rules, package)
    }
}

/// Returns the statements that check that a required oneof is set.
pub(crate) fn of_oneof(oneof: &OneofDescriptor) -> Result<String, String> {
    let required = is_oneof_required(oneof)?;
    if oneof.is_synthetic() || !required {
        return Ok(String::new());
    }
    let fields: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
    Ok(format!(
        "        if self.{}.is_none() {{ {CHECK}::missing_one_of(&at.field({:?}), {:?}, report); }}\n",
        snake(oneof.name()),
        oneof.name(),
        fields.join(", "),
    ))
}

/// A field without presence, which is zero or empty if it was not sent.
fn of_plain(field: &FieldDescriptor, rules: FieldRules, package: &str) -> Result<String, String> {
    let kind = field.kind();
    let checks = Checks::new(&kind, rules, package)?;
    let value = by_value(&kind, &format!("self.{}", snake(field.name())));
    Ok(block(field.name(), &format!("let value = {value};"), &applied(&checks, &kind), &checks))
}

/// A field with presence: `optional`, a message, or a member of a oneof.
fn of_option(field: &FieldDescriptor, rules: FieldRules, package: &str) -> Result<String, String> {
    let kind = field.kind();
    let checks = Checks::new(&kind, rules, package)?;
    let name = snake(field.name());
    let (place, pattern) = match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
        Some(oneof) => (snake(oneof.name()), variant(field, &oneof, package)?),
        None => (name, "Some(value)".to_owned()),
    };
    let mut code = String::new();
    let body: Vec<&str> = checks.always.iter().chain(&checks.ruled).map(String::as_str).collect();
    if !body.is_empty() {
        let body = format!("let _ = {};", body.join(" && "));
        let inner = block(field.name(), &by_reference(&kind), &body, &checks);
        code += &format!("        if let {pattern} = &self.{place} {}", inner.trim_start());
    }
    if checks.required {
        let condition = match pattern.as_str() {
            "Some(value)" => format!("self.{place}.is_none()"),
            variant => format!("!matches!(&self.{place}, {})", variant.replace("(value)", "(_)")),
        };
        code += &missing_if(&condition, field.name());
    }
    Ok(code)
}

fn of_list(
    field: &FieldDescriptor,
    rules: FieldRules,
    per_item: bool,
    package: &str,
) -> Result<String, String> {
    let kind = field.kind();
    let (mut list, mut rules) = collection(rules, "repeated")?;
    let most = rules.size("max_items");
    list.size(&mut rules, ["min_items", "max_items"], "items.len()", ITEMS)?;
    if rules.take_switch("unique") {
        if matches!(kind, Kind::Message(_) | Kind::Float | Kind::Double) {
            return Err("the rule repeated.unique is not supported for this type".to_owned());
        }
        list.ruled.push(call("unique", "items"));
    }
    let inner = rules.take_inner("items")?;
    rules.finish()?;
    let item = inside(&kind, inner, &list, package)?;
    // The call that has such items checks each of them, and reports it in its answer.
    if !item.is_empty() && !per_item {
        let each = format!(
            "for (index, value) in items.iter().enumerate() {{ if report.is_full() {{ break; }} \
             let at = &at.index(index); {} {} }}",
            by_reference(&kind),
            applied(&item, &kind)
        );
        list.each = Some(unless_too_many(most, each));
    }
    let items = format!("let items = self.{}.as_slice();", snake(field.name()));
    Ok(block(field.name(), &items, &guarded(&list, "items.is_empty()", "!items.is_empty()"), &list))
}

fn of_map(field: &FieldDescriptor, rules: FieldRules, package: &str) -> Result<String, String> {
    let kind = field.kind();
    let entry = kind.as_message().ok_or("a map without entries")?;
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let (mut map, mut rules) = collection(rules, "map")?;
    let most = rules.size("max_pairs");
    map.size(&mut rules, ["min_pairs", "max_pairs"], "items.len()", ENTRIES)?;
    let (keys, values) = (rules.take_inner("keys")?, rules.take_inner("values")?);
    rules.finish()?;
    let key = inside(&key_kind, keys, &map, package)?;
    let value = inside(&value_kind, values, &map, package)?;
    let path = by_value(&key_kind, if key_kind == Kind::String { "key" } else { "*key" });
    let mut body = String::new();
    if !key.is_empty() {
        let code = applied(&key, &key_kind);
        body += &format!("{{ let value = {path}; let at = &at.key_of(value); {code} }}");
    }
    if !value.is_empty() {
        let (own, code) = (by_reference(&value_kind), applied(&value, &value_kind));
        body += &format!("let at = &at.value_of({path}); {own} {code}");
    }
    if !body.is_empty() {
        let each = if value.is_empty() { "key in items.keys()" } else { "(key, value) in items" };
        let each = format!("for {each} {{ if report.is_full() {{ break; }} {body} }}");
        map.each = Some(unless_too_many(most, each));
    }
    let items = format!("let items = &self.{};", snake(field.name()));
    Ok(block(field.name(), &items, &guarded(&map, "items.is_empty()", "!items.is_empty()"), &map))
}

/// Returns the checks of a list or a map as a whole, still empty, and its rules.
fn collection(rules: FieldRules, kind: &str) -> Result<(Checks, Rules), String> {
    let checks = Checks { required: rules.required, ignore: rules.ignore, ..Checks::default() };
    Ok((checks, rules.into_kind(kind)?))
}

/// Returns the checks of the values in a list or a map.
fn inside(kind: &Kind, mut rules: FieldRules, outer: &Checks, package: &str) -> Result<Checks, String> {
    if outer.ignore == Ignore::Always {
        rules.ignore = Ignore::Always;
    }
    Checks::new(kind, rules, package)
}

/// Returns the code for the checks of a value without presence.
fn applied(checks: &Checks, kind: &Kind) -> String {
    let (zero, some) = match kind {
        Kind::String | Kind::Bytes => ("value.is_empty()", "!value.is_empty()"),
        Kind::Bool => ("!value", "value"),
        Kind::Float | Kind::Double => ("value == 0.0", "value != 0.0"),
        Kind::Message(_) => ("false", "true"),
        _ => ("value == 0", "value != 0"),
    };
    guarded(checks, zero, some)
}

/// Returns the code for each item of a list or a map, which runs unless there are too many items.
fn unless_too_many(most: Option<u64>, each: String) -> String {
    match most {
        Some(most) => format!("if items.len() <= {most}_usize {{ {each} }}"),
        None => each,
    }
}

/// Returns the code for the checks: those of the rules under the condition that they apply, and then the code for
/// each item.
fn guarded(checks: &Checks, zero: &str, some: &str) -> String {
    let always = checks.always.join(" && ");
    let mut ruled = checks.ruled.join(" && ");
    if checks.required {
        let rest = if ruled.is_empty() { "true" } else { &ruled };
        ruled = format!("if {zero} {{ {CHECK}::missing(at, report) }} else {{ {rest} }}");
    } else if checks.ignore == Ignore::IfZeroValue && some != "true" && !ruled.is_empty() {
        ruled = format!("{zero} || {ruled}");
    }
    let all = match (always.is_empty(), ruled.is_empty()) {
        (true, true) => return checks.each.clone().unwrap_or_default(),
        (false, true) => always,
        (true, false) => ruled,
        (false, false) => format!("{always} && ({ruled})"),
    };
    let each = checks.each.as_deref().unwrap_or_default();
    format!("let _ = {all}; {each}")
}

fn block(name: &str, own: &str, body: &str, checks: &Checks) -> String {
    if checks.is_empty() {
        return String::new();
    }
    format!("        {{ let at = &at.field({name:?}); {own}\n{body} }}\n")
}

fn missing_if(condition: &str, name: &str) -> String {
    format!("        if {condition} {{ {CHECK}::missing(&at.field({name:?}), report); }}\n")
}

/// Returns the pattern of a field in the enum that prost generates for its oneof.
pub(crate) fn variant(
    field: &FieldDescriptor,
    oneof: &OneofDescriptor,
    package: &str,
) -> Result<String, String> {
    let message = oneof.parent_message();
    let name = camel(oneof.name());
    let mut nested = message
        .child_messages()
        .map(|child| child.name().to_owned())
        .chain(message.child_enums().map(|child| child.name().to_owned()));
    // prost renames the enum if a nested type already has its name.
    let suffix = if nested.any(|child| camel(&child) == name) { "OneOf" } else { "" };
    let path = rust_path(&format!("{}.x", message.full_name()), package)?;
    let module = path.trim_end_matches('X');
    Ok(format!("Some({module}{name}{suffix}::{}(value))", camel(field.name())))
}

/// Rebinds `value`, a reference, to the value that the checks need.
fn by_reference(kind: &Kind) -> String {
    match kind {
        Kind::Message(_) => String::new(),
        Kind::String | Kind::Bytes => format!("let value = {};", by_value(kind, "value")),
        _ => "let value = *value;".to_owned(),
    }
}

/// Returns the expression for the value that the checks need, from the place of the value.
fn by_value(kind: &Kind, place: &str) -> String {
    match kind {
        Kind::String => format!("{place}.as_str()"),
        Kind::Bytes => format!("{place}.as_slice()"),
        Kind::Message(_) => format!("&{place}"),
        _ => place.to_owned(),
    }
}
