//! What a client may have meant by a name that does not exist.

use prost_reflect::{EnumDescriptor, MessageDescriptor};

use super::place::shown;

/// How many typing errors a suggested name may differ by.
const SLIPS: usize = 2;

/// Returns what is wrong with a name that is no field of the message. The existing names are listed if `lists`.
pub(super) fn no_field(message: &MessageDescriptor, name: &str, lists: bool) -> String {
    let what = format!("is not a field of {}", message.name());
    let names = || message.fields().map(|field| field.name().to_owned());
    match nearest(&snake(name), names()) {
        Some(near) => format!("{what}; write {near:?}"),
        None if lists => format!("{what}; there are {}", names().collect::<Vec<_>>().join(", ")),
        None => what,
    }
}

/// Returns what is wrong with a word that is no value of the enum.
pub(super) fn no_word(kind: &EnumDescriptor, word: &str) -> String {
    let short = |name: &str| name.strip_prefix(&prefix(kind)).unwrap_or(name).to_lowercase();
    let words: Vec<_> = kind.values().skip(1).map(|value| short(value.name())).collect();
    match nearest(&word.to_lowercase(), words.iter().cloned()) {
        Some(near) => format!("must be one of {}; perhaps {near:?}", words.join(", ")),
        None => format!("must be one of {}", words.join(", ")),
    }
}

/// Returns what the names of an enum's values begin with: `CUSTOMER_STATUS_`.
pub(super) fn prefix(kind: &EnumDescriptor) -> String {
    let default = kind.default_value();
    default.name().strip_suffix("UNSPECIFIED").unwrap_or_default().to_owned()
}

/// Returns the name that is nearly the same.
fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let wanted = shown(wanted);
    let (slips, name) = names.map(|name| (strsim::osa_distance(&wanted, &name), name)).min()?;
    (slips <= SLIPS && slips < wanted.chars().count()).then_some(name)
}

/// Converts `businessName` and `BusinessName` to `business_name`.
fn snake(name: &str) -> String {
    let mut snaked = String::new();
    for character in shown(name).chars() {
        if character.is_ascii_uppercase() && !snaked.is_empty() && !snaked.ends_with('_') {
            snaked.push('_');
        }
        snaked.push(if character == '-' { '_' } else { character.to_ascii_lowercase() });
    }
    snaked
}
