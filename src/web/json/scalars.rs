//! Single values: a JSON value, or a text of a URL, becomes the value of a field.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind};

use super::scalar::{Scalar, text};
use super::wire::{Wire, put, zigzag};
use super::{known, names};

/// The largest whole number that a float has exactly, with all below it.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes the field with this number and kind.
///
/// # Errors
///
/// What the value must be instead.
pub(super) fn put_scalar(
    out: &mut Vec<u8>,
    number: u32,
    kind: &Kind,
    value: Scalar<'_>,
) -> Result<(), String> {
    let wire = match kind {
        Kind::String => Wire::Bytes(text(value)?.as_bytes()),
        Kind::Bool => Wire::Varint(boolean(value)?.into()),
        Kind::Int32 | Kind::Sfixed32 | Kind::Sint32 => {
            let whole = i32::try_from(signed(value)?).map_err(|_| "must be a whole number of 32 bits")?;
            match kind {
                Kind::Sint32 => Wire::Varint(zigzag(whole.into()) & u64::from(u32::MAX)),
                Kind::Sfixed32 => Wire::Fixed32(whole.cast_unsigned()),
                _ => Wire::Varint(i64::from(whole).cast_unsigned()),
            }
        }
        Kind::Int64 => Wire::Varint(signed(value)?.cast_unsigned()),
        Kind::Sint64 => Wire::Varint(zigzag(signed(value)?)),
        Kind::Sfixed64 => Wire::Fixed64(signed(value)?.cast_unsigned()),
        Kind::Uint32 | Kind::Fixed32 => {
            let whole = u32::try_from(unsigned(value)?).map_err(|_| "must be a whole number of 32 bits")?;
            if *kind == Kind::Uint32 { Wire::Varint(whole.into()) } else { Wire::Fixed32(whole) }
        }
        Kind::Uint64 => Wire::Varint(unsigned(value)?),
        Kind::Fixed64 => Wire::Fixed64(unsigned(value)?),
        Kind::Double => Wire::Fixed64(float(value)?.to_bits()),
        Kind::Float => Wire::Fixed32((float(value)? as f32).to_bits()),
        Kind::Enum(kind) => Wire::Varint(i64::from(word(kind, value)?).cast_unsigned()),
        Kind::Bytes => {
            put(out, number, Wire::Bytes(&bytes(value)?));
            return Ok(());
        }
        Kind::Message(message) => {
            put(out, number, Wire::Bytes(&known::read(message, value)?));
            return Ok(());
        }
    };
    put(out, number, wire);
    Ok(())
}

fn boolean(value: Scalar<'_>) -> Result<bool, &'static str> {
    match value {
        Scalar::Bool(value) => Ok(value),
        Scalar::Text("true") => Ok(true),
        Scalar::Text("false") => Ok(false),
        _ => Err("must be true or false"),
    }
}

/// Returns a whole number. JSON of protobuf also allows one in quotes, and one with an exponent or zeros after the point.
fn signed(value: Scalar<'_>) -> Result<i64, &'static str> {
    const WRONG: &str = "must be a whole number";
    match value {
        Scalar::Signed(whole) => Ok(whole),
        Scalar::Unsigned(whole) => i64::try_from(whole).map_err(|_| "must be a whole number of 64 bits"),
        Scalar::Float(float) if float.fract() == 0.0 && float.abs() <= EXACT => Ok(float as i64),
        Scalar::Text(text) => text.parse().map_err(|_| WRONG),
        _ => Err(WRONG),
    }
}

fn unsigned(value: Scalar<'_>) -> Result<u64, &'static str> {
    const WRONG: &str = "must be a whole number, and not negative";
    match value {
        Scalar::Unsigned(whole) => Ok(whole),
        Scalar::Text(text) => text.parse().map_err(|_| WRONG),
        other => signed(other).and_then(|whole| u64::try_from(whole).map_err(|_| WRONG)),
    }
}

fn float(value: Scalar<'_>) -> Result<f64, &'static str> {
    const WRONG: &str = "must be a number";
    match value {
        Scalar::Float(float) => Ok(float),
        Scalar::Signed(whole) => Ok(whole as f64),
        Scalar::Unsigned(whole) => Ok(whole as f64),
        Scalar::Text("NaN") => Ok(f64::NAN),
        Scalar::Text("Infinity") => Ok(f64::INFINITY),
        Scalar::Text("-Infinity") => Ok(f64::NEG_INFINITY),
        // Rust also reads words such as `inf`.
        Scalar::Text(text) if text.bytes().any(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| WRONG)
        }
        _ => Err(WRONG),
    }
}

/// Returns the number of an enum's value, by its number, or by its name: in full or without its prefix, in any case.
fn word(kind: &EnumDescriptor, value: Scalar<'_>) -> Result<i32, String> {
    let text = match value {
        Scalar::Text(text) => text,
        Scalar::Signed(_) | Scalar::Unsigned(_) => {
            return signed(value)
                .ok()
                .and_then(|number| i32::try_from(number).ok())
                .ok_or_else(|| "must be a whole number of 32 bits".to_owned());
        }
        _ => return Err(names::no_word(kind, "")),
    };
    let prefix = names::prefix(kind);
    let is_it = |name: &str| {
        let short = name.strip_prefix(&prefix).unwrap_or(name);
        name.eq_ignore_ascii_case(text) || short.eq_ignore_ascii_case(text)
    };
    let found = kind.values().find(|value| is_it(value.name()));
    found.map(|value| value.number()).ok_or_else(|| names::no_word(kind, text))
}

fn bytes(value: Scalar<'_>) -> Result<Vec<u8>, &'static str> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text(value)?;
    let alphabet = if text.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, LENIENT).decode(text).map_err(|_| "must be bytes in base64")
}
