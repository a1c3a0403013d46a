//! Rules that compare: numbers, timestamps and durations.

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::options::Rules;

/// The value of a rule.
pub(crate) struct Limit {
    order: Order,
    /// The value in Rust code.
    pub(crate) code: String,
    /// The value in a description.
    pub(crate) shown: String,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Order {
    Whole(i128),
    Float(f64),
}

/// The range that `gt`, `gte`, `lt` and `lte` define together.
pub(crate) struct Range {
    /// A pair of `std::ops::Bound`.
    pub(crate) code: String,
    /// The rule's id: `int32.gte_lte`.
    pub(crate) id: String,
    /// What the value must be.
    pub(crate) must: String,
}

impl Limit {
    /// Reads the value of a rule for a number, a timestamp or a duration.
    pub(crate) fn new(value: &Value) -> Result<Self, String> {
        match value {
            Value::I32(number) => Ok(Self::whole(*number, "i32")),
            Value::I64(number) => Ok(Self::whole(*number, "i64")),
            Value::U32(number) => Ok(Self::whole(*number, "u32")),
            Value::U64(number) => Ok(Self::whole(*number, "u64")),
            Value::F32(number) => Self::float(f64::from(*number), format!("{number:?}"), "f32"),
            Value::F64(number) => Self::float(*number, format!("{number:?}"), "f64"),
            Value::Message(message) => Self::time(message),
            _ => Err("a rule's value is no number".to_owned()),
        }
    }

    fn whole(number: impl Into<i128>, kind: &str) -> Self {
        let number = number.into();
        Self { order: Order::Whole(number), code: format!("{number}_{kind}"), shown: number.to_string() }
    }

    fn float(number: f64, shown: String, kind: &str) -> Result<Self, String> {
        if !number.is_finite() {
            return Err("a rule's value is not finite".to_owned());
        }
        Ok(Self { order: Order::Float(number), code: format!("{shown}_{kind}"), shown })
    }

    fn time(message: &DynamicMessage) -> Result<Self, String> {
        let field = |name: &str| message.get_field_by_name(name);
        let seconds = field("seconds").and_then(|value| value.as_i64());
        let nanos = field("nanos").and_then(|value| value.as_i32());
        let (Some(seconds), Some(nanos)) = (seconds, nanos) else {
            return Err("a rule's value is no time".to_owned());
        };
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let shown = if nanos == 0 { format!("{seconds} s") } else { format!("{seconds} s and {nanos} ns") };
        Ok(Self {
            order: Order::Whole(total),
            code: format!("{total}_i128"),
            shown: if message.descriptor().name() == "Timestamp" {
                format!("{shown} of Unix time")
            } else {
                shown
            },
        })
    }
}

/// Takes the rules for a lower and an upper bound.
pub(crate) fn take_range(rules: &mut Rules) -> Result<Option<Range>, String> {
    let (mut codes, mut ids, mut musts, mut limits) = (vec![], vec![], vec![], vec![]);
    for side in [
        [("gt", "Excluded", "greater than"), ("gte", "Included", "at least")],
        [("lt", "Excluded", "less than"), ("lte", "Included", "at most")],
    ] {
        let mut code = "std::ops::Bound::Unbounded".to_owned();
        for (rule, bound, word) in side {
            if let Some(value) = rules.take(rule) {
                let limit = Limit::new(&value)?;
                code = format!("std::ops::Bound::{bound}({})", limit.code);
                ids.push(rule);
                musts.push(format!("{word} {}", limit.shown));
                limits.push((limit.order, bound == "Included"));
            }
        }
        codes.push(code);
    }
    if ids.is_empty() {
        return Ok(None);
    }
    let id = rules.id(&ids.join("_"));
    if let [(low, low_in), (high, high_in)] = limits[..]
        && (low > high || low == high && !(low_in && high_in))
    {
        return Err(format!("the rule {id} leaves no value"));
    }
    Ok(Some(Range {
        code: format!("({})", codes.join(", ")),
        id,
        must: format!("must be {}", musts.join(" and ")),
    }))
}
