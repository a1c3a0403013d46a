//! Generates one `Word` (`crm_contract::words`) for every enum of a package.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, EnumDescriptor};

use crate::validation::names;

/// The end of the zero value's name; the part before it is the prefix of all names.
const ZERO: &str = "UNSPECIFIED";

/// Returns the Rust code of `words.rs` in the build's output directory.
///
/// # Errors
///
/// If an enum's zero value is not `<PREFIX>_UNSPECIFIED`, a value lacks the prefix, or two values
/// have one number: the build fails with a text that names them.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut code = String::new();
    for descriptor in pool.all_enums() {
        if descriptor.package_name() == package {
            code += &of_enum(&descriptor, package)?;
        }
    }
    Ok(code)
}

fn of_enum(descriptor: &EnumDescriptor, package: &str) -> Result<String, String> {
    let full_name = descriptor.full_name();
    let prefix = prefix(descriptor)?;
    let mut arms = String::new();
    let mut seen = Vec::new();
    for value in descriptor.values() {
        let (name, number) = (value.name(), value.number());
        if seen.contains(&number) {
            return Err(format!("{full_name}: {name} repeats the number {number}"));
        }
        seen.push(number);
        let word = name
            .strip_prefix(&prefix)
            .filter(|word| !word.is_empty())
            .ok_or_else(|| format!("{full_name}: {name} does not start with {prefix}"))?;
        if number != 0 {
            let _ = writeln!(arms, "            {word:?} => Self::try_from({number}).ok(),");
        }
    }
    let path = names::rust_path(full_name, package)?;
    let name = full_name.trim_start_matches(package).trim_start_matches('.');
    Ok(format!(
        "impl crate::words::Word for {path} {{
    const NAME: &'static str = {name:?};
    const PREFIX: &'static str = {prefix:?};

    fn full_name(self) -> &'static str {{
        self.as_str_name()
    }}

    fn from_full_name(name: &str) -> Option<Self> {{
        Self::from_str_name(name)
    }}

    fn from_word(word: &str) -> Option<Self> {{
        match word {{
{arms}            _ => None,
        }}
    }}
}}
"
    ))
}

fn prefix(descriptor: &EnumDescriptor) -> Result<String, String> {
    let full_name = descriptor.full_name();
    let zero = descriptor.get_value(0).ok_or_else(|| format!("{full_name} has no value 0"))?;
    match zero.name().strip_suffix(ZERO) {
        Some(prefix) if prefix.ends_with('_') && prefix.len() > 1 => Ok(prefix.to_owned()),
        _ => Err(format!("{full_name}: the zero value {} does not end with _{ZERO}", zero.name())),
    }
}

#[cfg(test)]
mod tests;
