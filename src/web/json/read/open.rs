//! Values of open objects: the fields of `google.protobuf.Value`.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess};

use super::target::Target;
use super::{Value, What};
use crate::web::json::place::Place;
use crate::web::json::scalar::Scalar;
use crate::web::json::wire::{Wire, put};

pub(super) const NULL: u32 = 1;
pub(super) const NUMBER: u32 = 2;
pub(super) const TEXT: u32 = 3;
pub(super) const BOOL: u32 = 4;
pub(super) const OBJECT: u32 = 5;
pub(super) const LIST: u32 = 6;

/// The number of the field of `Struct` and of `ListValue`, and of the two of an entry of the first.
const ENTRIES: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// Reads the keys of an open object.
pub(super) fn open_fields<'de, A: MapAccess<'de>>(
    at: &Place<'_>,
    mut into: Target<'_>,
    mut map: A,
) -> Result<(), A::Error> {
    while let Some(key) = map.next_key::<Cow<'de, str>>()? {
        let at = at.key(&key);
        into.part().message(ENTRIES, |into| {
            put(into.out, KEY, Wire::Bytes(key.as_bytes()));
            into.message(VALUE, |into| map.next_value_seed(Value { what: What::Open, at: &at, into }))
        })?;
    }
    Ok(())
}

/// Reads the items of an open list.
pub(super) fn open_items<'de, A: SeqAccess<'de>>(
    at: &Place<'_>,
    into: Target<'_>,
    mut list: A,
) -> Result<(), A::Error> {
    for index in 0.. {
        let at = at.index(index);
        let mut item = Vec::new();
        let value = Value {
            what: What::Open,
            at: &at,
            into: Target { out: &mut item, report: into.report, sent: None },
        };
        if list.next_element_seed(value)?.is_none() {
            break;
        }
        put(into.out, ENTRIES, Wire::Bytes(&item));
    }
    Ok(())
}

/// Writes a value of an open object.
pub(super) fn put_open(out: &mut Vec<u8>, value: Scalar<'_>) {
    let number = |number: f64| Wire::Fixed64(number.to_bits());
    match value {
        Scalar::Null => put(out, NULL, Wire::Varint(0)),
        Scalar::Bool(value) => put(out, BOOL, Wire::Varint(value.into())),
        Scalar::Signed(value) => put(out, NUMBER, number(value as f64)),
        Scalar::Unsigned(value) => put(out, NUMBER, number(value as f64)),
        Scalar::Float(value) => put(out, NUMBER, number(value)),
        Scalar::Text(text) => put(out, TEXT, Wire::Bytes(text.as_bytes())),
    }
}
