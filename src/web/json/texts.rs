//! Texts of a URL become the bytes of a message: what is in its path and in its query.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::place::Place;
use super::read::unknown;
use super::scalar::Scalar;
use super::scalars::put_scalar;
use super::wire::{self, Wire};
use super::{Report, known};

/// Writes a value for the field at this path: `owner`, `customer.id`, `pageSize`. A list gets one item more, which is its
/// item `index`.
pub(in crate::web) fn put(
    out: &mut Vec<u8>,
    message: &MessageDescriptor,
    path: &str,
    (index, text): (usize, &str),
    report: &mut Report,
) {
    let place = Place::root("");
    let Some(fields) = resolve(message, path, report) else { return };
    let at = place.field(path);
    let item = at.index(index);
    let Some((last, before)) = fields.split_last() else { return };
    let wrong = match last.kind() {
        Kind::Message(inner) if !known::is_text(inner.full_name()) => {
            Some("is an object: send it in the body, or its fields one by one, as in a.b=c".to_owned())
        }
        kind => nest(out, before, &mut |out| put_scalar(out, last.number(), &kind, meant(&kind, text)).err()),
    };
    if let Some(wrong) = wrong {
        report.add(if last.is_list() { &item } else { &at }, "text", wrong);
    }
}

/// Writes a message of these bytes in a field.
pub(in crate::web) fn put_message(out: &mut Vec<u8>, field: &FieldDescriptor, bytes: &[u8]) {
    wire::put(out, field.number(), Wire::Bytes(bytes));
}

/// Whether the field at this path of the message is a list.
pub(in crate::web) fn is_list(message: &MessageDescriptor, path: &str) -> bool {
    resolve(message, path, &mut Report::default())
        .and_then(|fields| fields.last().map(FieldDescriptor::is_list))
        .unwrap_or_default()
}

/// Returns the fields along a path.
fn resolve(message: &MessageDescriptor, path: &str, report: &mut Report) -> Option<Vec<FieldDescriptor>> {
    let (mut message, mut fields) = (Some(message.clone()), Vec::new());
    for name in path.split('.') {
        let Some(current) = message.take() else {
            report.add_named(super::place::shown(path), "text.path", "goes into a value that has no fields");
            return None;
        };
        let found = current.get_field_by_name(name).or_else(|| current.get_field_by_json_name(name));
        let Some(field) = found else {
            let root = Place::root("");
            unknown(&current, &root.field(path), name, report);
            return None;
        };
        message = match field.kind() {
            Kind::Message(inner) if !field.is_list() && !is_value(&inner) => Some(inner),
            _ => None,
        };
        fields.push(field);
    }
    Some(fields)
}

/// Whether a path does not go into a message of this type.
fn is_value(message: &MessageDescriptor) -> bool {
    known::is_text(message.full_name()) || known::is_open(message.full_name())
}

/// Writes within the messages of these fields.
fn nest<T>(out: &mut Vec<u8>, fields: &[FieldDescriptor], fill: &mut dyn FnMut(&mut Vec<u8>) -> T) -> T {
    match fields {
        [] => fill(out),
        [first, rest @ ..] => wire::put_message(out, first.number(), |out| nest(out, rest, fill)),
    }
}

/// Returns the value that a text means for this kind: some clients write booleans as numbers.
fn meant<'t>(kind: &Kind, text: &'t str) -> Scalar<'t> {
    match (kind, text) {
        (Kind::Bool, "1") => Scalar::Bool(true),
        (Kind::Bool, "0") => Scalar::Bool(false),
        _ => Scalar::Text(text),
    }
}
