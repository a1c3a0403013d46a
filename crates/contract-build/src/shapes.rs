//! Generates the shape of every request (`src/rpc/incoming.rs`): its fields, and how many items each list may have.
//! So items are counted before memory is allocated for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::methods;
use crate::validation::names;
use crate::validation::options::FieldRules;

/// The open objects of protobuf, whose limits apply to the whole object.
const OPEN: [(&str, &str); 3] = [
    ("google.protobuf.Struct", "Struct"),
    ("google.protobuf.Value", "Value"),
    ("google.protobuf.ListValue", "List"),
];

/// Returns the Rust code of `shapes.rs` in the build's output directory.
///
/// # Errors
///
/// If a list or a map of a request has no limit, or a message contains itself: the build fails with a text that names
/// it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let methods = methods::of_package(pool, package);
    let (mut messages, mut slots) = (BTreeMap::new(), 0);
    let (mut requests, mut responses) = (BTreeMap::new(), BTreeMap::new());
    for method in &methods {
        let (input, output) = (method.input(), method.output());
        collect(&input, &mut Vec::new(), &mut messages)?;
        slots = slots.max(own_slots(&input) + slots_of_items(&input));
        requests.insert(input.name().to_owned(), input);
        responses.insert(output.name().to_owned(), output);
    }
    let mut code = format!("pub(super) const SLOTS: usize = {};\n", slots + 1);
    for message in messages.values() {
        code += &shape(message).map_err(|error| format!("{}: {error}", message.full_name()))?;
    }
    for message in requests.values() {
        let path = names::rust_path(message.full_name(), package)?;
        let _ = writeln!(
            code,
            "impl Incoming for {path} {{ const SHAPE: Option<&'static Shape> = Some(&{}); }}",
            constant(message)
        );
    }
    for (name, message) in &responses {
        if !requests.contains_key(name) {
            let path = names::rust_path(message.full_name(), package)?;
            let _ = writeln!(code, "impl Incoming for {path} {{}}");
        }
    }
    Ok(code)
}

/// Collects all messages that are part of this one.
fn collect(
    message: &MessageDescriptor,
    outer: &mut Vec<String>,
    all: &mut BTreeMap<String, MessageDescriptor>,
) -> Result<(), String> {
    let name = message.full_name().to_owned();
    if outer.contains(&name) {
        return Err(format!("{name} has itself as a part, so that nothing bounds its lists"));
    }
    if all.contains_key(&name) {
        return Ok(());
    }
    outer.push(name.clone());
    for field in message.fields() {
        if let Some(inner) = part(&field) {
            collect(&inner, outer, all)?;
        }
    }
    outer.pop();
    all.insert(name, message.clone());
    Ok(())
}

/// Returns the message of a field, unless it is an open object.
fn part(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if open(&message).is_none() => Some(message),
        _ => None,
    }
}

fn open(message: &MessageDescriptor) -> Option<&'static str> {
    OPEN.iter().find(|(name, _)| *name == message.full_name()).map(|(_, form)| *form)
}

/// Returns the number of lists that are counted together with those of this message: its own, and those of its single
/// parts.
fn own_slots(message: &MessageDescriptor) -> usize {
    message.fields().map(|field| field_slots(&field)).sum()
}

fn field_slots(field: &FieldDescriptor) -> usize {
    match part(field) {
        _ if field.is_list() || field.is_map() => 1,
        Some(inner) => own_slots(&inner),
        None => 0,
    }
}

/// Returns the maximum number of further lists that are counted during the walk over an item.
fn slots_of_items(message: &MessageDescriptor) -> usize {
    let beside = |field: FieldDescriptor| {
        let many = field.is_list() || field.is_map();
        let inner = part(&field)?;
        Some(slots_of_items(&inner) + if many { own_slots(&inner) } else { 0 })
    };
    message.fields().filter_map(beside).max().unwrap_or(0)
}

fn shape(message: &MessageDescriptor) -> Result<String, String> {
    let (mut fields, mut slot) = (String::new(), 0);
    let mut sorted: Vec<_> = message.fields().collect();
    sorted.sort_by_key(FieldDescriptor::number);
    for field in sorted {
        let many = limit(&field).map_err(|error| format!("{}: {error}", field.name()))?;
        let _ = writeln!(
            fields,
            "        Field {{ number: {}, name: {:?}, kind: {}, many: {many}, slot: {slot} }},",
            field.number(),
            field.name(),
            kind(&field.kind()),
        );
        slot += field_slots(&field);
    }
    Ok(format!(
        "static {}: Shape = Shape {{ slots: {slot}, fields: &[\n{fields}    ] }};\n",
        constant(message)
    ))
}

/// Returns how many items a field may have, as code; `None` in it for a single value.
fn limit(field: &FieldDescriptor) -> Result<String, String> {
    let (kind, rule) = match (field.is_map(), field.is_list()) {
        (true, _) => ("map", "max_pairs"),
        (false, true) => ("repeated", "max_items"),
        (false, false) => return Ok("None".to_owned()),
    };
    if field.full_name() == "google.protobuf.FieldMask.paths" {
        return Ok("Some(::crm_contract::validate::MAX_MASK_PATHS)".to_owned());
    }
    let limit = FieldRules::of_field(field)?.into_kind(kind)?.take_size(rule);
    let limit = limit.ok_or_else(|| format!("a list of a request needs a limit: the rule {kind}.{rule}"))?;
    Ok(format!("Some({limit})"))
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::String => "Kind::Text".to_owned(),
        Kind::Bytes => "Kind::Plain(Wire::Bytes)".to_owned(),
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => "Kind::Plain(Wire::Fixed32)".to_owned(),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => "Kind::Plain(Wire::Fixed64)".to_owned(),
        Kind::Message(message) => match open(message) {
            Some(form) => format!("Kind::Open(Open::{form})"),
            None => format!("Kind::Message(&{})", constant(message)),
        },
        _ => "Kind::Plain(Wire::Varint)".to_owned(),
    }
}

fn constant(message: &MessageDescriptor) -> String {
    message.full_name().replace('.', "_").to_uppercase()
}

#[cfg(test)]
mod tests;
