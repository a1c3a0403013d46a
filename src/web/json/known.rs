//! The types of protobuf that JSON writes in a form of their own: times, durations and masks as texts.

use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message;
use prost_reflect::MessageDescriptor;
use prost_types::{Duration, FieldMask, Timestamp};

use super::scalar::{Scalar, text};

pub(super) const TIMESTAMP: &str = "google.protobuf.Timestamp";
pub(super) const DURATION: &str = "google.protobuf.Duration";
pub(super) const FIELD_MASK: &str = "google.protobuf.FieldMask";
pub(super) const STRUCT: &str = "google.protobuf.Struct";
pub(super) const VALUE: &str = "google.protobuf.Value";
pub(super) const LIST: &str = "google.protobuf.ListValue";
pub(super) const ANY: &str = "google.protobuf.Any";

/// The digits of a second's fraction.
const FRACTION: usize = 9;

/// Whether JSON writes this type as an object of any keys, as any value, or as a list of any values.
pub(super) fn is_open(name: &str) -> bool {
    matches!(name, STRUCT | VALUE | LIST)
}

/// Whether JSON writes this type as a text.
pub(super) fn is_text(name: &str) -> bool {
    matches!(name, TIMESTAMP | DURATION | FIELD_MASK)
}

/// Returns the bytes of a message that JSON writes as a text.
///
/// # Errors
///
/// What the value must be instead.
pub(super) fn read(message: &MessageDescriptor, value: Scalar<'_>) -> Result<Vec<u8>, String> {
    match message.full_name() {
        TIMESTAMP => {
            let time = text(value).ok().and_then(time);
            let time = time.ok_or("must be a time with its zone, such as \"2026-01-31T09:30:00Z\"")?;
            Ok(time.encode_to_vec())
        }
        DURATION => {
            let duration = text(value).ok().and_then(duration);
            Ok(duration.ok_or("must be seconds, such as \"1.5s\"")?.encode_to_vec())
        }
        FIELD_MASK => {
            let paths =
                text(value).map_err(|_| "must be paths with commas between them, such as \"phone,city\"")?;
            Ok(mask(paths).encode_to_vec())
        }
        STRUCT => Err("must be an object".to_owned()),
        _ => Err(format!("must be an object, with the fields of {}", message.name())),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).ok()?;
    // chrono has a leap second as more than a second's nanoseconds.
    (nanos < 1_000_000_000).then(|| Timestamp { seconds: time.timestamp(), nanos })
}

fn duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > FRACTION {
        return None;
    }
    let (seconds, nanos) =
        (whole.parse::<i64>().ok()?, format!("{fraction:0<FRACTION$}").parse::<i32>().ok()?);
    let sign = if is_negative { -1 } else { 1 };
    Some(Duration { seconds: seconds * sign, nanos: nanos * sign as i32 })
}

/// Returns the mask of these paths. The first name of a path may be in lowerCamel; a name after a dot may be a key of an
/// open object, which is as it is.
pub(super) fn mask(text: &str) -> FieldMask {
    let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
    FieldMask { paths: paths.map(path).collect() }
}

fn path(path: &str) -> String {
    let (first, rest) = path.split_at(path.find('.').unwrap_or(path.len()));
    let mut snaked = String::with_capacity(path.len());
    for character in first.chars() {
        if character.is_ascii_uppercase() && !snaked.is_empty() {
            snaked.push('_');
        }
        snaked.push(character.to_ascii_lowercase());
    }
    snaked + rest
}

/// Returns the text of a time; `None` if no calendar has it.
pub(super) fn time_text(seconds: i64, nanos: i32) -> Option<String> {
    let time = DateTime::<Utc>::from_timestamp(seconds, u32::try_from(nanos).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Returns the text of a duration.
pub(super) fn duration_text(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    match nanos {
        0 => format!("{sign}{seconds}s"),
        nanos => format!("{sign}{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0')),
    }
}
