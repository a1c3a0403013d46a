//! The well-known types of protobuf: their checks that need no rule.

use prost_types::value::Kind;
use prost_types::{Any, Duration, FieldMask, ListValue, Struct, Timestamp, Value};

use super::{Path, Report, Validate, check};

/// 0001-01-01T00:00:00Z, the first time that `google.protobuf.Timestamp` has.
pub const FIRST_SECOND: i64 = -62_135_596_800;

/// 9999-12-31T23:59:59Z, the last second of `google.protobuf.Timestamp`.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// How deep a `google.protobuf.Struct` may nest, with the outermost object as the first level. Objects written by
/// hand have five levels, and prost stops decoding 33 messages down, which is about here.
pub const MAX_STRUCT_DEPTH: usize = 16;

/// How many keys and items a `google.protobuf.Struct` may have on all levels together: each takes some 100 bytes once
/// decoded, and far less on the wire.
pub const MAX_STRUCT_ENTRIES: usize = 10_000;

/// How many paths a `google.protobuf.FieldMask` may have: more than any resource has fields, so that it can also name
/// single keys of open objects.
pub const MAX_MASK_PATHS: usize = 256;

/// The longest `google.protobuf.Duration`, about 10,000 years.
const LONGEST_DURATION: i64 = 315_576_000_000;

/// The maximum nanoseconds beside whole seconds.
const MAX_NANOS: i32 = 999_999_999;

impl Validate for Timestamp {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        let years = (FIRST_SECOND..=LAST_SECOND).contains(&self.seconds);
        let must = "must lie within the years 0001 to 9999";
        let seconds = check::insist(years, "timestamp.seconds", must, at, report);
        let nanos = (0..=MAX_NANOS).contains(&self.nanos);
        let must = "must have nanos from 0 to 999999999";
        let _ = seconds && check::insist(nanos, "timestamp.nanos", must, at, report);
    }
}

impl Validate for Duration {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        let seconds = (-LONGEST_DURATION..=LONGEST_DURATION).contains(&self.seconds);
        let must = "must have seconds from -315576000000 to 315576000000";
        let seconds = check::insist(seconds, "duration.seconds", must, at, report);
        let nanos = (-MAX_NANOS..=MAX_NANOS).contains(&self.nanos);
        let must = "must have nanos from -999999999 to 999999999";
        let nanos = seconds && check::insist(nanos, "duration.nanos", must, at, report);
        let one_sign = self.seconds.signum() * i64::from(self.nanos.signum()) >= 0;
        let must = "must have seconds and nanos of the same sign";
        let _ = nanos && check::insist(one_sign, "duration.sign", must, at, report);
    }
}

impl Validate for FieldMask {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        let at = &at.field("paths");
        let must = "must have at most 256 items";
        if check::size(self.paths.len(), ..=MAX_MASK_PATHS, "field_mask.max_paths", must, at, report) {
            for (index, path) in self.paths.iter().enumerate() {
                check::no_nul(path, &at.index(index), report);
            }
        }
    }
}

impl Validate for Any {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        check::no_nul(&self.type_url, &at.field("type_url"), report);
    }
}

/// `google.protobuf.Empty`.
impl Validate for () {
    fn check(&self, _at: &Path<'_>, _report: &mut Report) {}
}

impl Validate for Struct {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        tell(Walk::default().object(self, 0), at, report);
    }
}

impl Validate for ListValue {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        tell(Walk::default().list(self, 0), at, report);
    }
}

impl Validate for Value {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        tell(Walk::default().value(self, 0), at, report);
    }
}

/// Why a `Struct`, `ListValue` or `Value` is refused. The walk ends at the first reason.
enum Refused {
    TooDeep,
    TooManyEntries,
    NotFinite,
    Nul,
    NoKind,
}

fn tell(walked: Result<(), Refused>, at: &Path<'_>, report: &mut Report) {
    let Err(refused) = walked else { return };
    match refused {
        Refused::TooDeep => report.insist(
            at,
            "struct.max_depth",
            format_args!("must be at most {MAX_STRUCT_DEPTH} levels deep"),
        ),
        Refused::TooManyEntries => report.insist(
            at,
            "struct.max_entries",
            format_args!("must have at most {MAX_STRUCT_ENTRIES} keys and items in all its levels"),
        ),
        Refused::NotFinite => {
            report.insist(at, "struct.finite", format_args!("must have finite numbers only"))
        }
        Refused::Nul => report.insist(
            at,
            "struct.no_nul",
            format_args!("must not contain the character U+0000 in a key or a string"),
        ),
        Refused::NoKind => report.insist(
            at,
            "struct.kind",
            format_args!("must set a kind in every value, null_value for null"),
        ),
    }
}

/// One walk over an open object, which counts its keys and items.
#[derive(Default)]
struct Walk {
    entries: usize,
}

impl Walk {
    fn object(&mut self, object: &Struct, outer: usize) -> Result<(), Refused> {
        let depth = self.enter(outer, object.fields.len())?;
        object.fields.iter().try_for_each(|(key, value)| {
            text(key)?;
            self.value(value, depth)
        })
    }

    fn list(&mut self, list: &ListValue, outer: usize) -> Result<(), Refused> {
        let depth = self.enter(outer, list.values.len())?;
        list.values.iter().try_for_each(|value| self.value(value, depth))
    }

    /// Refuses a value without a kind, as the type's definition requires. Read as null, it would come back different
    /// from what was sent.
    fn value(&mut self, value: &Value, outer: usize) -> Result<(), Refused> {
        match value.kind.as_ref().ok_or(Refused::NoKind)? {
            Kind::NullValue(_) | Kind::BoolValue(_) => Ok(()),
            Kind::NumberValue(number) if number.is_finite() => Ok(()),
            Kind::NumberValue(_) => Err(Refused::NotFinite),
            Kind::StringValue(value) => text(value),
            Kind::StructValue(object) => self.object(object, outer),
            Kind::ListValue(list) => self.list(list, outer),
        }
    }

    fn enter(&mut self, outer: usize, entries: usize) -> Result<usize, Refused> {
        self.entries = self.entries.saturating_add(entries);
        if outer >= MAX_STRUCT_DEPTH {
            Err(Refused::TooDeep)
        } else if self.entries > MAX_STRUCT_ENTRIES {
            Err(Refused::TooManyEntries)
        } else {
            Ok(outer + 1)
        }
    }
}

fn text(value: &str) -> Result<(), Refused> {
    if value.as_bytes().contains(&0) { Err(Refused::Nul) } else { Ok(()) }
}
