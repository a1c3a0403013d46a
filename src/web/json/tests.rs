use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};

use super::known::{duration_text, is_text, mask, time_text};
use super::read::read;
use super::write::Style;
use super::{Report, texts};
use crate::pb::{CONTRACT, Customer, ListConversationsRequest};

fn message(name: &str) -> MessageDescriptor {
    CONTRACT.get_message_by_name(&format!("crm.v1.{name}")).expect("a message")
}

/// Returns the paths of what is wrong with a customer.
fn wrong(json: &str) -> Vec<String> {
    let mut report = Report::default();
    read(&message("Customer"), "customer", json.as_bytes(), &mut report).expect("JSON");
    report
        .violations
        .into_iter()
        .map(|violation| format!("{} {}", violation.field, violation.description))
        .collect()
}

fn written(json: &str, style: Style) -> String {
    let mut report = Report::default();
    let read = read(&message("Customer"), "", json.as_bytes(), &mut report).expect("JSON");
    report.verdict().expect("nothing wrong");
    let mut out = Vec::new();
    style.write(
        &mut out,
        &DynamicMessage::decode(message("Customer"), read.bytes.as_slice()).expect("a message"),
    );
    String::from_utf8(out).expect("a text")
}

#[test]
fn what_is_written_is_what_was_read() {
    let json = r#"{"business_name":"Zo\u00eb \"\n\u2028","status":"CUSTOMER_STATUS_LEAD","tags":["a","b"],"brand_voice":{"tone":"warm"},"custom_attributes":{"a":[1,null,{"b":true}],"c":"d","e":-1.5},"create_time":"2026-01-31T09:30:00.000001Z"}"#;
    let json = json.replace("\\u00eb", "\u{eb}").replace("\\u2028", "\u{2028}");
    let sorted = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
    assert_eq!(sorted(&written(&json, Style::ERROR)), sorted(&json));
    let all = sorted(&written("{}", Style::REST));
    assert_eq!(
        (&all["phone"], &all["tags"], all.get("create_time")),
        (&"".into(), &serde_json::json!([]), None)
    );
    let camel = written(&json, Style { snake: false, defaults: false });
    assert!(camel.contains("\"businessName\":") && camel.contains("\"brandVoice\":"), "{camel}");
    assert_eq!(sorted(&written(&camel, Style::ERROR)), sorted(&json));
}

#[test]
fn the_fields_that_were_sent_are_known() {
    let sent = |json: &str| {
        let mut sent =
            read(&message("Customer"), "", json.as_bytes(), &mut Report::default()).expect("JSON").sent;
        sent.sort();
        sent.join(" ")
    };
    assert_eq!(sent(r#"{"phone": "", "businessName": "x", "city": null}"#), "business_name phone");
    assert_eq!(sent(r#"{"brand_voice": {"tone": "", "dos": []}}"#), "brand_voice.dos brand_voice.tone");
    // Nothing was sent for it, so nothing of it changes.
    assert_eq!(sent(r#"{"brand_voice": {"tone": null}}"#), "");
    assert_eq!(
        sent(r#"{"brand_voice": {}, "custom_attributes": {"a": 1}}"#),
        "brand_voice custom_attributes"
    );
}

#[test]
fn what_is_wrong_has_its_path() {
    assert_eq!(wrong(r#"{"tags": ["a", 1]}"#), ["customer.tags[1] must be a text in quotes"]);
    assert_eq!(wrong(r#"{"tags": {}}"#), ["customer.tags must be a list"]);
    assert_eq!(wrong(r#"{"create_time": 5}"#).len(), 1);
    let list = wrong(r#"{"zzzzzz": 1, "yyyyyy": 1}"#);
    assert!(list[0].contains("; there are id, ") && !list[1].contains("there are"), "{list:?}");
    let long = format!("{{\"{}\": 1}}", "x\u{7}".repeat(1000));
    assert!(
        wrong(&long.replace('\u{7}', "\\u0007"))[0].starts_with(&format!("customer.{} ", "x".repeat(64)))
    );
}

#[test]
fn texts_of_a_url_become_fields() {
    let mut report = Report::default();
    let mut bytes = Vec::new();
    let request = message("ListConversationsRequest");
    for (path, text) in [("customer_id", "a"), ("pageSize", "7"), ("statuses", "open"), ("statuses", "ENDED")]
    {
        texts::put(&mut bytes, &request, path, (0, text), &mut report);
    }
    report.verdict().expect("nothing wrong");
    let read = ListConversationsRequest::decode(bytes.as_slice()).expect("a request");
    assert_eq!((read.customer_id.as_str(), read.page_size, read.statuses.len()), ("a", 7, 2));
    let mut bytes = Vec::new();
    let update = message("UpdateCustomerRequest");
    for (path, text) in
        [("customer.city", "Graz"), ("customer.id", "x"), ("customer.brand_voice.tone", "dry")]
    {
        texts::put(&mut bytes, &update, path, (0, text), &mut Report::default());
    }
    let customer = crate::pb::UpdateCustomerRequest::decode(bytes.as_slice()).expect("a request").customer;
    let Customer { id, city, brand_voice, .. } = customer.expect("a customer");
    assert_eq!((id.as_str(), city.as_str(), brand_voice.expect("it").tone.as_str()), ("x", "Graz", "dry"));
    let mut report = Report::default();
    for path in ["customer", "customer.custom_attributes.a", "customer.city.x", "nothing.at.all", ""] {
        texts::put(&mut Vec::new(), &update, path, (0, "x"), &mut report);
    }
    assert_eq!(report.violations.len(), 5, "{report:?}");
}

#[test]
fn times_durations_and_masks_are_texts() {
    assert_eq!(time_text(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(time_text(1, 500_000_000).as_deref(), Some("1970-01-01T00:00:01.500Z"));
    assert_eq!(time_text(i64::MAX, 0), None);
    assert_eq!((duration_text(1, 0), duration_text(-1, -500_000_000)), ("1s".to_owned(), "-1.5s".to_owned()));
    let paths = mask("businessName, custom_attributes.fooBar,,phone").paths;
    assert_eq!(paths, ["business_name", "custom_attributes.fooBar", "phone"]);
}

/// Other types of protobuf have forms of their own, which would have to be written and read.
#[test]
fn every_type_of_a_request_has_a_form() {
    let mut seen = BTreeSet::new();
    let services = CONTRACT.services().filter(|service| service.package_name() == "crm.v1");
    let mut left: Vec<_> = services
        .flat_map(|service| service.methods().map(|method| method.input()).collect::<Vec<_>>())
        .collect();
    while let Some(message) = left.pop() {
        if !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        let name = message.full_name();
        assert!(name.starts_with("crm.v1.") || is_text(name) || name == super::known::STRUCT, "{name}");
        if name.starts_with("crm.v1.") {
            left.extend(message.fields().filter_map(|field| match field.kind() {
                Kind::Message(inner) => Some(inner),
                _ => None,
            }));
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
}
