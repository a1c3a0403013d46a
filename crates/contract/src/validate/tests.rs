use prost_types::value::Kind;
use prost_types::{Duration, FieldMask, ListValue, Struct, Timestamp, Value};

use super::check::{self, unique};
use super::formats::{is_email, is_hostname, is_uri, is_uuid};
use super::*;

fn rules<T: Validate>(message: &T) -> Vec<&'static str> {
    let violations = validate(message).err().unwrap_or_default();
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn paths_are_rendered_from_the_request_down() {
    let customer = Path::ROOT.field("customer");
    let tags = customer.field("tags");
    assert_eq!(Path::ROOT.to_string(), "");
    assert_eq!(tags.index(3).to_string(), "customer.tags[3]");
    let item = tags.index(3);
    assert_eq!(item.field("text").to_string(), "customer.tags[3].text");
    assert_eq!(tags.value_of("tier-1").to_string(), r#"customer.tags["tier-1"]"#);
    assert_eq!(tags.value_of(-7_i32).to_string(), "customer.tags[-7]");
    assert_eq!(tags.value_of(true).to_string(), "customer.tags[true]");
}

#[test]
fn keys_that_may_be_private_are_not_shown() {
    for key in ["ann@example.com", "+49 30 1234567", "", "1234567", "a\nb", &"k".repeat(65)] {
        assert_eq!(Path::ROOT.value_of(key).to_string(), "[*]", "{key:?}");
    }
}

#[test]
fn a_violation_of_a_key_says_so() {
    let mut report = Report::default();
    check::no_nul("\0", &Path::ROOT.field("labels").key_of("\0"), &mut report);
    let violation = &report.violations[0];
    assert_eq!(violation.field, "labels[*]");
    assert_eq!(violation.description, "the key must not contain the character U+0000");
}

#[test]
fn violations_are_capped() {
    let paths = vec!["\0".to_owned(); 200];
    let violations = validate(&FieldMask { paths }).expect_err("NUL");
    assert_eq!(violations.len(), MAX_VIOLATIONS);
    assert_eq!(violations[49].field, "paths[49]");
}

#[test]
fn descriptions_say_lengths_but_no_values() {
    let mut report = Report::default();
    let at = Path::ROOT.field("name");
    check::max_len("secret", 3, "must be at most 3 characters", &at, &mut report);
    check::holds(false, "string.email", "must be an e-mail address", &at, &mut report);
    check::range(9, ..5, "int32.lt", "must be less than 5", &at, &mut report);
    let said: Vec<_> = report.violations.iter().map(|v| v.description.as_str()).collect();
    assert_eq!(said[0], "must be at most 3 characters, has 6");
    assert_eq!(said[1], "must be an e-mail address");
    assert_eq!(said[2], "must be less than 5, is 9");
}

#[test]
fn lengths_count_characters() {
    let found = |value: &str, min: usize, max: usize| {
        let mut report = Report::default();
        check::min_len(value, min, "", &Path::ROOT, &mut report);
        check::max_len(value, max, "", &Path::ROOT, &mut report);
        report.violations.iter().map(|v| v.rule).collect::<Vec<_>>()
    };
    assert!(found("äöü", 3, 3).is_empty());
    assert!(found("🦀🦀", 2, 2).is_empty());
    assert!(found("", 0, 0).is_empty());
    assert_eq!(found("🦀", 2, 9), ["string.min_len"]);
    assert_eq!(found("🦀🦀", 0, 1), ["string.max_len"]);
    assert_eq!(found("", 1, 9), ["string.min_len"]);
}

#[test]
fn repeated_items_are_found_in_short_and_long_lists() {
    let found = |items: &[usize]| {
        let mut report = Report::default();
        unique(items, &Path::ROOT, &mut report);
        report.violations.len()
    };
    assert_eq!(found(&[]), 0);
    assert_eq!(found(&[1, 2, 3]), 0);
    assert_eq!(found(&[1, 2, 1]), 1);
    let mut long: Vec<usize> = (0..1000).collect();
    assert_eq!(found(&long), 0);
    long[999] = 0;
    assert_eq!(found(&long), 1);
}

#[test]
fn emails() {
    for good in ["a@b", "first.last+tag@example.com", "o'hara@example.co.uk", "a@b-c.de"] {
        assert!(is_email(good), "{good}");
    }
    for bad in [
        "",
        "@",
        "a@",
        "@b",
        "a b@c",
        "a@b c",
        "a@@b",
        "a@b@c",
        "a@-b",
        "a@b-",
        "a@b..c",
        "a@.b",
        "a@b.",
        "ä@b",
        "a@ä",
        "a@b\n",
        "\"a\"@b",
        "a,b@c",
        "a<b@c",
        "a(b@c",
        "a@[1.2.3.4]",
    ] {
        assert!(!is_email(bad), "{bad:?}");
    }
    assert!(is_email(&format!("a@{}.com", "b".repeat(63))));
    assert!(!is_email(&format!("a@{}.com", "b".repeat(64))));
}

#[test]
fn uuids() {
    assert!(is_uuid("018f4e0a-7b7c-7000-8000-00000000000F"));
    for bad in [
        "",
        "018f4e0a7b7c70008000000000000000",
        "{018f4e0a-7b7c-7000-8000-000000000000}",
        "018f4e0a-7b7c-7000-8000-00000000000",
        "018f4e0a-7b7c-7000-8000-0000000000000",
        "018f4e0a-7b7c-7000-8000-00000000000g",
        "018f4e0a+7b7c-7000-8000-000000000000",
        "018f4e0a-7b7c-7000-8000-0000000000ä",
    ] {
        assert!(!is_uuid(bad), "{bad:?}");
    }
}

#[test]
fn hostnames() {
    for good in ["a", "example.com", "example.com.", "1.a", "xn--bcher-kva.example", "A-1.b"] {
        assert!(is_hostname(good), "{good}");
    }
    for bad in ["", ".", "a..b", ".a", "-a", "a-.b", "a_b", "1.2.3.4", "ä.de", "a b", "a:80"] {
        assert!(!is_hostname(bad), "{bad:?}");
    }
    assert!(is_hostname(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61))));
    assert!(!is_hostname(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62))));
}

#[test]
fn uris() {
    for good in [
        "https://example.com",
        "https://example.com/",
        "http://user:pw@example.com:8080/a/b?c=d&e#f",
        "mailto:ann@example.com",
        "urn:isbn:0451450523",
        "https://[2001:db8::1]:443/",
        "a+b-c.1:x",
        "file:///etc/hosts",
        "https://example.com/%C3%A4?q=%20",
        "https://xn--bcher-kva.example",
    ] {
        assert!(is_uri(good), "{good}");
    }
    for bad in [
        "",
        "example.com",
        "//example.com",
        "/path",
        "1http://a",
        "https://a b",
        "https://a/ä",
        "https://a/%2",
        "https://a/%zz",
        "https://a:80x/",
        "https://[::1",
        "https://[1.2.3.4]/",
        "https://[::1]x/",
        "https://a/<b>",
        "https://a/b#c#d",
        "https://a@b@c/",
        ":a",
        "https://a\\b",
        "https://a/[b]",
        "https://a/\0",
        "ht tp://a",
    ] {
        assert!(!is_uri(bad), "{bad:?}");
    }
}

#[test]
fn timestamps() {
    let at = |seconds, nanos| rules(&Timestamp { seconds, nanos });
    assert!(at(0, 0).is_empty());
    assert!(at(-62_135_596_800, 0).is_empty());
    assert!(at(253_402_300_799, 999_999_999).is_empty());
    assert_eq!(at(-62_135_596_801, 0), ["timestamp.seconds"]);
    assert_eq!(at(253_402_300_800, 0), ["timestamp.seconds"]);
    assert_eq!(at(0, 1_000_000_000), ["timestamp.nanos"]);
    assert_eq!(at(i64::MIN, -1), ["timestamp.seconds"]);
}

#[test]
fn durations() {
    let of = |seconds, nanos| rules(&Duration { seconds, nanos });
    assert!(of(315_576_000_000, 999_999_999).is_empty());
    assert!(of(-1, -5).is_empty() && of(0, -5).is_empty() && of(1, 0).is_empty());
    assert_eq!(of(1, -1), ["duration.sign"]);
    assert_eq!(of(-1, 1), ["duration.sign"]);
    assert_eq!(of(i64::MAX, 0), ["duration.seconds"]);
    assert_eq!(of(i64::MIN, i32::MIN), ["duration.seconds"]);
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn object(key: &str, kind: Kind) -> Struct {
    Struct { fields: [(key.to_owned(), value(kind))].into() }
}

fn list(values: Vec<Value>) -> Kind {
    Kind::ListValue(ListValue { values })
}

fn nested_objects(depth: usize) -> Struct {
    (1..depth).fold(Struct::default(), |inner, _| object("a", Kind::StructValue(inner)))
}

#[test]
fn structs_are_limited_in_depth() {
    assert!(rules(&nested_objects(16)).is_empty());
    assert_eq!(rules(&nested_objects(17)), ["struct.max_depth"]);
    assert_eq!(rules(&nested_objects(60)), ["struct.max_depth"]);
    let lists = |depth| (1..depth).fold(list(vec![]), |inner, _| list(vec![value(inner)]));
    assert!(rules(&object("a", lists(15))).is_empty());
    assert_eq!(rules(&object("a", lists(16))), ["struct.max_depth"]);
    assert!(rules(&value(lists(16))).is_empty());
    assert_eq!(rules(&value(lists(17))), ["struct.max_depth"]);
}

#[test]
fn structs_are_limited_in_entries() {
    let nulls = |count| list(vec![value(Kind::NullValue(0)); count]);
    assert!(rules(&object("a", nulls(MAX_STRUCT_ENTRIES - 1))).is_empty());
    assert_eq!(rules(&object("a", nulls(MAX_STRUCT_ENTRIES))), ["struct.max_entries"]);
    let halves = list(vec![value(nulls(5_000)), value(nulls(5_000))]);
    assert_eq!(rules(&value(halves)), ["struct.max_entries"]);
}

#[test]
fn structs_hold_what_jsonb_can() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(rules(&object("a", Kind::NumberValue(number))), ["struct.finite"]);
    }
    assert!(rules(&object("", Kind::NumberValue(f64::MAX))).is_empty());
    assert!(rules(&object("a", Kind::BoolValue(true))).is_empty());
    assert_eq!(rules(&object("a\0", Kind::BoolValue(true))), ["struct.no_nul"]);
    assert_eq!(rules(&object("a", Kind::StringValue("\0".to_owned()))), ["struct.no_nul"]);
    assert_eq!(rules(&Value { kind: None }), ["struct.kind"]);
    assert_eq!(rules(&object("a", list(vec![Value { kind: None }]))), ["struct.kind"]);
}
