//! JSON becomes the bytes of a message, in one pass along the descriptor.
//!
//! No tree is built in between: an empty object takes two bytes here, and would take hundreds there. So what a client
//! can make the server hold is bounded by the size of the request, and `rpc::incoming` counts the items of the bytes as
//! it does for gRPC. All that is wrong is collected, so that a client corrects a request in one round.

mod given;
mod open;
mod target;

use std::borrow::Cow;
use std::fmt;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::given::Given;
use self::open::{open_fields, open_items, put_open};
use self::target::{Sent, Target};
use super::place::Place;
use super::scalar::Scalar;
use super::scalars::put_scalar;
use super::wire::{Wire, put};
use super::{Report, known, names};
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::mask::opens;

/// How deep a request may be. The deepest message of the contract, with the deepest open object in it, is half as deep.
const MAX_DEPTH: usize = 64;

/// The numbers of the fields of an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A message that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::web) struct Read {
    /// Its bytes.
    pub(in crate::web) bytes: Vec<u8>,
    /// The paths of the fields that were sent, as a mask names them: those of single messages one by one.
    pub(in crate::web) sent: Vec<String>,
}

/// Reads the message of this type, which is the field `name` of the request; the request itself if `name` is empty.
/// What is wrong with its fields is added to `report`.
///
/// # Errors
///
/// `REQUEST_MALFORMED` if the text is not JSON.
pub(in crate::web) fn read(
    message: &MessageDescriptor,
    name: &str,
    text: &[u8],
    report: &mut Report,
) -> Result<Read> {
    let mut read = Read::default();
    let sent = Some(Sent { before: String::new(), paths: &mut read.sent });
    let into = Target { out: &mut read.bytes, report, sent };
    let value = Value { what: What::Message(message), at: &Place::root(name), into };
    let mut source = serde_json::Deserializer::from_slice(text);
    let outcome = value.deserialize(&mut source).and_then(|_| source.end());
    match outcome {
        Ok(()) => Ok(read),
        // The texts of these errors say what is missing where, and nothing of what was sent.
        Err(error) => Err(Error::invalid_because(
            ErrorReason::RequestMalformed,
            "body",
            "json",
            format!("is not JSON: {error}"),
        )),
    }
}

/// What a value becomes.
#[derive(Clone, Copy)]
enum What<'d> {
    /// The fields of a message.
    Message(&'d MessageDescriptor),
    /// A field.
    Field(&'d FieldDescriptor),
    /// One value of a field with this number: an item of a list, or the value of an entry of a map.
    One(u32, &'d Kind),
    /// The fields of a `google.protobuf.Value`.
    Open,
}

impl What<'_> {
    /// Returns what it must be, if it is something else.
    fn expected(self) -> String {
        match self {
            Self::Field(field) if field.is_list() => "must be a list".to_owned(),
            Self::Field(field) if field.is_map() => "must be an object".to_owned(),
            Self::Field(field) => expected(&field.kind()),
            Self::One(_, kind) => expected(kind),
            Self::Message(_) | Self::Open => "must be an object".to_owned(),
        }
    }
}

/// Returns what a value of this kind must be, if it is something else.
fn expected(kind: &Kind) -> String {
    let refused = put_scalar(&mut Vec::new(), 1, kind, Scalar::Null);
    refused.err().unwrap_or_else(|| "must not be null".to_owned())
}

/// A value that is to be read.
struct Value<'w, 'd> {
    what: What<'d>,
    at: &'d Place<'d>,
    into: Target<'w>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    /// Whether it is something: not if it is null.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<bool, D::Error> {
        if self.at.depth() > MAX_DEPTH {
            self.refuse(format!("is more than {MAX_DEPTH} levels deep"));
            return source.deserialize_ignored_any(IgnoredAny).map(|_| true);
        }
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Signed(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Unsigned(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Text(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Self { what, at, into } = self;
        match what {
            What::Message(message) => fields(message, at, into, map)?,
            What::Open => into.message(open::OBJECT, |into| open_fields(at, into, map))?,
            What::Field(field) if field.is_list() => ignore(Self { what, at, into }, map)?,
            What::Field(field) if field.is_map() => entries(field, at, into, map)?,
            What::Field(field) => object(field.number(), &field.kind(), at, into, map)?,
            What::One(number, kind) => object(number, kind, at, into, map)?,
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Self { what, at, mut into } = self;
        match what {
            What::Field(field) if field.is_list() => {
                let (number, kind) = (field.number(), field.kind());
                items(What::One(number, &kind), at, &mut into, list)?;
            }
            What::Open => into.message(open::LIST, |into| open_items(at, into, list))?,
            what => {
                let value = Value { what, at, into };
                let expected = what.expected();
                value.refuse(expected);
                while list.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(true)
    }
}

impl Value<'_, '_> {
    fn refuse(self, description: impl Into<String>) {
        self.into.report.add(self.at, "json", description);
    }

    /// Reads a value that is no object and no list.
    fn scalar(self, value: Scalar<'_>) -> bool {
        let Scalar::Null = value else {
            self.some(value);
            return true;
        };
        match self.what {
            What::One(..) => self.refuse("must not be null"),
            What::Open => put(self.into.out, open::NULL, Wire::Varint(0)),
            What::Field(_) | What::Message(_) => {}
        }
        false
    }

    fn some(self, value: Scalar<'_>) {
        let read = match self.what {
            What::Field(field) if field.is_list() || field.is_map() => Err(self.what.expected()),
            What::Field(field) => put_scalar(self.into.out, field.number(), &field.kind(), value),
            What::One(number, kind) => put_scalar(self.into.out, number, kind, value),
            What::Message(_) => Err(self.what.expected()),
            What::Open => {
                put_open(self.into.out, value);
                Ok(())
            }
        };
        if let Err(wrong) = read {
            self.refuse(wrong);
        }
    }
}

/// Reads the fields of a message.
fn fields<'de, A: MapAccess<'de>>(
    message: &MessageDescriptor,
    at: &Place<'_>,
    mut into: Target<'_>,
    mut map: A,
) -> Result<(), A::Error> {
    let (mut given, mut is_empty) = (Given::default(), true);
    while let Some(name) = map.next_key::<Cow<'de, str>>()? {
        is_empty = false;
        let found = message.get_field_by_name(&name).or_else(|| message.get_field_by_json_name(&name));
        let Some(field) = found else {
            unknown(message, &at.field(&name), &name, into.report);
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        let at = at.field(field.name());
        let value = Value { what: What::Field(&field), at: &at, into: into.field(&field) };
        if !map.next_value_seed(value)? {
            continue;
        }
        if let Some(wrong) = given.note(&field) {
            into.report.add(&at, "json.twice", wrong);
        }
        if let Some(sent) = into.sent.as_mut().filter(|_| !opens(&field)) {
            sent.paths.push(format!("{}{}", sent.before, field.name()));
        }
    }
    // An empty object empties the field that it is sent for.
    if let Some(Sent { before, paths }) = into.sent.filter(|_| is_empty) {
        paths.extend(before.strip_suffix('.').map(str::to_owned));
    }
    Ok(())
}

/// Reports a name that is no field of the message. Only the first such error lists what there is.
pub(super) fn unknown(message: &MessageDescriptor, at: &Place<'_>, name: &str, report: &mut Report) {
    let lists = !std::mem::replace(&mut report.has_listed, true);
    report.add(at, "json.unknown_field", names::no_field(message, name, lists));
}

/// Reads an object that is the value of a field with this number and kind.
fn object<'de, A: MapAccess<'de>>(
    number: u32,
    kind: &Kind,
    at: &Place<'_>,
    into: Target<'_>,
    map: A,
) -> Result<(), A::Error> {
    match kind {
        Kind::Message(message) if message.full_name() == known::STRUCT => {
            into.message(number, |into| open_fields(at, into, map))
        }
        Kind::Message(message) if !known::is_text(message.full_name()) => {
            into.message(number, |into| fields(message, at, into, map))
        }
        kind => ignore(Value { what: What::One(number, kind), at, into }, map),
    }
}

/// Reads the entries of a map, each of which is a message of its key and its value.
fn entries<'de, A: MapAccess<'de>>(
    field: &FieldDescriptor,
    at: &Place<'_>,
    mut into: Target<'_>,
    mut map: A,
) -> Result<(), A::Error> {
    let Kind::Message(entry) = field.kind() else {
        return ignore(Value { what: What::Field(field), at, into }, map);
    };
    let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    while let Some(name) = map.next_key::<Cow<'de, str>>()? {
        let at = at.key(&name);
        into.part().message(field.number(), |mut into| {
            if let Err(wrong) = put_scalar(into.out, KEY, &key, Scalar::Text(&name)) {
                into.report.add(&at, "json.key", format!("the key {wrong}"));
            }
            map.next_value_seed(Value { what: What::One(VALUE, &value), at: &at, into: into.part() })
        })?;
    }
    Ok(())
}

/// Reads the items of a list.
fn items<'de, A: SeqAccess<'de>>(
    what: What<'_>,
    at: &Place<'_>,
    into: &mut Target<'_>,
    mut list: A,
) -> Result<(), A::Error> {
    for index in 0.. {
        let at = at.index(index);
        if list.next_element_seed(Value { what, at: &at, into: into.part() })?.is_none() {
            break;
        }
    }
    Ok(())
}

/// Passes over an object where there must be something else.
fn ignore<'de, A: MapAccess<'de>>(value: Value<'_, '_>, mut map: A) -> Result<(), A::Error> {
    let expected = value.what.expected();
    value.refuse(expected);
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
