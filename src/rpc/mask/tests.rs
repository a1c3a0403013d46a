use proptest::prelude::*;

use super::*;
use crate::pb::{BrandVoice, BusinessContext, Campaign, Conversation, Customer, Money};

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
    let expected = Customer { id: "one".to_owned(), business_name: "Zoë".to_owned(), ..Default::default() };
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
fn what_cannot_change_may_be_named_with_the_value_that_it_has() {
    let current =
        Conversation { customer_id: "one".to_owned(), session_id: "s".to_owned(), ..Default::default() };
    let other = Conversation { customer_id: "two".to_owned(), ..Default::default() };
    let apply = |patch: &Conversation, paths: &[&str]| {
        let mask = mask(paths);
        let change = Change::new("conversation", patch, Some(&mask)).expect("known paths");
        match change.apply(&current) {
            Ok(after) => Ok(after.customer_id),
            Err(Error::Invalid { violations, .. }) => {
                Err(violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>().join(" "))
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    let (kept, changed) = (Ok("one".to_owned()), |field: &str| Err(format!("conversation.{field}")));
    assert_eq!(apply(&current, &["customer_id", "session_id"]), kept);
    assert_eq!(apply(&current, &[]), kept);
    assert_eq!(apply(&Conversation::default(), &[]), kept);
    assert_eq!(apply(&Conversation::default(), &["*"]), kept);
    for paths in [&["customer_id"][..], &[], &["*"]] {
        assert_eq!(apply(&other, paths), changed("customer_id"), "{paths:?}");
    }
    assert_eq!(apply(&Conversation::default(), &["outcome", "session_id"]), changed("session_id"));
}

#[test]
fn every_unknown_path_is_named() {
    let found =
        violations(&Customer::default(), &["email", "nonsense", "tags.x", "custom_attributes.", "*", ""]);
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
        ("brand_voice", "names brand_voice, which is a group of fields; name one of them"),
        ("create_time", "names create_time, which only the server writes"),
        ("brand_voice.x", "names \"brand_voice.x\", which is not a field of BrandVoice"),
        ("*", "names \"*\", which is not a field of Customer"),
    ] {
        assert!(value(path).expect_err(path).starts_with(wrong), "{path}");
    }
}

#[test]
fn rules_hold_for_what_changes_and_for_nothing_else() {
    let blank = Customer { business_name: " ".to_owned(), ..Default::default() };
    let found = violations(&blank, &["business_name"]);
    assert_eq!(found[0].field, "customer.business_name");
    let change = Change::new("customer", &Customer::default(), Some(&mask(&["email"]))).expect("known paths");
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

/// An object of texts, some of them in a nested object.
fn object(texts: &[(&str, &str)], inner: &[(&str, &str)]) -> Struct {
    let text = |text: &str| prost_types::Value { kind: Some(Json::StringValue(text.to_owned())) };
    let mut fields: std::collections::BTreeMap<_, _> =
        texts.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    if !inner.is_empty() {
        let kind = Some(Json::StructValue(object(inner, &[])));
        fields.insert("size".to_owned(), prost_types::Value { kind });
    }
    Struct { fields }
}

#[test]
fn a_key_of_an_open_object_changes_alone() {
    let of = |custom_attributes| Customer { custom_attributes: Some(custom_attributes), ..zoe() };
    let before = of(object(&[("color", "red"), ("a.b", "dot")], &[("w", "1"), ("h", "2")]));
    let changed = |patch: Struct, path: &str| {
        let patch = Customer { custom_attributes: Some(patch), ..Default::default() };
        let change = Change::new("customer", &patch, Some(&mask(&[path]))).expect(path);
        assert!(change.touches("custom_attributes") && !change.touches("email"), "{path}");
        let after = change.apply(&before).expect(path);
        assert_eq!(Customer { custom_attributes: before.custom_attributes.clone(), ..after.clone() }, before);
        after.custom_attributes.expect("the object")
    };
    let new = object(&[("color", "blue"), ("other", "x"), ("a.b", "new"), ("a`c", "y")], &[("w", "3")]);
    let sized = &[("w", "1"), ("h", "2")];
    for (path, expected) in [
        ("custom_attributes.color", object(&[("color", "blue"), ("a.b", "dot")], sized)),
        ("custom_attributes.`color`", object(&[("color", "blue"), ("a.b", "dot")], sized)),
        ("custom_attributes.other", object(&[("color", "red"), ("other", "x"), ("a.b", "dot")], sized)),
        ("custom_attributes.`a.b`", object(&[("color", "red"), ("a.b", "new")], sized)),
        ("custom_attributes.`a``c`", object(&[("color", "red"), ("a.b", "dot"), ("a`c", "y")], sized)),
        ("custom_attributes.absent", object(&[("color", "red"), ("a.b", "dot")], sized)),
        ("custom_attributes.a.b", object(&[("color", "red"), ("a.b", "dot")], sized)),
        ("custom_attributes.size.w", object(&[("color", "red"), ("a.b", "dot")], &[("w", "3"), ("h", "2")])),
        ("custom_attributes.size.h", object(&[("color", "red"), ("a.b", "dot")], &[("w", "1")])),
    ] {
        assert_eq!(changed(new.clone(), path), expected, "{path}");
    }
    let removed = changed(Struct::default(), "custom_attributes.color");
    assert_eq!(removed, object(&[("a.b", "dot")], sized));
    let made = changed(object(&[], &[("w", "3")]), "custom_attributes.size");
    assert_eq!(made, object(&[("color", "red"), ("a.b", "dot")], &[("w", "3")]));
}

#[test]
fn a_path_with_a_slip_is_told_which_one_was_meant() {
    for (path, said) in [
        (
            "customer.businessName",
            "names \"customer.businessName\", which is not a field of Customer; write \"business_name\"",
        ),
        ("businessName", "names \"businessName\", which is not a field of Customer; write \"business_name\""),
        ("customer.email", "names \"customer.email\", which is not a field of Customer; write \"email\""),
        ("emial", "names \"emial\", which is not a field of Customer; write \"email\""),
        (
            "brand_voice.tune",
            "names \"brand_voice.tune\", which is not a field of BrandVoice; write \"brand_voice.tone\"",
        ),
        (
            "brandVoice.tone",
            "names \"brandVoice.tone\", which is not a field of Customer; write \"brand_voice.tone\"",
        ),
        ("tags.x", "goes into tags, which is changed as a whole; name tags without what follows"),
        (
            "custom_attributes.`a",
            "has a backtick that is not closed; quote a key as `a.b`, and a backtick in it as ``",
        ),
        ("custom_attributes.", "names an empty key; name a key after the dot"),
        ("`email`", "names \"`email`\", which is not a field of Customer; write \"email\""),
    ] {
        let found = violations(&Customer::default(), &[path, "email"]);
        assert!(found[0].description.starts_with(said), "{path}: {}", found[0].description);
    }
}

#[test]
fn what_there_is_is_listed_once() {
    let found = violations(&Customer::default(), &["nonsense", "rubbish"]);
    let listed: Vec<_> = found.iter().map(|violation| violation.description.contains("there are")).collect();
    assert_eq!(listed, [true, false]);
}

#[test]
fn wrong_paths_and_wrong_values_are_told_together() {
    let text = str::to_owned;
    let patch = Customer {
        business_name: text(" "),
        email: text("nonsense"),
        phone: text("nonsense"),
        ..Default::default()
    };
    let found = violations(&patch, &["nonsense", "email", "business_name"]);
    let fields: Vec<_> = found.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["update_mask.paths[0]", "customer.business_name", "customer.email"]);
}

proptest! {
    #[test]
    fn no_path_panics(paths in prop::collection::vec("[a-z_.*\\PC]{0,40}", 1..4)) {
        let mask = FieldMask { paths };
        let _ = Change::new("customer", &zoe(), Some(&mask)).and_then(|change| change.apply(&zoe()));
    }
}
