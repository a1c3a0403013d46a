//! A message becomes JSON, along its descriptor.

use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::known;
use crate::pb::CONTRACT;

/// How messages are written.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Style {
    /// Whether names are as in the protos (`business_name`), or in lowerCamel.
    pub(in crate::web) snake: bool,
    /// Whether fields that have their default are written too.
    pub(in crate::web) defaults: bool,
}

impl Style {
    /// Of REST: its clients read `business_name`, and find every field.
    pub(in crate::web) const REST: Self = Self { snake: true, defaults: true };

    /// Of Connect: the form that protobuf says.
    pub(in crate::web) const CONNECT: Self = Self { snake: false, defaults: false };

    /// Of errors, whose fields are mostly empty.
    pub(in crate::web) const ERROR: Self = Self { snake: true, defaults: false };

    /// Writes a message.
    pub(in crate::web) fn write(self, out: &mut Vec<u8>, message: &DynamicMessage) {
        match message.descriptor().full_name() {
            known::TIMESTAMP | known::DURATION | known::FIELD_MASK => put_text(out, &known_text(message)),
            known::STRUCT => self.open_object(out, message),
            known::VALUE => self.open_value(out, message),
            known::LIST => self.list(out, &field(message, 1), &Kind::Message(message.descriptor())),
            known::ANY => self.any(out, message),
            _ => {
                out.push(b'{');
                self.fields(out, message, true);
                out.push(b'}');
            }
        }
    }

    /// Writes the fields of a message, in their order. A field that may be unset is not written if it is.
    fn fields(self, out: &mut Vec<u8>, message: &DynamicMessage, mut is_first: bool) {
        for field in message.descriptor().fields() {
            let is_set = message.has_field(&field);
            if !is_set && (!self.defaults || field.supports_presence()) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            put_text(out, if self.snake { field.name() } else { field.json_name() });
            out.push(b':');
            self.field(out, &field, &message.get_field(&field));
        }
    }

    fn field(self, out: &mut Vec<u8>, field: &FieldDescriptor, value: &Value) {
        match value {
            Value::Map(entries) => {
                let kind = match field.kind() {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    kind => kind,
                };
                // A hash map has no order, and the same answer should have the same bytes.
                let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                out.push(b'{');
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    put_text(out, &key);
                    out.push(b':');
                    self.value(out, &kind, value);
                }
                out.push(b'}');
            }
            value if field.is_list() => self.list(out, value, &field.kind()),
            value => self.value(out, &field.kind(), value),
        }
    }

    fn list(self, out: &mut Vec<u8>, value: &Value, kind: &Kind) {
        out.push(b'[');
        for (index, item) in value.as_list().unwrap_or_default().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.value(out, kind, item);
        }
        out.push(b']');
    }

    fn value(self, out: &mut Vec<u8>, kind: &Kind, value: &Value) {
        match value {
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::I32(value) => put_shown(out, value),
            Value::U32(value) => put_shown(out, value),
            // A number of 64 bits would lose its last digits in JavaScript.
            Value::I64(value) => put_text(out, &value.to_string()),
            Value::U64(value) => put_text(out, &value.to_string()),
            Value::F32(value) => put_float(out, f64::from(*value)),
            Value::F64(value) => put_float(out, *value),
            Value::String(text) => put_text(out, text),
            Value::Bytes(bytes) => put_text(out, &STANDARD.encode(bytes)),
            Value::EnumNumber(number) => match kind.as_enum().and_then(|kind| kind.get_value(*number)) {
                Some(value) => put_text(out, value.name()),
                None => put_shown(out, number),
            },
            Value::Message(message) => self.write(out, message),
            Value::List(_) | Value::Map(_) => out.extend_from_slice(b"null"),
        }
    }

    fn open_object(self, out: &mut Vec<u8>, message: &DynamicMessage) {
        match message.descriptor().get_field(1) {
            Some(fields) => self.field(out, &fields, &message.get_field(&fields)),
            None => out.extend_from_slice(b"{}"),
        }
    }

    fn open_value(self, out: &mut Vec<u8>, message: &DynamicMessage) {
        let mut set = message.fields().filter(|(field, _)| field.number() > 1);
        match set.next() {
            Some((field, value)) => self.value(out, &field.kind(), value),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Writes a message of any type, with the type beside its fields.
    fn any(self, out: &mut Vec<u8>, message: &DynamicMessage) {
        let (url, bytes) = (field(message, 1), field(message, 2));
        let (url, bytes) = (url.as_str().unwrap_or_default(), bytes.as_bytes().cloned().unwrap_or_default());
        let name = url.rsplit('/').next().unwrap_or_default();
        let inner = CONTRACT.get_message_by_name(name);
        let inner = inner.and_then(|inner| DynamicMessage::decode(inner, bytes.clone()).ok());
        out.extend_from_slice(b"{\"@type\":");
        put_text(out, url);
        match inner {
            Some(inner) => self.fields(out, &inner, false),
            None => {
                out.extend_from_slice(b",\"value\":");
                put_text(out, &STANDARD.encode(&bytes));
            }
        }
        out.push(b'}');
    }
}

/// Returns the field with this number; an empty list if there is none.
fn field(message: &DynamicMessage, number: u32) -> Value {
    message.get_field_by_number(number).map_or(Value::List(Vec::new()), std::borrow::Cow::into_owned)
}

/// Returns the text of a time, a duration or a mask.
fn known_text(message: &DynamicMessage) -> String {
    let (first, second) = (field(message, 1), field(message, 2));
    let (seconds, nanos) = (first.as_i64().unwrap_or_default(), second.as_i32().unwrap_or_default());
    match message.descriptor().full_name() {
        known::TIMESTAMP => known::time_text(seconds, nanos).unwrap_or_default(),
        known::DURATION => known::duration_text(seconds, nanos),
        _ => {
            let paths = first.as_list().unwrap_or_default();
            paths.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn put_shown(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Memory takes all that is written.
    let _ = write!(out, "{value}");
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    match value {
        value if value.is_nan() => put_text(out, "NaN"),
        f64::INFINITY => put_text(out, "Infinity"),
        f64::NEG_INFINITY => put_text(out, "-Infinity"),
        // A whole number has no point, as other writers of JSON have it.
        value => put_shown(out, value),
    }
}

pub(in crate::web) fn put_text(out: &mut Vec<u8>, text: &str) {
    // Memory takes all that is written, and a text is always JSON.
    let _ = serde_json::to_writer(out, text);
}
