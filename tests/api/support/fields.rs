//! The fields of requests at any depth, so that tests can go through all of them.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use tonic::Status;

use super::Refusal;
use super::raw::{is_immutable, is_output_only};

/// The fields from the request to a field.
pub(crate) type Path = Vec<FieldDescriptor>;

/// Returns every field of a request that a client may set, down to values that are not messages of this contract.
/// Immutable fields are set by a create, and not by an update.
pub(crate) fn fields(descriptor: &MessageDescriptor) -> Vec<Path> {
    within(descriptor, descriptor.name().starts_with("Update"))
}

fn within(descriptor: &MessageDescriptor, updates: bool) -> Vec<Path> {
    let mut found = Vec::new();
    let is_set = |field: &FieldDescriptor| !(is_output_only(field) || updates && is_immutable(field));
    for field in descriptor.fields().filter(is_set) {
        match field.kind() {
            Kind::Message(inner) if inner.package_name() == "crm.v1" => {
                found.extend(within(&inner, updates).into_iter().map(|mut path| {
                    path.insert(0, field.clone());
                    path
                }));
            }
            _ => found.push(vec![field]),
        }
    }
    found
}

/// Returns the path as a violation writes it, with one item per list.
pub(crate) fn dotted(path: &Path) -> String {
    let name =
        |field: &FieldDescriptor| format!("{}{}", field.name(), if field.is_list() { "[0]" } else { "" });
    path.iter().map(name).collect::<Vec<_>>().join(".")
}

/// Whether an error is about the field at `path`. In an error of one item among many, paths begin at the item.
pub(crate) fn is_about(error: &Status, path: &Path) -> bool {
    let at = dotted(path);
    let within = at.strip_prefix("events[0].").unwrap_or(&at);
    error.fields().iter().any(|field| *field == at || field == within)
}

/// Puts a value into the field at `path`, and creates the messages on the path.
pub(crate) fn plant(message: &mut DynamicMessage, path: &[FieldDescriptor], value: Value) {
    let [field, rest @ ..] = path else { return };
    if rest.is_empty() {
        message.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
        return;
    }
    let descriptor = field.kind().as_message().expect("a message").clone();
    if field.is_list() {
        let mut item = DynamicMessage::new(descriptor);
        plant(&mut item, rest, value);
        message.set_field(field, Value::List(vec![Value::Message(item)]));
    } else {
        plant(message.get_field_mut(field).as_message_mut().expect("a message"), rest, value);
    }
}
