//! Tests of what the build accepts and refuses.

use prost::Message as _;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::testing;

fn generate_from(declarations: &str) -> Result<String, String> {
    generate(&testing::messages(declarations), "crm.v1")
}

fn field(declaration: &str) -> Result<String, String> {
    generate_from(&format!("message Thing {{ {declaration} }}"))
}

/// Expects that each declaration of a field is an error that names the field and contains `part`.
#[track_caller]
fn refused(declarations: &[(&str, &str)]) {
    for (declaration, part) in declarations {
        let error = field(declaration).expect_err(declaration);
        assert!(error.starts_with("crm.v1.Thing.x: "), "{error}");
        assert!(error.contains(part), "{declaration}: {error}");
    }
}

#[test]
fn rules_become_checks() {
    let code = field("string x = 1 [(buf.validate.field).string.max_len = 7];").expect("known");
    assert!(code.contains("impl Validate for crate::pb::Thing"), "{code}");
    let call = r#"check::max_len(value, 7_usize, "must be at most 7 characters", at, report)"#;
    assert!(code.contains(call), "{code}");
}

#[test]
fn items_that_stand_for_themselves_are_counted_and_not_checked() {
    let code = field(
        "repeated string x = 1 [(per_item) = true, (buf.validate.field).repeated = {
            max_items: 7, items: {string: {uuid: true}}}];",
    );
    let code = code.expect("known");
    assert!(code.contains("check::size(items.len(), ..=7_usize"), "{code}");
    assert!(!code.contains("enumerate()"), "{code}");
    let code = generate_from(
        "message Item { string text = 1; } message Thing { repeated Item x = 1 [(per_item) = true]; }",
    );
    assert!(!code.expect("known").contains("enumerate()"));
    refused(&[("string x = 1 [(per_item) = true];", "crm.v1.per_item")]);
}

#[test]
fn unknown_rules_are_refused() {
    refused(&[
        ("string x = 1 [(buf.validate.field).string.ipv4 = true];", "string.ipv4"),
        ("string x = 1 [(buf.validate.field).string.len_bytes = 4];", "string.len_bytes"),
        ("string x = 1 [(buf.validate.field).string.example = \"a\"];", "string.example"),
        (
            "string x = 1 [(buf.validate.field).string.well_known_regex = KNOWN_REGEX_HTTP_HEADER_NAME];",
            "string.well_known_regex",
        ),
        ("bytes x = 1 [(buf.validate.field).bytes.prefix = \"a\"];", "bytes.prefix"),
        ("repeated string x = 1 [(buf.validate.field).repeated.items.string.ip = true];", "string.ip"),
        ("map<string, string> x = 1 [(buf.validate.field).map.keys.string.ip = true];", "string.ip"),
        ("google.protobuf.Duration x = 1 [(buf.validate.field).duration.in = {seconds: 1}];", "duration.in"),
        (
            "google.protobuf.Timestamp x = 1 [(buf.validate.field).timestamp.const = {seconds: 1}];",
            "timestamp.const",
        ),
    ]);
}

#[test]
fn cel_and_predefined_rules_are_refused() {
    refused(&[
        (r#"string x = 1 [(buf.validate.field).cel = {id: "a", expression: "true"}];"#, "cel"),
        (r#"string x = 1 [(buf.validate.field).cel_expression = "true"];"#, "cel_expression"),
        (
            r#"string x = 1 [(buf.validate.predefined).cel = {id: "a", expression: "true"}];"#,
            "buf.validate.predefined",
        ),
        (r#"repeated string x = 1 [(buf.validate.field).repeated.items.cel = {id: "a"}];"#, "cel"),
    ]);
    let extended = "message Thing { string x = 1 [(buf.validate.field).string.(custom) = 3]; }
        extend buf.validate.StringRules { int32 custom = 80048; }";
    let error = generate_from(&extended.replace("int32 custom", "optional int32 custom"));
    let error = error.expect_err("a predefined rule");
    assert!(error.contains("string.(crm.v1.custom)"), "{error}");
}

#[test]
fn rules_of_messages_and_oneofs_are_refused() {
    for (body, name, part) in [
        (
            r#"option (buf.validate.message).cel = {id: "a", message: "b", expression: "true"};"#,
            "crm.v1.Thing: ",
            "true",
        ),
        (
            r#"option (buf.validate.message).cel = {id: "a", message: "b", expression: "this.x != '' || this.y"};
            string x = 1; bool y = 2;"#,
            "crm.v1.Thing: ",
            "this.y",
        ),
        (
            r#"option (buf.validate.message).cel = {id: "a", expression: "this.x != ''"}; string x = 1;"#,
            "crm.v1.Thing: ",
            "message",
        ),
        (
            r#"option (buf.validate.message).oneof = {fields: ["x"]}; string x = 1;"#,
            "crm.v1.Thing: ",
            "oneof",
        ),
        (r#"option (buf.validate.message) = {};"#, "crm.v1.Thing: ", "message"),
    ] {
        let error = field(body).expect_err(body);
        assert!(error.starts_with(name) && error.contains(part), "{error}");
    }
    field("oneof x { option (buf.validate.oneof).required = true; string y = 1; }").expect("known");
    let nested = "message Inner { string x = 1 [(buf.validate.field).string.ip = true]; }";
    let error = field(nested).expect_err(nested);
    assert!(error.starts_with("crm.v1.Thing.Inner.x: "), "{error}");
}

#[test]
fn a_message_may_ask_for_one_of_several_fields() {
    let code = field(
        r#"option (buf.validate.message).cel = {id: "a.b", message: "must be so",
            expression: "this.x != '' || this.y != 0 || this.z.size() > 0"};
        string x = 1; int64 y = 2; repeated string z = 3;"#,
    );
    let code = code.expect("a known form");
    let call =
        "holds(!self.x.is_empty() || self.y != 0 || !self.z.is_empty(), \"a.b\", \"must be so\", at, report)";
    assert!(code.contains(call) && code.contains("at.field(\"x\")"), "{code}");
}

#[test]
fn rules_of_another_kind_are_refused() {
    refused(&[
        ("int32 x = 1 [(buf.validate.field).string.min_len = 1];", "string"),
        ("int32 x = 1 [(buf.validate.field).int64.gt = 1];", "int64"),
        ("sint32 x = 1 [(buf.validate.field).int32.gt = 1];", "int32"),
        ("repeated string x = 1 [(buf.validate.field).string.min_len = 1];", "string"),
        ("string x = 1 [(buf.validate.field).repeated.min_items = 1];", "repeated"),
        ("map<string, string> x = 1 [(buf.validate.field).repeated.min_items = 1];", "repeated"),
        ("google.protobuf.Timestamp x = 1 [(buf.validate.field).duration.gt = {}];", "duration"),
        ("Thing x = 1 [(buf.validate.field).string.min_len = 1];", "string"),
    ]);
}

#[test]
fn contradictions_are_refused() {
    refused(&[
        ("int32 x = 1 [(buf.validate.field).int32 = {gte: 5, lte: 4}];", "int32.gte_lte"),
        ("double x = 1 [(buf.validate.field).double = {gt: 1, lte: 1}];", "double.gt_lte"),
        ("double x = 1 [(buf.validate.field).double = {gt: inf}];", "finite"),
        ("string x = 1 [(buf.validate.field).string = {min_len: 5, max_len: 4}];", "min_len"),
        (
            "repeated string x = 1 [(buf.validate.field).repeated = {min_items: 5, max_items: 4}];",
            "min_items",
        ),
        ("repeated string x = 1 [(buf.validate.field).repeated.items.required = true];", "required"),
        ("string x = 1 [(buf.validate.field) = {required: true, ignore: IGNORE_ALWAYS}];", "contradict"),
        ("repeated Thing x = 1 [(buf.validate.field).repeated.unique = true];", "unique"),
    ]);
    let word = "enum Kind { KIND_UNSPECIFIED = 0; }
        message Thing { Kind x = 1 [(buf.validate.field).enum.in = 3]; }";
    assert!(generate_from(word).expect_err(word).contains("not in the enum"));
}

#[test]
fn bad_patterns_and_types_are_refused() {
    refused(&[
        ("string x = 1 [(buf.validate.field).string.pattern = \"(a\"];", "string.pattern"),
        ("string x = 1 [(buf.validate.field).string.pattern = \"\\\\bword\"];", "string.pattern"),
        ("google.protobuf.StringValue x = 1;", "StringValue"),
        ("google.protobuf.DescriptorProto x = 1;", "DescriptorProto"),
    ]);
}

#[test]
fn options_that_the_pool_does_not_know_are_refused() {
    let set = testing::compile_messages(
        "message Thing { string x = 1 [(buf.validate.field).string.max_len = 7]; }",
    );
    let pool = testing::pool(&set);
    let of_set = pool.get_message_by_name("google.protobuf.FileDescriptorSet");
    let of_set = of_set.expect("descriptor.proto is imported");
    let mut set = DynamicMessage::decode(of_set, set.as_slice()).expect("it is a set");
    let files = set.get_field_by_name_mut("file").and_then(Value::as_list_mut);
    for file in files.expect("there are files") {
        let file = file.as_message_mut().expect("a file is a message");
        file.clear_field_by_name("extension");
    }
    let pool = testing::pool(&set.encode_to_vec());
    let error = generate(&pool, "crm.v1").expect_err("an unknown option");
    assert_eq!(error, "crm.v1.Thing.x: the option 1159 is not known");
}

#[test]
fn ignored_messages_are_checked_without_rules() {
    for x in ["Thing x = 1", "repeated Thing x = 1", "map<string, Thing> x = 1", "oneof a { Thing x = 1"] {
        let end = if x.starts_with("oneof") { "; }" } else { ";" };
        let code = field(&format!("{x} [(buf.validate.field).ignore = IGNORE_ALWAYS]{end}"));
        let code = code.expect(x);
        assert!(code.contains("check::without_rules(value, at, report)"), "{code}");
        assert!(!code.contains("check::message("), "{code}");
    }
}

#[test]
fn recursive_messages_end() {
    let code = field("Thing x = 1; repeated Thing y = 2; map<string, Thing> z = 3;");
    assert_eq!(code.expect("known").matches("check::message(").count(), 3);
}

#[test]
fn perl_classes_are_ascii_as_clients_read_them() {
    let same = super::text::as_re2(r"^[\w-]+\.\d$");
    assert_eq!(same.as_deref(), Ok(r"^[[0-9A-Za-z_]-]+\.[0-9]$"));
}

#[test]
fn a_pattern_needs_words() {
    refused(&[("string x = 1 [(buf.validate.field).string.pattern = \"^a$\"];", "PATTERNS")]);
    let code = field("string x = 1 [(buf.validate.field).string.pattern = \"^[A-Z]{2}$\"];").expect("known");
    assert!(code.contains("must be a country code of two capital letters"), "{code}");
}

#[test]
fn an_enum_and_a_oneof_say_what_there_is() {
    let words = "enum Kind { KIND_UNSPECIFIED = 0; KIND_A = 1; KIND_B = 2; }";
    let rules = "[(buf.validate.field).enum = {defined_only: true, not_in: [0]}]";
    let code = generate_from(&format!("{words} message Thing {{ Kind x = 1 {rules}; }}")).expect("known");
    assert_eq!(code.matches("must be one of KIND_A, KIND_B").count(), 2, "{code}");
    let code = field("oneof x { option (buf.validate.oneof).required = true; string y = 1; string z = 2; }");
    assert!(code.expect("known").contains(r#"missing_one_of(&at.field("x"), "y, z", report)"#));
}

#[test]
fn a_size_is_checked_before_what_is_inside() {
    for declaration in [
        "repeated string x = 1 [(buf.validate.field).repeated = {max_items: 3, items: {string: {min_len: 2}}}];",
        "map<string, string> x = 1 [(buf.validate.field).map.max_pairs = 3];",
    ] {
        let code = field(declaration).expect(declaration);
        let (size, each) = (code.find("check::size"), code.find("if items.len() <= 3_usize { for "));
        assert!(size.is_some() && size < each, "{code}");
    }
}

#[test]
fn names_are_those_of_prost() {
    use super::names::{camel, rust_path, snake};
    for (name, snaked, cameled) in [
        ("business_name", "business_name", "BusinessName"),
        ("HTTPServer_v2Name", "http_server_v2_name", "HttpServerV2Name"),
        ("SomeField", "some_field", "SomeField"),
        ("URL2x", "url2x", "Url2x"),
        ("a_1b", "a_1b", "A1b"),
        ("line2Address", "line2_address", "Line2Address"),
        ("type", "r#type", "Type"),
        ("self", "self_", "Self_"),
    ] {
        assert_eq!(snake(name), snaked);
        assert_eq!(camel(name), cameled);
    }
    let path = rust_path("crm.v1.Outer.Kind", "crm.v1");
    assert_eq!(path.as_deref(), Ok("crate::pb::outer::Kind"));
    assert!(rust_path("crm.v10.Outer", "crm.v1").is_err());
}
