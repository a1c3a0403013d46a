//! The only supported form of CEL: a message needs one of several of its fields, as in `this.content != '' ||
//! this.actions.size() > 0`.

use prost_reflect::{Kind, MessageDescriptor};

use super::names::snake;
use super::options::MessageRule;
use super::values::CHECK;

/// Returns the statement that checks a message against a rule. A violation is reported for the first field that the
/// rule names.
pub(crate) fn of_message(message: &MessageDescriptor, rule: &MessageRule) -> Result<String, String> {
    let MessageRule { id, message: must, expression } = rule;
    let mut conditions = Vec::new();
    let mut first = None;
    for part in expression.split("||").map(str::trim) {
        let (field, condition) = one(message, part)
            .ok_or_else(|| format!("the rule {id} has an expression that is not supported: {part}"))?;
        first.get_or_insert(field);
        conditions.push(condition);
    }
    let field = first.ok_or_else(|| format!("the rule {id} names no field"))?;
    let condition = conditions.join(" || ");
    Ok(format!(
        "        {{ let at = &at.field({field:?}); {CHECK}::holds({condition}, {id:?}, {must:?}, at, report); }}\n"
    ))
}

/// Returns the field of a part of the expression, and its condition in Rust; `None` if the part has another form.
fn one<'p>(message: &MessageDescriptor, part: &'p str) -> Option<(&'p str, String)> {
    let part = part.strip_prefix("this.")?;
    let (name, form) = part.split_at(part.find(|char: char| !char.is_ascii_alphanumeric() && char != '_')?);
    let field = message.get_field_by_name(name)?;
    let place = format!("self.{}", snake(name));
    let is_number = matches!(field.kind(), Kind::Int32 | Kind::Int64);
    let condition = match form {
        " != ''" if field.kind() == Kind::String && !field.is_list() => format!("!{place}.is_empty()"),
        ".size() > 0" if field.is_list() => format!("!{place}.is_empty()"),
        " != 0" if is_number && !field.is_list() => format!("{place} != 0"),
        _ => return None,
    };
    Some((name, condition))
}
