//! Partial updates by field mask, as AIP-134 and AIP-161 say.
//!
//! Works on any message of the contract through its descriptor, so that a new field is in its mask
//! from the day on which it is in its message.

use std::collections::HashSet;
use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use prost_types::FieldMask;

use super::validate::{self, Validate};
use crate::error::{Error, Result};
use crate::pb::{CONTRACT, ErrorReason, Money};

/// Stands for all fields.
const ALL: &str = "*";

/// `google.api.FieldBehavior.OUTPUT_ONLY`.
const OUTPUT_ONLY: i32 = 3;

/// New values for some fields of a message.
#[derive(Debug, Clone)]
pub struct Change {
    /// The path of the message in the request, e.g. `customer`, for violations.
    field: &'static str,
    patch: DynamicMessage,
    paths: Vec<Vec<FieldDescriptor>>,
}

impl Change {
    /// The change that takes the fields that `mask` names from `patch`, which stands in the request
    /// as `field`. Output-only fields are passed over.
    ///
    /// # Errors
    ///
    /// A violation for every path that the message does not have.
    pub fn new<M: Message + prost::Name>(
        field: &'static str,
        patch: &M,
        mask: Option<&FieldMask>,
    ) -> Result<Self> {
        let descriptor = CONTRACT
            .get_message_by_name(&M::full_name())
            .ok_or_else(|| Error::internal(format!("{} is not in the contract", M::full_name())))?;
        let patch = to_dynamic(descriptor.clone(), patch)?;
        let paths = match mask.map_or(&[][..], |mask| &mask.paths) {
            [] => populated(&patch),
            [all] if all == ALL => writable(&descriptor).map(|field| vec![field]).collect(),
            paths => named(&descriptor, paths)?,
        };
        Ok(Self { field, patch, paths })
    }

    /// The message after the change, held to the contract's rules for the fields that changed.
    ///
    /// # Errors
    ///
    /// Every rule that a changed field breaks.
    pub fn apply<M: Message + Default + Validate>(&self, current: &M) -> Result<M> {
        let mut merged = to_dynamic(self.patch.descriptor(), current)?;
        for path in &self.paths {
            merge(&mut merged, &self.patch, path);
        }
        let merged: M = merged.transcode_to().map_err(Error::internal)?;
        let Err(mut violations) = validate::validate(&merged) else { return Ok(merged) };
        violations.retain(|violation| self.touches(&violation.field));
        if violations.is_empty() {
            return Ok(merged);
        }
        for violation in &mut violations {
            violation.field = format!("{}.{}", self.field, violation.field);
        }
        Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
    }

    /// Whether the change is to the field at `path`, or to one that it is part of.
    pub fn touches(&self, path: &str) -> bool {
        self.paths.iter().any(|fields| {
            let mut rest = path;
            fields.iter().enumerate().all(|(depth, field)| {
                if depth > 0 {
                    rest = rest.strip_prefix('.').unwrap_or(rest);
                }
                let Some(after) = rest.strip_prefix(field.name()) else { return false };
                rest = after;
                rest.is_empty() || rest.starts_with(['.', '['])
            })
        })
    }
}

/// The fields along the path of a value of `M` that a client may write. A group of fields is no value.
///
/// # Errors
///
/// What is wrong with the path, in words.
pub fn writable_value<M: prost::Name>(path: &str) -> std::result::Result<Vec<FieldDescriptor>, String> {
    let descriptor = CONTRACT.get_message_by_name(&M::full_name());
    let descriptor = descriptor.ok_or_else(|| format!("{} is not in the contract", M::full_name()))?;
    if path == ALL {
        return Err(unknown(&descriptor, path));
    }
    let fields = resolve(&descriptor, path)?;
    match fields.last() {
        Some(last) if fields.iter().any(is_output_only) => {
            Err(format!("{} is written by the server alone", last.name()))
        }
        Some(last) if opens(last) => Err(format!("{} is a group of fields; name one of them", last.name())),
        _ => Ok(fields),
    }
}

fn to_dynamic(descriptor: MessageDescriptor, message: &impl Message) -> Result<DynamicMessage> {
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(Error::internal)
}

/// The paths of all fields that are set, down to those that are no messages of ours: what an update
/// without a mask is about.
fn populated(patch: &DynamicMessage) -> Vec<Vec<FieldDescriptor>> {
    let mut paths = Vec::new();
    for (field, value) in patch.fields().filter(|(field, _)| !is_output_only(field)) {
        match value {
            Value::Message(inner) if opens(&field) => {
                paths.extend(populated(inner).into_iter().map(|mut path| {
                    path.insert(0, field.clone());
                    path
                }));
            }
            _ => paths.push(vec![field]),
        }
    }
    paths
}

/// The fields that a client may write.
fn writable(descriptor: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> + use<> {
    descriptor.fields().filter(|field| !is_output_only(field)).collect::<Vec<_>>().into_iter()
}

/// The fields that the client's paths name.
fn named(descriptor: &MessageDescriptor, paths: &[String]) -> Result<Vec<Vec<FieldDescriptor>>> {
    let mut found = Vec::new();
    let mut violations = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match resolve(descriptor, path) {
            Ok(fields) if fields.iter().any(is_output_only) => {}
            Ok(fields) => found.push(fields),
            Err(description) => violations.push(validate::Violation {
                field: format!("update_mask.paths[{index}]"),
                rule: "field_mask",
                description,
            }),
        }
    }
    if violations.is_empty() {
        return Ok(found);
    }
    Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
}

/// The fields along one path, or what is wrong with it.
fn resolve(descriptor: &MessageDescriptor, path: &str) -> std::result::Result<Vec<FieldDescriptor>, String> {
    if path == ALL {
        return Err("* must stand alone".to_owned());
    }
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    let mut message = descriptor.clone();
    for name in path.split('.') {
        if let Some(last) = fields.last() {
            match last.kind() {
                Kind::Message(inner) if opens(last) => message = inner,
                _ => {
                    return Err(format!(
                        "{} is changed as a whole: name it without what follows",
                        last.name()
                    ));
                }
            }
        }
        let field = message.get_field_by_name(name).ok_or_else(|| unknown(&message, path))?;
        fields.push(field);
    }
    Ok(fields)
}

/// Names the path, cut to a length that fits an error, and what there is instead.
fn unknown(message: &MessageDescriptor, path: &str) -> String {
    let shown: String = path.chars().filter(|character| !character.is_control()).take(64).collect();
    let names: Vec<_> = writable(message).map(|field| field.name().to_owned()).collect();
    format!("{shown:?} is not a field of {}; there are {}", message.name(), names.join(", "))
}

/// Whether a mask may go into the field: one message of ours. Well-known types are values, and so is an
/// amount of money: units without the nanos beside them would be another one.
fn opens(field: &FieldDescriptor) -> bool {
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

/// The full names of the fields of which the contract says that only the server writes them.
static OUTPUT_ONLY_FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let behavior = CONTRACT.get_extension_by_name("google.api.field_behavior");
    let is_output_only = |field: &FieldDescriptor| {
        let options = field.options();
        let values = behavior.as_ref().map(|behavior| options.get_extension(behavior));
        let values = values.as_ref().and_then(|values| values.as_list());
        values.is_some_and(|values| values.contains(&Value::EnumNumber(OUTPUT_ONLY)))
    };
    let fields = CONTRACT.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    fields.filter(is_output_only).map(|field| field.full_name().to_owned()).collect()
});

/// Whether the contract says that only the server writes the field.
fn is_output_only(field: &FieldDescriptor) -> bool {
    OUTPUT_ONLY_FIELDS.contains(field.full_name())
}

fn merge(target: &mut DynamicMessage, patch: &DynamicMessage, path: &[FieldDescriptor]) {
    match path {
        [] => {}
        [field] if patch.has_field(field) => target.set_field(field, patch.get_field(field).into_owned()),
        [field] => target.clear_field(field),
        [field, rest @ ..] => {
            if let (Value::Message(target), Value::Message(patch)) =
                (target.get_field_mut(field), patch.get_field(field).as_ref())
            {
                merge(target, patch, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pb::{BrandVoice, BusinessContext, Campaign, Customer};

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(ToString::to_string).collect() }
    }

    fn zoe() -> Customer {
        Customer {
            id: "one".to_owned(),
            business_name: "Café Zoë".to_owned(),
            email: "zoe@example.com".to_owned(),
            tags: vec!["a".to_owned()],
            business_context: Some(BusinessContext {
                description: "Coffee".to_owned(),
                goals: vec!["grow".to_owned()],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn change(patch: &Customer, paths: &[&str]) -> Customer {
        let mask = mask(paths);
        let change = Change::new("customer", patch, Some(&mask)).expect("known paths");
        change.apply(&zoe()).expect("a valid customer")
    }

    fn violations(patch: &Customer, paths: &[&str]) -> Vec<validate::Violation> {
        let mask = mask(paths);
        let outcome = Change::new("customer", patch, Some(&mask)).and_then(|change| change.apply(&zoe()));
        match outcome {
            Err(Error::Invalid { violations, .. }) => violations,
            other => panic!("expected violations, got {other:?}"),
        }
    }

    #[test]
    fn without_a_mask_what_is_set_changes() {
        let patch = Customer {
            email: "new@example.com".to_owned(),
            business_context: Some(BusinessContext { goals: vec!["rest".to_owned()], ..Default::default() }),
            ..Default::default()
        };
        let after = change(&patch, &[]);
        assert_eq!((after.email.as_str(), after.business_name.as_str()), ("new@example.com", "Café Zoë"));
        let context = after.business_context.expect("a context");
        assert_eq!((context.description.as_str(), context.goals), ("Coffee", vec!["rest".to_owned()]));
    }

    #[test]
    fn a_named_field_that_is_not_set_is_emptied() {
        let after = change(&Customer::default(), &["email", "tags", "business_context.goals"]);
        assert_eq!((after.email.as_str(), after.tags.len()), ("", 0));
        let context = after.business_context.expect("a context");
        assert_eq!((context.description.as_str(), context.goals.len()), ("Coffee", 0));
    }

    #[test]
    fn a_star_replaces_everything_but_output() {
        let patch = Customer { id: "two".to_owned(), business_name: "Zoë".to_owned(), ..Default::default() };
        let expected =
            Customer { id: "one".to_owned(), business_name: "Zoë".to_owned(), ..Default::default() };
        assert_eq!(change(&patch, &["*"]), expected);
    }

    #[test]
    fn an_amount_of_money_changes_as_a_whole() {
        let campaign = |units, nanos| Campaign {
            budget: Some(Money { currency_code: "EUR".to_owned(), units, nanos }),
            ..Default::default()
        };
        let change = Change::new("campaign", &campaign(5, 0), None).expect("a change");
        assert_eq!(change.apply(&campaign(3, 500_000_000)).expect("a campaign"), campaign(5, 0));
        let part = mask(&["budget.units"]);
        assert!(Change::new("campaign", &campaign(5, 0), Some(&part)).is_err());
    }

    #[test]
    fn a_path_opens_a_message_that_was_not_there() {
        let voice = BrandVoice { tone: "warm".to_owned(), style: "short".to_owned(), ..Default::default() };
        let patch = Customer { brand_voice: Some(voice), ..Default::default() };
        let after = change(&patch, &["brand_voice.tone"]).brand_voice.expect("a voice");
        assert_eq!((after.tone.as_str(), after.style.as_str()), ("warm", ""));
    }

    #[test]
    fn output_only_paths_are_ignored() {
        let patch = Customer { id: "two".to_owned(), ..Default::default() };
        assert_eq!(change(&patch, &["id", "create_time"]), zoe());
    }

    #[test]
    fn every_unknown_path_is_named() {
        let found = violations(
            &Customer::default(),
            &["email", "nonsense", "tags.x", "custom_attributes.a", "*", ""],
        );
        let fields: Vec<_> = found.iter().map(|violation| violation.field.as_str()).collect();
        let expected = [1, 2, 3, 4, 5].map(|index| format!("update_mask.paths[{index}]"));
        assert_eq!(fields, expected);
        assert!(found[0].description.contains("\"nonsense\""));
    }

    #[test]
    fn a_value_is_no_group_and_is_written_by_clients() {
        let value = writable_value::<Customer>;
        assert_eq!(value("brand_voice.tone").expect("a value").len(), 2);
        assert_eq!(value("custom_attributes").expect("a value").len(), 1);
        for (path, wrong) in [
            ("brand_voice", "brand_voice is a group of fields; name one of them"),
            ("create_time", "create_time is written by the server alone"),
            ("brand_voice.x", "\"brand_voice.x\" is not a field of BrandVoice"),
            ("*", "\"*\" is not a field of Customer"),
        ] {
            assert!(value(path).expect_err(path).starts_with(wrong), "{path}");
        }
    }

    #[test]
    fn rules_hold_for_what_changes_and_for_nothing_else() {
        let found = violations(&Customer::default(), &["business_name"]);
        assert_eq!(found[0].field, "customer.business_name");
        let change =
            Change::new("customer", &Customer::default(), Some(&mask(&["email"]))).expect("known paths");
        let grandfathered = Customer { country_code: "xx".to_owned(), ..zoe() };
        assert!(change.apply(&grandfathered).is_ok());
    }

    #[test]
    fn a_change_touches_its_fields_and_their_parts() {
        let patch = Customer::default();
        let change =
            Change::new("customer", &patch, Some(&mask(&["tags", "brand_voice.tone"]))).expect("known paths");
        for touched in ["tags", "tags[3]", "brand_voice.tone"] {
            assert!(change.touches(touched), "{touched}");
        }
        for other in ["brand_voice", "brand_voice.style", "tag", "tags_more", ""] {
            assert!(!change.touches(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(paths in prop::collection::vec("[a-z_.*\\PC]{0,40}", 1..4)) {
            let mask = FieldMask { paths };
            let _ = Change::new("customer", &zoe(), Some(&mask)).and_then(|change| change.apply(&zoe()));
        }
    }
}
