//! Partial updates by field mask, as AIP-134 and AIP-161 define them.
//!
//! Works on any message of the contract through its descriptor, so that a mask can name a new field as soon as the
//! message has it.

mod path;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};
use prost_types::value::Kind as Json;
use prost_types::{FieldMask, Struct};

use crate::contract::validate::{self, Validate, Violation};
use crate::error::{Error, Result};
use crate::pb::{CONTRACT, ErrorReason};
use path::{ALL, Target, is_immutable, is_output_only, resolve, writable};

pub(crate) use path::opens;
pub use path::writable_value;

/// New values for some fields of a message.
#[derive(Debug, Clone)]
pub struct Change {
    /// The path of the message in the request, e.g. `customer`, for violations.
    field: &'static str,
    patch: DynamicMessage,
    targets: Vec<Target>,
    /// Named fields that cannot change: the patch must have their current value.
    fixed: Vec<FieldDescriptor>,
}

impl Change {
    /// Creates the change that takes the fields of `mask` from `patch`, which is the field `field` of the request.
    /// Output-only fields are ignored. Immutable fields may be named with their current value.
    ///
    /// # Errors
    ///
    /// A violation for every path that the message does not have, and for every rule that the new value of a named
    /// field breaks.
    pub fn new<M: Message + Name + Validate>(
        field: &'static str,
        patch: &M,
        mask: Option<&FieldMask>,
    ) -> Result<Self> {
        let descriptor = CONTRACT
            .get_message_by_name(&M::full_name())
            .ok_or_else(|| Error::internal(format!("{} is not in the contract", M::full_name())))?;
        let message = to_dynamic(descriptor.clone(), patch)?;
        let (targets, mut violations) = match mask.map_or(&[][..], |mask| &mask.paths) {
            [] => (populated(&message), Vec::new()),
            // A mask of `*` is not meant to clear fields that cannot change.
            [all] if all == ALL => {
                let fixed =
                    descriptor.fields().filter(|field| is_immutable(field) && message.has_field(field));
                (writable(&descriptor).chain(fixed).map(Target::of).collect(), Vec::new())
            }
            paths => named(field, &descriptor, paths),
        };
        let (fixed, targets): (Vec<Target>, Vec<_>) =
            targets.into_iter().partition(|target| target.fields.first().is_some_and(is_immutable));
        let fixed = fixed.into_iter().filter_map(|target| target.fields.into_iter().next()).collect();
        let change = Self { field, patch: message, targets, fixed };
        violations.extend(change.violations(patch));
        match violations.is_empty() {
            true => Ok(change),
            false => Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations }),
        }
    }

    /// Returns the message after the change, checked against the contract's rules for the changed fields.
    ///
    /// # Errors
    ///
    /// Every rule that a changed field breaks, and every immutable field with another value.
    pub fn apply<M: Message + Default + Validate>(&self, current: &M) -> Result<M> {
        let mut merged = to_dynamic(self.patch.descriptor(), current)?;
        for Target { fields, keys } in &self.targets {
            merge(&mut merged, &self.patch, fields, keys)?;
        }
        // These fields were not merged.
        let fixed = self.fixed.iter().filter(|field| self.patch.get_field(field) != merged.get_field(field));
        let mut violations: Vec<_> = fixed.map(|field| self.unchangeable(field)).collect();
        let merged: M = merged.transcode_to().map_err(Error::internal)?;
        violations.extend(self.violations(&merged));
        match violations.is_empty() {
            true => Ok(merged),
            false => Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations }),
        }
    }

    fn unchangeable(&self, field: &FieldDescriptor) -> Violation {
        Violation {
            field: format!("{}.{}", self.field, field.name()),
            rule: "field_behavior.immutable",
            description: "is what it was made with and cannot be changed; leave it out of update_mask"
                .to_owned(),
        }
    }

    /// Whether the change affects the field at `path`, a field that contains it, or a key of the open object there.
    pub fn touches(&self, path: &str) -> bool {
        self.targets.iter().any(|target| {
            let mut rest = path;
            target.fields.iter().enumerate().all(|(depth, field)| {
                if depth > 0 {
                    rest = rest.strip_prefix('.').unwrap_or(rest);
                }
                let Some(after) = rest.strip_prefix(field.name()) else { return false };
                rest = after;
                rest.is_empty() || rest.starts_with(['.', '['])
            })
        })
    }

    /// Returns the violations in fields of the change, by their paths in the request.
    fn violations(&self, message: &impl Validate) -> Vec<Violation> {
        let mut violations = validate::validate(message).err().unwrap_or_default();
        violations.retain(|violation| self.touches(&violation.field));
        for violation in &mut violations {
            violation.field = format!("{}.{}", self.field, violation.field);
        }
        violations
    }
}

fn to_dynamic(descriptor: MessageDescriptor, message: &impl Message) -> Result<DynamicMessage> {
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(Error::internal)
}

/// Returns the targets of all set fields, down to values that are not messages of this contract. An update without a
/// mask changes these.
fn populated(patch: &DynamicMessage) -> Vec<Target> {
    let mut targets = Vec::new();
    for (field, value) in patch.fields().filter(|(field, _)| !is_output_only(field)) {
        match value {
            Value::Message(inner) if opens(&field) => {
                targets.extend(populated(inner).into_iter().map(|mut target| {
                    target.fields.insert(0, field.clone());
                    target
                }));
            }
            _ => targets.push(Target::of(field)),
        }
    }
    targets
}

/// Returns the targets that the client's paths name, and the violations of the other paths.
fn named(resource: &str, descriptor: &MessageDescriptor, paths: &[String]) -> (Vec<Target>, Vec<Violation>) {
    let (mut found, mut violations) = (Vec::new(), Vec::new());
    let mut lists = true;
    for (index, path) in paths.iter().enumerate() {
        match resolve(descriptor, path) {
            Ok(target) if target.fields.iter().any(is_output_only) => {}
            Ok(target) => found.push(target),
            Err(wrong) => {
                let field = format!("update_mask.paths[{index}]");
                let description = wrong.describe(resource, descriptor, &mut lists);
                violations.push(Violation { field, rule: "field_mask", description });
            }
        }
    }
    (found, violations)
}

fn merge(
    target: &mut DynamicMessage,
    patch: &DynamicMessage,
    path: &[FieldDescriptor],
    keys: &[String],
) -> Result<()> {
    match path {
        [] => {}
        [field] if !keys.is_empty() => {
            let mut object = object_at(target, field)?;
            put(&mut object, Some(&object_at(patch, field)?), keys);
            let object = to_dynamic(object_descriptor(field)?, &object)?;
            target.set_field(field, Value::Message(object));
        }
        [field] if patch.has_field(field) => target.set_field(field, patch.get_field(field).into_owned()),
        [field] => target.clear_field(field),
        [field, rest @ ..] => {
            if let (Value::Message(target), Value::Message(patch)) =
                (target.get_field_mut(field), patch.get_field(field).as_ref())
            {
                merge(target, patch, rest, keys)?;
            }
        }
    }
    Ok(())
}

/// Returns the open object of a field; an empty one if it is not set.
fn object_at(message: &DynamicMessage, field: &FieldDescriptor) -> Result<Struct> {
    match message.get_field(field).as_ref() {
        Value::Message(object) => object.transcode_to().map_err(Error::internal),
        _ => Err(Error::internal(format!("{} is no object", field.name()))),
    }
}

fn object_descriptor(field: &FieldDescriptor) -> Result<MessageDescriptor> {
    let kind = field.kind();
    kind.as_message().cloned().ok_or_else(|| Error::internal(format!("{} is no object", field.name())))
}

/// Takes the value at the path of keys from `patch`. A value that is missing there is removed.
fn put(target: &mut Struct, patch: Option<&Struct>, keys: &[String]) {
    let Some((key, rest)) = keys.split_first() else { return };
    let new = patch.and_then(|patch| patch.fields.get(key));
    if rest.is_empty() {
        match new {
            Some(value) => target.fields.insert(key.clone(), value.clone()),
            None => target.fields.remove(key),
        };
        return;
    }
    let new = match new.and_then(|value| value.kind.as_ref()) {
        Some(Json::StructValue(object)) => Some(object),
        _ => None,
    };
    match target.fields.get_mut(key).and_then(|value| value.kind.as_mut()) {
        Some(Json::StructValue(object)) => put(object, new, rest),
        // Below a value that is not an object there is nothing to remove.
        _ if new.is_none() => {}
        _ => {
            let mut object = Struct::default();
            put(&mut object, new, rest);
            let value = prost_types::Value { kind: Some(Json::StructValue(object)) };
            target.fields.insert(key.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests;
