use chrono::DateTime;
use uuid::Uuid;

use super::*;

fn zoe(wanted: pb::Customer) -> Customer {
    wire::create(wanted, Uuid::from_u128(1), DateTime::UNIX_EPOCH)
}

fn bare() -> Customer {
    zoe(pb::Customer { business_name: "Zoë".to_owned(), ..Default::default() })
}

fn field(path: &str) -> Field {
    Field::parse(path).expect(path)
}

#[test]
fn only_values_that_clients_write_are_fields() {
    for path in ["email", "tags", "status", "business_context.goals", "brand_voice.tone", "slug"] {
        assert_eq!(field(path).path(), path);
    }
    let long = format!("custom_attributes.{}", "k".repeat(64));
    for path in ["custom_attributes.opening_hours", "custom_attributes.a.b", "custom_attributes.ü 1", &long]
    {
        assert_eq!(field(path).path(), path);
    }
    for path in [
        "",
        "*",
        "nonsense",
        "id",
        "create_time",
        "delete_time",
        "etag",
        "business_context",
        "business_context.nonsense",
        "email.x",
        "tags.0",
        "Email",
        " email",
        "custom_attributes",
        "custom_attributes.",
        &format!("{long}k"),
    ] {
        assert!(Field::parse(path).is_err(), "{path}");
    }
}

#[test]
fn what_is_not_empty_is_known() {
    let full = fill(&bare(), &field("business_context.goals"), "grow", false).expect("filled");
    let known = CustomerFields::of(&full).expect("known");
    assert!(known.has(&field("business_context.goals")) && known.has(&field("business_name")));
    for path in ["email", "status", "business_context.description", "brand_voice.tone", "custom_attributes.a"]
    {
        assert!(!known.has(&field(path)), "{path}");
    }
    for (path, text) in [("status", "active"), ("custom_attributes.a", "x"), ("tags", "vip")] {
        let full = fill(&bare(), &field(path), text, false).expect(path);
        assert!(CustomerFields::of(&full).expect("known").has(&field(path)), "{path}");
    }
    for empty in [serde_json::json!(null), serde_json::json!(""), serde_json::json!([])] {
        let blank = Customer { custom_attributes: serde_json::json!({ "a": empty }), ..bare() };
        assert!(!CustomerFields::of(&blank).expect("known").has(&field("custom_attributes.a")), "{blank:?}");
    }
}

#[test]
fn a_text_becomes_what_the_field_is() {
    let filled = |path: &str, text: &str| {
        pb::Customer::from(
            fill(&bare(), &field(path), text, false).unwrap_or_else(|error| panic!("{path}: {error}")),
        )
    };
    assert_eq!(filled("email", " zoe@cafe.example\n").email, "zoe@cafe.example");
    assert_eq!(filled("brand_voice.tone", "warm").brand_voice.expect("a voice").tone, "warm");
    let goals = filled("business_context.goals", "grow\n\n  open a second shop \ngrow");
    assert_eq!(goals.business_context.expect("a context").goals, ["grow", "open a second shop"]);
    let wishes = filled("content_preferences.preferred_channels", "WhatsApp\nin-app\nwhatsapp");
    let wishes = wishes.content_preferences.expect("preferences").preferred_channels;
    assert_eq!(wishes, [pb::ContactChannel::Whatsapp, pb::ContactChannel::InApp].map(i32::from));
    for text in ["PROSPECT", "prospect", "Prospect", "customer_status_prospect", "CUSTOMER-STATUS PROSPECT"] {
        assert_eq!(filled("status", text).status(), CustomerStatus::Prospect, "{text}");
    }
    let attributes =
        filled("custom_attributes.opening.hours", "9 to 5").custom_attributes.expect("attributes");
    let hours = attributes.fields["opening.hours"].kind.clone();
    assert_eq!(hours, Some(Json::StringValue("9 to 5".to_owned())));
}

#[test]
fn what_the_rules_refuse_is_the_answers_fault() {
    for (path, text) in [
        ("email", "no address"),
        ("country_code", "Austria"),
        ("contact_name", "two\nlines"),
        ("status", "UNSPECIFIED"),
        ("status", "customer"),
        ("tags", &"x".repeat(65)),
        ("website", "cafe"),
        ("content_preferences.preferred_channels", "pigeon"),
        ("slug", "ai-context"),
    ] {
        let Err(Error::Invalid { reason, violations }) = fill(&bare(), &field(path), text, false) else {
            panic!("{path} takes {text}");
        };
        assert_eq!(reason, ErrorReason::FieldInvalid);
        assert!(violations.iter().all(|violation| violation.field == "answer"), "{violations:?}");
    }
}

#[test]
fn another_value_stays_unless_it_is_overwritten() {
    let custom = |text: &str| serde_json::json!({ "a": text, "b": 1 });
    let full = Customer {
        email: "a@cafe.example".to_owned(),
        tags: crate::db::texts::Texts(vec!["vip".to_owned()]),
        custom_attributes: custom("old"),
        ..bare()
    };
    for (path, same, other) in [
        ("email", "a@cafe.example", "b@cafe.example"),
        ("custom_attributes.a", "old", "new"),
        ("slug", "", "z"),
    ] {
        if !same.is_empty() {
            assert_eq!(fill(&full, &field(path), same, false).expect("the same"), full);
        }
        let full = Customer { slug: "zoe".to_owned(), ..full.clone() };
        let error = fill(&full, &field(path), other, false).expect_err(path);
        assert_eq!(error.reason(), ErrorReason::TargetFieldFilled);
        assert_ne!(fill(&full, &field(path), other, true).expect("overwritten"), full);
    }
    let tags = |overwrite| fill(&full, &field("tags"), "new\nvip", overwrite).expect("filled").tags.0;
    assert_eq!(tags(false), ["vip", "new"]);
    assert_eq!(tags(true), ["new", "vip"]);
    let after = fill(&full, &field("custom_attributes.a"), "new", true).expect("overwritten");
    assert_eq!(after.custom_attributes, custom("new"), "other keys stay");
}
