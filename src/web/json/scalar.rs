//! A JSON value that is no object and no list.

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'t> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'t str),
}

/// Returns the text of a value.
///
/// # Errors
///
/// What the value must be instead.
pub(super) fn text(value: Scalar<'_>) -> Result<&str, &'static str> {
    match value {
        Scalar::Text(text) => Ok(text),
        _ => Err("must be a text in quotes"),
    }
}
