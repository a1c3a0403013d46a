//! `google.protobuf.Struct` ⇄ jsonb.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number};

/// The limit below which a double represents every whole number exactly: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Converts a Struct to a JSON object.
pub fn to_json(object: Option<&Struct>) -> serde_json::Value {
    let mut map = Map::new();
    for (key, value) in object.iter().flat_map(|object| &object.fields) {
        map.insert(key.clone(), value_to_json(value));
    }
    serde_json::Value::Object(map)
}

/// Converts a JSON object to a Struct; `None` if it is empty, as if nothing was sent.
pub fn from_json(json: &serde_json::Value) -> Option<Struct> {
    match json {
        serde_json::Value::Object(map) if !map.is_empty() => Some(object_from_json(map)),
        _ => None,
    }
}

fn value_to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_to_json).collect(),
        Some(Kind::StructValue(object)) => to_json(Some(object)),
    }
}

/// Writes whole numbers without a fraction, as people do. The rules of the contract refuse numbers
/// that JSON does not have.
fn number_to_json(number: f64) -> serde_json::Value {
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 fits an i64")]
        let whole = number as i64;
        return whole.into();
    }
    Number::from_f64(number).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

fn object_from_json(map: &Map<String, serde_json::Value>) -> Struct {
    Struct { fields: map.iter().map(|(key, value)| (key.clone(), value_from_json(value))).collect() }
}

fn value_from_json(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(value_from_json).collect() })
        }
        serde_json::Value::Object(map) => Kind::StructValue(object_from_json(map)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            any::<bool>().prop_map(Kind::BoolValue),
            (-1e15..1e15).prop_map(Kind::NumberValue),
            any::<i32>().prop_map(|number| Kind::NumberValue(number.into())),
            ".*".prop_map(Kind::StringValue),
        ]
        .prop_map(|kind| Value { kind: Some(kind) });
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8)
                    .prop_map(|values| Kind::ListValue(ListValue { values })),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|fields| Kind::StructValue(Struct { fields })),
            ]
            .prop_map(|kind| Value { kind: Some(kind) })
        })
    }

    proptest! {
        #[test]
        fn an_object_reads_back_as_it_was_written(
            fields in prop::collection::btree_map(".*", any_value(), 1..8)
        ) {
            let object = Struct { fields };
            let text = to_json(Some(&object)).to_string();
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(from_json(&json), Some(object));
        }
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(number_to_json(5.0).to_string(), "5");
        assert_eq!(number_to_json(0.1).to_string(), "0.1");
        assert_eq!(number_to_json(-0.0).to_string(), "0");
    }
}
