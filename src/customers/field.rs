//! One field of a customer, named by its path as masks write it, and the texts that fill it.

use std::borrow::Cow;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, Value};
use prost_types::FieldMask;
use prost_types::value::Kind as Json;
use uuid::Uuid;

use super::model::Customer;
use super::wire;
use crate::contract::validate::Violation;
use crate::error::{Error, Result};
use crate::pb::{self, CONTRACT, CustomerStatus, ErrorReason};
use crate::rpc::mask::{self, Change};

/// The first part of the path of a tenant's own field.
const ATTRIBUTES: &str = "custom_attributes";

/// The limit of characters in the name of such a field, as for a tag.
const MAX_KEY: usize = 64;

/// The etag is part of the message, but is not a field of a customer.
const ETAG: &str = "etag";

/// A field that a text can fill.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    path: String,
    place: FieldKind,
}

#[derive(Debug, Clone)]
enum FieldKind {
    /// A text, a list of texts, or a word of an enum.
    Value(Vec<FieldDescriptor>),
    /// A key of the tenant's own.
    Attribute(String),
}

impl Field {
    /// Returns the field at `path`.
    ///
    /// # Errors
    ///
    /// A description of what is wrong with the path.
    pub(crate) fn parse(path: &str) -> std::result::Result<Self, String> {
        let field = |place| Self { path: path.to_owned(), place };
        let rest = path.strip_prefix(ATTRIBUTES);
        if let Some(key) = rest.and_then(|rest| rest.strip_prefix('.')) {
            return match key.chars().count() {
                1..=MAX_KEY => Ok(field(FieldKind::Attribute(key.to_owned()))),
                _ => Err(format!("must name a key of {ATTRIBUTES} with 1 to {MAX_KEY} characters")),
            };
        }
        if rest == Some("") {
            return Err(format!("must name one key: {ATTRIBUTES}.<key>"));
        }
        let fields = mask::writable_value::<pb::Customer>(path)?;
        match fields.last().map(FieldDescriptor::kind) {
            Some(Kind::String | Kind::Enum(_)) if path != ETAG => Ok(field(FieldKind::Value(fields))),
            _ => Err(format!("{path} is no field that a text can fill")),
        }
    }

    /// Returns the field's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// A customer as a message, to look up which fields are filled.
pub(crate) struct CustomerFields(DynamicMessage);

impl CustomerFields {
    /// Returns this customer as a message.
    pub(crate) fn of(customer: &Customer) -> Result<Self> {
        to_dynamic(&customer.clone().into()).map(Self)
    }

    /// Returns whether the field is filled. The status LEAD does not count: a customer has it by default.
    pub(crate) fn has(&self, field: &Field) -> bool {
        match &field.place {
            FieldKind::Value(path) => value_at(&self.0, path).is_some_and(|value| is_filled(&value)),
            FieldKind::Attribute(key) => self.has_attribute(key),
        }
    }

    fn has_attribute(&self, key: &str) -> bool {
        let attributes = self.0.get_field_by_name(ATTRIBUTES);
        let object = attributes.as_ref().and_then(|value| value.as_message());
        let fields = object.and_then(|object| object.get_field_by_name("fields"));
        let fields = fields.as_ref().and_then(|fields| fields.as_map());
        let value = fields.and_then(|map| map.get(&prost_reflect::MapKey::String(key.to_owned())));
        let value = value.and_then(Value::as_message).and_then(|value| value.transcode_to().ok());
        value.is_some_and(|value: prost_types::Value| is_set(&value))
    }
}

/// Returns the customer after its field took `text`. A list takes every line, after its present items; with
/// `overwrite` instead of them.
///
/// # Errors
///
/// `TARGET_FIELD_FILLED` if the field has another value, and `overwrite` is not set. `FIELD_INVALID` of
/// `answer`, the field of the request that has the text, if the rules of the contract refuse it.
pub(crate) fn fill(current: &Customer, field: &Field, text: &str, overwrite: bool) -> Result<Customer> {
    let before = pb::Customer::from(current.clone());
    let filled = || filled(current, field);
    let (wanted, path) = match &field.place {
        FieldKind::Value(path) => {
            let mut wanted = to_dynamic(&before)?;
            take(&mut wanted, path, text.trim(), overwrite, &filled)?;
            (wanted.transcode_to().map_err(Error::internal)?, field.path.as_str())
        }
        FieldKind::Attribute(key) => {
            (with_attribute(before.clone(), key, text.trim(), overwrite, &filled)?, ATTRIBUTES)
        }
    };
    let mask = FieldMask { paths: vec![path.to_owned()] };
    let change = Change::new("customer", &wanted, Some(&mask));
    let after = change.and_then(|change| change.apply(&before));
    Ok(wire::update(after.map_err(|error| of_answer(error, field))?, current))
}

/// Writes the text at the end of the path. Missing messages on the way are created.
fn take(
    message: &mut DynamicMessage,
    path: &[FieldDescriptor],
    text: &str,
    overwrite: bool,
    filled: &impl Fn() -> Error,
) -> Result<()> {
    match path {
        [] => Ok(()),
        [field] => {
            let present = message.get_field(field).into_owned();
            let value = taken(field, &present, text, overwrite, filled)?;
            message.set_field(field, value);
            Ok(())
        }
        [field, rest @ ..] => match message.get_field_mut(field) {
            Value::Message(inner) => take(inner, rest, text, overwrite, filled),
            _ => Err(Error::internal(format!("{} is no message", field.name()))),
        },
    }
}

/// Returns a value after it took the text.
fn taken(
    field: &FieldDescriptor,
    present: &Value,
    text: &str,
    overwrite: bool,
    filled: &impl Fn() -> Error,
) -> Result<Value> {
    let value = match (field.kind(), present) {
        (Kind::String, Value::List(items)) => return Ok(Value::List(added(items, text, overwrite))),
        (Kind::Enum(words), Value::List(items)) => {
            return listed(&words, items, text, overwrite).map(Value::List);
        }
        (Kind::String, _) => Value::String(text.to_owned()),
        (Kind::Enum(words), _) => Value::EnumNumber(word(&words, text)?),
        _ => return Err(Error::internal(format!("{} takes no text", field.name()))),
    };
    if value != *present && is_filled(present) && !overwrite {
        return Err(filled());
    }
    Ok(value)
}

/// Returns the items of a list after it took the lines of a text.
fn added(present: &[Value], text: &str, overwrite: bool) -> Vec<Value> {
    let mut items = if overwrite { Vec::new() } else { present.to_vec() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let item = Value::String(line.to_owned());
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

/// Returns the words of a list after it took the lines of a text.
fn listed(words: &EnumDescriptor, present: &[Value], text: &str, overwrite: bool) -> Result<Vec<Value>> {
    let mut items = if overwrite { Vec::new() } else { present.to_vec() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let item = Value::EnumNumber(word(words, line)?);
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

/// Returns the number of a word of an enum. The word may be written in any case, with spaces or hyphens, and
/// without the common prefix of the enum's words.
fn word(words: &EnumDescriptor, text: &str) -> Result<i32> {
    let wanted = text.to_ascii_uppercase().replace([' ', '-'], "_");
    let zero = words.get_value(0).map(|zero| zero.name().to_owned()).unwrap_or_default();
    let prefix = zero.trim_end_matches("UNSPECIFIED");
    let known = words.values().filter(|value| value.number() != 0);
    let known: Vec<_> = known.map(|value| (value.name().replacen(prefix, "", 1), value)).collect();
    let found = known.iter().find(|(short, value)| *short == wanted || value.name() == wanted);
    found.map(|(_, value)| value.number()).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(short, _)| short.as_str()).collect();
        Error::invalid("answer", "enum.defined_only", format!("must be one of {}", names.join(", ")))
    })
}

fn with_attribute(
    mut customer: pb::Customer,
    key: &str,
    text: &str,
    overwrite: bool,
    filled: &impl Fn() -> Error,
) -> Result<pb::Customer> {
    let value = prost_types::Value { kind: Some(Json::StringValue(text.to_owned())) };
    let fields = &mut customer.custom_attributes.get_or_insert_default().fields;
    match fields.get(key) {
        Some(present) if *present != value && is_set(present) && !overwrite => Err(filled()),
        _ => {
            fields.insert(key.to_owned(), value);
            Ok(customer)
        }
    }
}

/// Returns the value at the end of the path, if it is set.
fn value_at<'a>(message: &'a DynamicMessage, path: &[FieldDescriptor]) -> Option<Cow<'a, Value>> {
    let (field, rest) = path.split_first()?;
    if !message.has_field(field) {
        return None;
    }
    if rest.is_empty() {
        return Some(message.get_field(field));
    }
    match message.get_field(field) {
        Cow::Borrowed(Value::Message(inner)) => value_at(inner, rest),
        _ => None,
    }
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        // The status is the only enum of a customer outside a list.
        Value::EnumNumber(number) => *number > CustomerStatus::Lead.into(),
        _ => true,
    }
}

fn is_set(value: &prost_types::Value) -> bool {
    match &value.kind {
        None | Some(Json::NullValue(_)) => false,
        Some(Json::StringValue(text)) => !text.is_empty(),
        Some(Json::ListValue(list)) => !list.values.is_empty(),
        Some(Json::StructValue(object)) => !object.fields.is_empty(),
        Some(Json::BoolValue(_) | Json::NumberValue(_)) => true,
    }
}

fn to_dynamic(customer: &pb::Customer) -> Result<DynamicMessage> {
    let descriptor = CONTRACT
        .get_message_by_name(&pb::Customer::full_name())
        .ok_or_else(|| Error::internal("Customer is not in the contract"))?;
    DynamicMessage::decode(descriptor, customer.encode_to_vec().as_slice()).map_err(Error::internal)
}

fn filled(customer: &Customer, field: &Field) -> Error {
    is_filled_already(customer.id, field)
}

/// Returns the error for a field that has another value.
pub(crate) fn is_filled_already(customer: Uuid, field: &Field) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::TargetFieldFilled,
        message: format!(
            "the customer's {} has another value; set overwrite to replace it, or leave write_to_customer out",
            field.path()
        ),
        subject: format!("customer/{customer}"),
    }
}

/// Turns an error of the field into an error of `answer`, the text that it would take.
fn of_answer(error: Error, field: &Field) -> Error {
    let Error::Invalid { reason, violations } = error else { return error };
    let of_answer = |Violation { field: _, rule, description }| Violation {
        field: "answer".to_owned(),
        rule,
        description: format!("does not fit {}: {description}", field.path()),
    };
    Error::Invalid { reason, violations: violations.into_iter().map(of_answer).collect() }
}

#[cfg(test)]
mod tests;
