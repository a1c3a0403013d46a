//! Tests of the document, each on a small contract.

use serde_json::{Value, json};

use super::*;
use crate::testing;

/// Returns the document of a service with these RPCs and declarations.
fn document(methods: &str, declarations: &str) -> Value {
    let text =
        generate(&testing::documented(methods, declarations), "crm.v1", "1.2.3").expect("a good contract");
    serde_json::from_str(&text).expect("JSON")
}

/// Returns the schema of a message `Sample` with these fields.
fn schema(fields: &str) -> Value {
    let methods = rpc("Get", "Sample", "post: \"/v1/samples\" body: \"*\"");
    let document = document(&methods, &format!("// Sample is one.\nmessage Sample {{ {fields} }}"));
    document["components"]["schemas"]["Sample"].clone()
}

fn property(field: &str) -> Value {
    let schema = schema(field);
    let properties = schema["properties"].as_object().expect("properties");
    properties.values().next().expect("a property").clone()
}

fn rpc(name: &str, request: &str, rule: &str) -> String {
    format!(
        "// {name} does it. And more.\n  rpc {name}({request}) returns (Done) {{ \
         option (crm.v1.access) = {{scope: ACCESS_SCOPE_WRITE}}; option (google.api.http) = {{{rule}}}; }}\n"
    )
}

#[test]
fn values_are_those_of_json_of_protobuf() {
    for (field, expected) in [
        ("string a = 1;", json!({"type": "string"})),
        ("bool a = 1;", json!({"type": "boolean"})),
        ("bytes a = 1;", json!({"type": "string", "contentEncoding": "base64"})),
        ("int32 a = 1;", json!({"type": "integer", "format": "int32"})),
        ("uint32 a = 1;", json!({"type": "integer", "format": "uint32"})),
        ("int64 a = 1;", json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,20}$"})),
        ("double a = 1;", json!({"type": "number", "format": "double"})),
        ("repeated bool a = 1;", json!({"type": "array", "items": {"type": "boolean"}})),
        ("map<string, bool> a = 1;", json!({"type": "object", "additionalProperties": {"type": "boolean"}})),
        ("Thing a = 1;", json!({"$ref": "#/components/schemas/Thing"})),
        ("Kind a = 1;", json!({"$ref": "#/components/schemas/Kind"})),
        ("google.protobuf.Struct a = 1;", json!({"type": "object", "additionalProperties": true})),
    ] {
        assert_eq!(property(field), expected, "{field}");
    }
    assert_eq!(property("google.protobuf.Timestamp a = 1;")["format"], "date-time");
}

#[test]
fn rules_are_keywords() {
    const ZERO: &str = "(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE";
    const UUID: &str = "018f4e0a-7b7c-7000-8000-000000000000";
    for (field, expected) in [
        (
            "string a = 1 [(buf.validate.field).string = {min_len: 1, max_len: 8}];".to_owned(),
            json!({"type": "string", "minLength": 1, "maxLength": 8}),
        ),
        (
            "string a = 1 [(buf.validate.field).string.pattern = \"^[A-Z]{2}$\"];".to_owned(),
            json!({"type": "string", "pattern": "^[A-Z]{2}$", "examples": ["AT"]}),
        ),
        (
            format!("string a = 1 [{ZERO}, (buf.validate.field).string.pattern = \"^[A-Z]{{2}}$\"];"),
            json!({"type": "string", "pattern": "^$|^[A-Z]{2}$", "examples": ["AT"]}),
        ),
        (
            "string a = 1 [(buf.validate.field).string.uuid = true];".to_owned(),
            json!({"type": "string", "format": "uuid", "examples": [UUID]}),
        ),
        (
            "string a = 1 [(buf.validate.field).string = {in: [\"\", \"b\"]}];".to_owned(),
            json!({"type": "string", "enum": ["", "b"]}),
        ),
        (
            "int32 a = 1 [(buf.validate.field).int32 = {gte: 1, lt: 9}];".to_owned(),
            json!({"type": "integer", "format": "int32", "minimum": 1, "exclusiveMaximum": 9}),
        ),
        (
            "double a = 1 [(buf.validate.field).double = {gte: 0, lte: 1}];".to_owned(),
            json!({"type": "number", "format": "double", "minimum": 0, "maximum": 1}),
        ),
        (
            "repeated string a = 1 [(buf.validate.field).repeated = {min_items: 1, max_items: 2, unique: true, \
             items: {string: {max_len: 3}}}];"
                .to_owned(),
            json!({"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 2,
                   "uniqueItems": true}),
        ),
        (
            "Kind a = 1 [(buf.validate.field).enum = {not_in: [0]}];".to_owned(),
            json!({"$ref": "#/components/schemas/Kind", "not": {"enum": ["KIND_UNSPECIFIED"]}}),
        ),
        (
            "string a = 1 [(google.api.field_behavior) = OUTPUT_ONLY, deprecated = true];".to_owned(),
            json!({"type": "string", "readOnly": true, "deprecated": true}),
        ),
    ] {
        assert_eq!(property(&field), expected, "{field}");
    }
    let needed = schema("string a = 1 [(google.api.field_behavior) = REQUIRED]; string b = 2;");
    assert_eq!(needed["required"], json!(["a"]));
    let one = schema("oneof c { option (buf.validate.oneof).required = true; string a = 1; string b = 2; }");
    assert_eq!(one["oneOf"], json!([{"required": ["a"]}, {"required": ["b"]}]));
    assert_eq!(one["properties"]["a"]["description"], "Not together with `b`.");
}

#[test]
fn patterns_are_for_all_languages() {
    let schema = property("string a = 1 [(buf.validate.field).string.pattern = \"^\\\\P{Cc}*$\"];");
    assert_eq!(schema["pattern"], r"^[^\x00-\x1f\x7f-\x9f]*$");
    let methods = rpc("Get", "Sample", "post: \"/v1/samples\" body: \"*\"");
    let field = "string a = 1 [(buf.validate.field).string.pattern = \"^\\\\p{Lu}$\"];";
    let pool = testing::documented(&methods, &format!("message Sample {{ {field} }}"));
    let error = generate(&pool, "crm.v1", "1").expect_err("a class of Unicode");
    assert!(error.contains("crm.v1.Sample.a: OpenAPI needs a pattern for all languages"), "{error}");
}

#[test]
fn an_example_that_is_refused_is_none() {
    let rules = "(buf.validate.field).string = {max_len: 4, not_in: [\"no\"], pattern: \"^[A-Z]{2}$\"}";
    for said in ["no", "toolong", "x"] {
        let schema = property(&format!("\n// a, e.g. `{said}`.\nstring a = 1 [{rules}];\n"));
        assert_eq!(schema["examples"], json!(["AT"]), "{said}");
    }
}

#[test]
fn a_text_with_a_pattern_has_an_example() {
    let rule = "(buf.validate.field).string.pattern = \"^\\\\P{Cc}*$\"";
    assert_eq!(property(&format!("string two_words = 1 [{rule}];"))["examples"], json!(["two words"]));
    assert_eq!(property(&format!("string etag = 1 [{rule}];"))["examples"], json!([""]));
    assert_eq!(property("string two_words = 1;")["examples"], Value::Null);
}

#[test]
fn comments_are_texts_with_examples() {
    let schema =
        schema("\n// a is a\n// name, e.g. `zoe`.\n//\n// - one\n//   more\n// - two\nstring a = 1;\n");
    assert_eq!(schema["description"], "Sample is one.");
    let a = &schema["properties"]["a"];
    assert_eq!(a["description"], "a is a name, e.g. `zoe`.\n\n- one more\n- two");
    assert_eq!(a["examples"], json!(["zoe"]));
    let document = document(&rpc("Get", "Thing", "get: \"/v1/things/{id}\""), "");
    let operation = &document["paths"]["/v1/things/{id}"]["get"];
    assert_eq!(operation["summary"], "Does it");
    assert_eq!(operation["description"], "Get does it. And more.\n\nA credential needs the scope `write`.");
    assert_eq!(document["info"]["version"], "1.2.3");
    assert_eq!(document["tags"], json!([{"name": "Things", "description": "Things are there."}]));
}

#[test]
fn a_request_is_in_path_query_and_body() {
    let methods = rpc("Set", "Set", "patch: \"/v1/things/{thing.id}\" body: \"thing\"")
        + &rpc("Find", "Find", "get: \"/v1/things/{id}\"")
        + &rpc("Act", "Find", "post: \"/v1/things/{id}:act\" body: \"*\"");
    let document = document(
        &methods,
        "message Set { Thing thing = 1 [(google.api.field_behavior) = REQUIRED]; string update_mask = 2; \
         string request_id = 3; } \
         message Find { string id = 1; repeated Kind kinds = 2; Range range = 3; repeated Thing things = 4; \
         google.protobuf.Struct open = 5; string must = 6 [(google.api.field_behavior) = REQUIRED]; } \
         message Range { int32 from = 1; google.protobuf.Timestamp until = 2; }",
    );
    let names = |verb: &str| -> Vec<String> {
        let parameters = document["paths"]["/v1/things/{id}"][verb]["parameters"].as_array().expect(verb);
        parameters
            .iter()
            .map(|parameter| match &parameter["name"] {
                Value::String(name) => format!("{} {name}", parameter["in"].as_str().expect("a place")),
                _ => parameter["$ref"].as_str().expect("a reference").replace("#/components/parameters/", ""),
            })
            .collect()
    };
    assert_eq!(
        names("patch"),
        ["path id", "query update_mask", "query request_id", "RequestTimeout", "IdempotencyKey"]
    );
    assert_eq!(
        names("get"),
        ["path id", "query kinds", "query range.from", "query range.until", "query must", "RequestTimeout"]
    );
    let patch = &document["paths"]["/v1/things/{id}"]["patch"];
    let body = |operation: &Value| operation["requestBody"]["content"]["application/json"]["schema"].clone();
    assert_eq!(patch["requestBody"]["required"], true);
    assert_eq!(body(patch), json!({"$ref": "#/components/schemas/ThingChange"}));
    assert!(document["components"]["schemas"]["ThingChange"]["required"].is_null());
    assert_eq!(document["components"]["schemas"]["Thing"]["required"], json!(["name"]));
    let act = &document["paths"]["/v1/things/{id}:act"]["post"];
    assert_eq!(body(act), json!({"$ref": "#/components/schemas/ActBody"}));
    assert!(document["components"]["schemas"]["ActBody"]["properties"]["id"].is_null());
    assert_eq!(document["components"]["schemas"]["ActBody"]["required"], json!(["must"]));
}

#[test]
fn every_binding_is_an_operation_with_a_name_of_its_own() {
    let methods = rpc(
        "Do",
        "Thing",
        "patch: \"/v1/{id}\" body: \"*\" additional_bindings: {put: \"/v1/{name}\" body: \"*\"} \
         additional_bindings: {post: \"/v1/{id}:do\" body: \"*\"}",
    );
    let document = document(&methods, "");
    assert_eq!(document["paths"]["/v1/{id}"]["patch"]["operationId"], "Things_Do");
    assert_eq!(document["paths"]["/v1/{id}"]["put"]["operationId"], "Things_Do2");
    assert_eq!(document["paths"]["/v1/{id}:do"]["post"]["operationId"], "Things_Do3");
    // The same path has one name for its parameter, and each body is without what is in the path.
    assert_eq!(document["paths"]["/v1/{id}"]["put"]["parameters"][0]["name"], "id");
    let schemas = &document["components"]["schemas"];
    assert!(schemas["DoBody"]["properties"]["id"].is_null());
    assert!(schemas["DoBody2"]["properties"]["name"].is_null());
    assert!(schemas["DoBody3"].is_null());
}

#[test]
fn streams_have_media_types_of_their_own() {
    let methods = "rpc Watch(Thing) returns (stream Done) { \
         option (crm.v1.access) = {scope: ACCESS_SCOPE_READ}; option (google.api.http) = {get: \"/v1/watch\"}; } \
         rpc Talk(stream Thing) returns (stream Done) { option (crm.v1.access) = {scope: ACCESS_SCOPE_READ}; \
         option (google.api.http) = {post: \"/v1/talk\" body: \"*\"}; }";
    let document = document(methods, "");
    let kinds = |value: &Value| -> Vec<String> {
        value["content"].as_object().expect("content").keys().cloned().collect()
    };
    let watch = &document["paths"]["/v1/watch"]["get"];
    assert_eq!(kinds(&watch["responses"]["200"]), ["application/x-ndjson", "text/event-stream"]);
    let schema_of = |kind: &str| &watch["responses"]["200"]["content"][kind]["schema"];
    let data = &schema_of("text/event-stream")["properties"]["data"];
    assert_eq!(data["contentSchema"], *schema_of("application/x-ndjson"), "{data}");
    let talk = &document["paths"]["/v1/talk"]["post"];
    assert_eq!(kinds(&talk["requestBody"]), ["application/x-ndjson"]);
    assert_eq!(kinds(&talk["responses"]["200"]), ["application/x-ndjson"]);
}

#[test]
fn errors_are_a_status_with_details() {
    let document = document(&rpc("Get", "Thing", "get: \"/v1/things/{id}\""), "");
    let responses = &document["paths"]["/v1/things/{id}"]["get"]["responses"];
    let codes: Vec<_> = responses.as_object().expect("responses").keys().cloned().collect();
    assert_eq!(codes, ["200", "400", "401", "403", "404", "429", "500", "503", "504", "default"]);
    let status = &document["components"]["schemas"]["Status"];
    assert_eq!(status["required"], json!(["code", "message"]));
    let details = status["properties"]["details"]["items"]["anyOf"].as_array().expect("details");
    assert!(details.contains(&json!({"$ref": "#/components/schemas/BadRequest"})));
    let kind = &document["components"]["schemas"]["ErrorInfo"]["properties"]["@type"]["const"];
    assert_eq!(kind, "type.googleapis.com/google.rpc.ErrorInfo");
    let headers = &document["components"]["responses"]["Error429"]["headers"];
    assert_eq!(headers["Retry-After"], json!({"$ref": "#/components/headers/RetryAfter"}));
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document(
        &rpc("Set", "Set", "patch: \"/v1/things/{thing.id}\" body: \"thing\""),
        "message Set { Thing thing = 1; string update_mask = 2; string request_id = 3; }",
    );
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn a_message_with_the_name_of_a_detail_is_refused() {
    let pool = testing::documented(&rpc("Get", "Status", "get: \"/v1\""), "message Status {}");
    let error = generate(&pool, "crm.v1", "1").expect_err("a collision");
    assert_eq!(error, "crm.v1.Status has the name of google.rpc.Status in OpenAPI");
}

#[test]
fn texts_are_escaped() {
    let text = Json::from("\"a\\b\"\n\t\u{1}ü").to_string();
    assert_eq!(text, r#""\"a\\b\"\n\u0009\u0001ü""#);
}
