//! Fields of requests, however deep, so that tests can go through all of them.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use tonic::Status;

use super::Refusal;
use super::raw::{is_immutable, is_output_only};

/// The fields on the way to a field, from the request.
pub(crate) type Path = Vec<FieldDescriptor>;

/// Every field of a request that a client may set, down to those that are no messages of ours. What cannot change is
/// set by a create, and not by an update.
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

/// The path as a violation says it, where lists have one item.
pub(crate) fn dotted(path: &Path) -> String {
    let name =
        |field: &FieldDescriptor| format!("{}{}", field.name(), if field.is_list() { "[0]" } else { "" });
    path.iter().map(name).collect::<Vec<_>>().join(".")
}

/// Whether an error is about the field at `path`; what is wrong with one of many is said from that one on.
pub(crate) fn is_about(error: &Status, path: &Path) -> bool {
    let at = dotted(path);
    let within = at.strip_prefix("events[0].").unwrap_or(&at);
    error.fields().iter().any(|field| *field == at || field == within)
}

/// Puts a value into the field at `path`, making the messages on the way.
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
