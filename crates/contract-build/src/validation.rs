//! Generates one `Validate` (`crm_contract::validate`) for every message of a package, from the
//! `buf.validate` rules of its fields.
//!
//! An unsupported rule fails the build: a limit that the proto shows to clients and that the
//! service does not enforce would be worse than none. So there is no CEL except the one form that
//! `either.rs` reads, no predefined rule, and no rule for a kind of field that is not used yet. To
//! use another rule, add it to `values.rs`.
//!
//! The items of a list with the option `(crm.v1.per_item)` are not checked with their request. The
//! call checks each of them with its own `Validate`, and reports it in its answer.
//!
//! Checks that need no rule are generated too: no U+0000 in a text, finite numbers, and well-known
//! types within their own limits. They also apply under `ignore = IGNORE_ALWAYS`, and to everything
//! below such a field.

use prost_reflect::{DescriptorPool, MessageDescriptor};

mod either;
mod fields;
pub(crate) mod names;
mod numbers;
pub(crate) mod options;
mod text;
mod values;

pub(crate) use fields::variant;
pub(crate) use text::{as_re2, pattern_example};
pub(crate) use values::kind_name;

/// Returns the Rust code of `validation.rs` in the build's output directory.
///
/// # Errors
///
/// If a rule is unknown, of the wrong kind, contradicts another rule, or has an invalid pattern; or
/// if a type has no checks. The text names the message, the field and the rule.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut code = String::from("use crate::validate::{Path, Report, Validate};\n");
    for message in pool.all_messages() {
        if message.package_name() == package && !message.is_map_entry() {
            code += &of_message(&message, package)?;
        }
    }
    Ok(code)
}

fn of_message(message: &MessageDescriptor, package: &str) -> Result<String, String> {
    let name = message.full_name();
    let own = options::of_message(message).map_err(|error| format!("{name}: {error}"))?;
    let mut body = String::new();
    for field in message.fields() {
        body +=
            &fields::of_field(&field, package).map_err(|error| format!("{}: {error}", field.full_name()))?;
    }
    for oneof in message.oneofs() {
        body += &fields::of_oneof(&oneof).map_err(|error| format!("{}: {error}", oneof.full_name()))?;
    }
    for rule in own {
        body += &either::of_message(message, &rule).map_err(|error| format!("{name}: {error}"))?;
    }
    let path = names::rust_path(name, package)?;
    let (at, report) = if body.is_empty() { ("_at", "_report") } else { ("at", "report") };
    Ok(format!(
        "
impl Validate for {path} {{
    fn check(&self, {at}: &Path<'_>, {report}: &mut Report) {{
{body}    }}
}}
"
    ))
}

#[cfg(test)]
mod tests;
