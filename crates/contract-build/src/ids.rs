//! Finds which texts of messages are UUIDs, by the rules of their fields: UUIDs have one form within the service.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

use crate::validation::names::{rust_path, snake};
use crate::validation::variant;

/// The module of the trait and the function that the generated code names.
const IDS: &str = "crate::rpc::ids";

/// Generates `impl FoldIds` for every message of a package.
///
/// # Errors
///
/// If a type belongs to another package: the build fails with a text that names it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut code = String::new();
    for message in pool.all_messages() {
        if message.package_name() == package && !message.is_map_entry() {
            code += &of_message(&message, package)?;
        }
    }
    Ok(code)
}

fn of_message(message: &MessageDescriptor, package: &str) -> Result<String, String> {
    let mut body = String::new();
    for field in message.fields() {
        body += &of_field(&field, package)?;
    }
    let path = rust_path(message.full_name(), package)?;
    Ok(format!("impl {IDS}::FoldIds for {path} {{\n    fn fold_ids(&mut self) {{\n{body}    }}\n}}\n"))
}

/// Returns the statement that folds the ids of a field, or an empty text if it has none.
fn of_field(field: &FieldDescriptor, package: &str) -> Result<String, String> {
    let inner = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let fold = match inner {
        Kind::Message(inner) if has_ids(&inner, package, &mut BTreeSet::new()) => {
            format!("{IDS}::FoldIds::fold_ids(value);")
        }
        Kind::String if is_id(field) => format!("{IDS}::fold(value);"),
        _ => return Ok(String::new()),
    };
    let place = snake(field.name());
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    Ok(match oneof {
        Some(oneof) => {
            let pattern = variant(field, &oneof, package)?;
            format!("        if let {pattern} = &mut self.{} {{ {fold} }}\n", snake(oneof.name()))
        }
        None if field.is_map() => format!("        for value in self.{place}.values_mut() {{ {fold} }}\n"),
        None if field.is_list() => format!("        for value in &mut self.{place} {{ {fold} }}\n"),
        None if field.supports_presence() => {
            format!("        if let Some(value) = &mut self.{place} {{ {fold} }}\n")
        }
        None => format!("        {{ let value = &mut self.{place}; {fold} }}\n"),
    })
}

/// Whether a message contains an id at any depth.
fn has_ids(message: &MessageDescriptor, package: &str, seen: &mut BTreeSet<String>) -> bool {
    if message.package_name() != package && !message.is_map_entry() {
        return false;
    }
    // A recursive message has an id if another of its fields has one.
    if !seen.insert(message.full_name().to_owned()) {
        return false;
    }
    message.fields().any(|field| match field.kind() {
        Kind::Message(inner) => has_ids(&inner, package, seen),
        Kind::String => is_id(&field),
        _ => false,
    })
}

/// Whether the rules of a field, or of its items, require a UUID.
fn is_id(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let rules = options.extensions().find(|(extension, _)| extension.full_name() == "buf.validate.field");
    let Some(rules) = rules.and_then(|(_, rules)| rules.as_message()) else { return false };
    let rules = match within(rules, "repeated").and_then(|repeated| within(&repeated, "items")) {
        Some(items) => items,
        None => rules.clone(),
    };
    let uuid = within(&rules, "string")
        .and_then(|string| string.get_field_by_name("uuid").and_then(|uuid| uuid.as_bool()));
    uuid.unwrap_or(false)
}

fn within(rules: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let is_set = rules.has_field_by_name(name);
    let value = rules.get_field_by_name(name).filter(|_| is_set)?;
    value.as_ref().as_message().cloned()
}

#[cfg(test)]
mod tests;
