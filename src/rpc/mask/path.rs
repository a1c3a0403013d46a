//! Paths of field masks: the fields of a message that they name, and the errors for invalid paths.

use std::collections::HashSet;
use std::sync::LazyLock;

use prost::Name;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::pb::{CONTRACT, Money};

/// Stands for all fields.
pub(super) const ALL: &str = "*";

/// `google.api.FieldBehavior.OUTPUT_ONLY`.
const OUTPUT_ONLY: i32 = 3;

/// `google.api.FieldBehavior.IMMUTABLE`.
const IMMUTABLE: i32 = 5;

/// The type of open objects, whose keys a path may name.
const OBJECT: &str = "google.protobuf.Struct";

/// How many characters of a path an error shows.
const SHOWN: usize = 64;

/// How many typing errors a suggested name may differ by.
const SLIPS: usize = 2;

/// The target of a path: a field, and optionally a key within the field's open object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The fields along the path.
    pub(super) fields: Vec<FieldDescriptor>,
    /// The keys along the path after them.
    pub(super) keys: Vec<String>,
}

impl Target {
    /// A field of the message itself.
    pub(super) fn of(field: FieldDescriptor) -> Self {
        Self { fields: vec![field], keys: Vec::new() }
    }
}

/// What is wrong with a path.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The star is not the only path.
    Star,
    /// The backticks around a key are not balanced.
    Quotes,
    /// A key is empty.
    EmptyKey,
    /// The path continues into a value that has no fields.
    Whole(FieldDescriptor),
    /// The message has no such field.
    Unknown { path: String, message: MessageDescriptor },
}

impl Wrong {
    /// Returns the text for people. `resource` is the field of the request that has the message. An answer lists the
    /// existing fields only once, while `lists` is true.
    pub(super) fn describe(&self, resource: &str, root: &MessageDescriptor, lists: &mut bool) -> String {
        match self {
            Self::Star => "names * beside other paths; * must stand alone".to_owned(),
            Self::Quotes => {
                "has a backtick that is not closed; quote a key as `a.b`, and a backtick in it as ``"
                    .to_owned()
            }
            Self::EmptyKey => "names an empty key; name a key after the dot".to_owned(),
            Self::Whole(field) => {
                format!(
                    "goes into {0}, which is changed as a whole; name {0} without what follows",
                    field.name()
                )
            }
            Self::Unknown { path, message } => {
                let shown: String = path.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
                let what = format!("names {shown:?}, which is not a field of {}", message.name());
                match meant(resource, root, path) {
                    Some(meant) => format!("{what}; write {meant:?}"),
                    None if *lists => {
                        *lists = false;
                        format!("{what}; there are {}", names(message).join(", "))
                    }
                    None => what,
                }
            }
        }
    }
}

/// Returns the fields along the path of a value of `M` that a client may write. A group of fields is not a value.
///
/// # Errors
///
/// What is wrong with the path, as text.
pub fn writable_value<M: Name>(path: &str) -> Result<Vec<FieldDescriptor>, String> {
    let root = CONTRACT.get_message_by_name(&M::full_name());
    let root = root.ok_or_else(|| format!("{} is not in the contract", M::full_name()))?;
    let unknown = |path: &str| Wrong::Unknown { path: path.to_owned(), message: root.clone() };
    let target = match path {
        ALL => Err(unknown(path)),
        path => resolve(&root, path),
    };
    let fields = match target {
        Ok(Target { fields, keys }) if keys.is_empty() => fields,
        Ok(_) => return Err(unknown(path).describe("", &root, &mut true)),
        Err(wrong) => return Err(wrong.describe("", &root, &mut true)),
    };
    match fields.last() {
        Some(last) if fields.iter().any(is_output_only) => {
            Err(format!("names {}, which only the server writes; name another field", last.name()))
        }
        Some(last) if opens(last) => {
            Err(format!("names {}, which is a group of fields; name one of them", last.name()))
        }
        _ => Ok(fields),
    }
}

/// Resolves a path in a message.
pub(super) fn resolve(descriptor: &MessageDescriptor, path: &str) -> Result<Target, Wrong> {
    let segments = segments(path)?;
    if path == ALL {
        return Err(Wrong::Star);
    }
    let unknown =
        |message: &MessageDescriptor| Wrong::Unknown { path: path.to_owned(), message: message.clone() };
    let (mut fields, mut keys): (Vec<FieldDescriptor>, Vec<String>) = (Vec::new(), Vec::new());
    let mut message = descriptor.clone();
    for Segment { text, quoted } in segments {
        match fields.last() {
            Some(last) if has_keys(last) && text.is_empty() => return Err(Wrong::EmptyKey),
            Some(last) if has_keys(last) => {
                keys.push(text);
                continue;
            }
            Some(last) => match last.kind() {
                Kind::Message(inner) if opens(last) => message = inner,
                _ => return Err(Wrong::Whole(last.clone())),
            },
            None => {}
        }
        let field = message.get_field_by_name(&text).filter(|_| !quoted);
        fields.push(field.ok_or_else(|| unknown(&message))?);
    }
    Ok(Target { fields, keys })
}

/// A part of a path between its dots.
struct Segment {
    text: String,
    quoted: bool,
}

/// Returns the parts of a path. A part that begins with a backtick ends at the next one; two backticks in it stand
/// for one.
fn segments(path: &str) -> Result<Vec<Segment>, Wrong> {
    let mut segments = Vec::new();
    let mut rest = path;
    loop {
        let (segment, after) = match rest.strip_prefix('`') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (text, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                (Segment { text: text.to_owned(), quoted: false }, after)
            }
        };
        segments.push(segment);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(segments),
            None => return Err(Wrong::Quotes),
        }
    }
}

/// Returns the part up to the closing backtick, and the text after it.
fn unquoted(quoted: &str) -> Result<(Segment, &str), Wrong> {
    let (mut text, mut rest) = (String::new(), quoted);
    loop {
        let (before, after) = rest.split_once('`').ok_or(Wrong::Quotes)?;
        text.push_str(before);
        match after.strip_prefix('`') {
            Some(more) => {
                text.push('`');
                rest = more;
            }
            None => return Ok((Segment { text, quoted: true }, after)),
        }
    }
}

/// Returns the path that an invalid path probably means: without the resource's name in front, in the contract's
/// case, or without typing errors.
fn meant(resource: &str, root: &MessageDescriptor, path: &str) -> Option<String> {
    let exists = |path: &str| resolve(root, path).is_ok();
    let snaked = snake(path);
    let inside = snaked.strip_prefix(resource).and_then(|rest| rest.strip_prefix('.'));
    if let Some(found) = [inside, Some(snaked.as_str())].into_iter().flatten().find(|path| exists(path)) {
        return Some(found.to_owned());
    }
    let wanted = inside.unwrap_or(&snaked);
    let (outer, last) = wanted.rsplit_once('.').map_or(("", wanted), |(outer, last)| (outer, last));
    let message = match outer {
        "" => root.clone(),
        outer => match resolve(root, outer).ok()?.fields.last()?.kind() {
            Kind::Message(message) => message,
            _ => return None,
        },
    };
    let names = names(&message).into_iter();
    let near = names.map(|name| (strsim::osa_distance(last, &name), name)).min()?;
    let (_, name) = Some(near).filter(|(slips, _)| *slips <= SLIPS && *slips < last.len())?;
    let found = if outer.is_empty() { name } else { format!("{outer}.{name}") };
    exists(&found).then_some(found)
}

/// Converts `businessName` and `BusinessName` to `business_name`. Long texts are cut, as they are not names.
fn snake(path: &str) -> String {
    let mut snaked = String::new();
    for character in path.chars().take(2 * SHOWN) {
        if character.is_ascii_uppercase() && !snaked.is_empty() && !snaked.ends_with(['.', '_']) {
            snaked.push('_');
        }
        snaked.push(character.to_ascii_lowercase());
    }
    snaked
}

/// The fields that a client may write.
pub(super) fn writable(descriptor: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> + use<> {
    let writable = descriptor.fields().filter(|field| !is_output_only(field) && !is_immutable(field));
    writable.collect::<Vec<_>>().into_iter()
}

fn names(message: &MessageDescriptor) -> Vec<String> {
    writable(message).map(|field| field.name().to_owned()).collect()
}

/// Whether a mask may go into the field: a single message of this package. Well-known types are values, and so is an
/// amount of money: units without the nanos beside them would be another amount.
pub(crate) fn opens(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(inner) => {
            !field.is_list()
                && !field.is_map()
                && inner.package_name() == field.parent_message().package_name()
                && inner.full_name() != Money::full_name()
        }
        _ => false,
    }
}

/// Whether a mask may name a key of the field's value.
fn has_keys(field: &FieldDescriptor) -> bool {
    !field.is_list() && field.kind().as_message().is_some_and(|inner| inner.full_name() == OBJECT)
}

/// The full names of the fields that only the server writes, by the contract.
static OUTPUT_ONLY_FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| fields_that_are(OUTPUT_ONLY));

/// The full names of the fields that cannot be changed, by the contract.
static IMMUTABLE_FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| fields_that_are(IMMUTABLE));

/// The full names of the fields with this `google.api.field_behavior`.
fn fields_that_are(behavior: i32) -> HashSet<String> {
    let extension = CONTRACT.get_extension_by_name("google.api.field_behavior");
    let behaves = |field: &FieldDescriptor| {
        let options = field.options();
        let values = extension.as_ref().map(|extension| options.get_extension(extension));
        let values = values.as_ref().and_then(|values| values.as_list());
        values.is_some_and(|values| values.contains(&Value::EnumNumber(behavior)))
    };
    let fields = CONTRACT.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    fields.filter(behaves).map(|field| field.full_name().to_owned()).collect()
}

/// Whether only the server writes the field, by the contract.
pub(super) fn is_output_only(field: &FieldDescriptor) -> bool {
    OUTPUT_ONLY_FIELDS.contains(field.full_name())
}

/// Whether the field is set only when its resource is created, by the contract.
pub(super) fn is_immutable(field: &FieldDescriptor) -> bool {
    IMMUTABLE_FIELDS.contains(field.full_name())
}
