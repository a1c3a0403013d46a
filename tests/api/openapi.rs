//! The OpenAPI document, as a digest that a person can read: its operations with what they take and answer. A change of it
//! is a change for clients.

use std::fmt::Write as _;

use crm_backend::web::pages;
use http::{HeaderMap, Method};
use serde_json::Value;

use crate::support::Crm;
use crate::support::raw::rpcs;
use crate::support::web::Web;

fn document() -> Value {
    let page = pages::find("/openapi.json").expect("the document");
    let response = page.answer(&Method::GET, &HeaderMap::new());
    serde_json::from_slice(response.body()).expect("JSON")
}

#[test]
fn the_operations_are_as_they_were() {
    let document = document();
    let mut text = String::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (verb, operation) in item.as_object().expect("operations") {
            text += &digest(path, verb, operation);
        }
    }
    insta::assert_snapshot!(text);
}

/// Returns an operation in a few lines.
fn digest(path: &str, verb: &str, operation: &Value) -> String {
    let mut text = format!("{} {path} = {}\n", verb.to_uppercase(), word(&operation["operationId"]));
    let parameters = operation["parameters"].as_array().expect("parameters");
    let named: Vec<_> = parameters.iter().map(parameter).collect();
    let _ = writeln!(text, "  takes {}", named.join(", "));
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let _ = writeln!(text, "  body {}", bodies(content));
    }
    for (code, response) in operation["responses"].as_object().expect("responses") {
        if let Some(content) = response["content"].as_object() {
            let _ = writeln!(text, "  {code} {}", bodies(content));
        }
    }
    let codes = operation["responses"].as_object().expect("responses").iter();
    let errors: Vec<_> =
        codes.filter(|(_, response)| response["content"].is_null()).map(|(code, _)| code.as_str()).collect();
    text + &format!("  or {}\n", errors.join(", "))
}

/// Returns a parameter: `id` in the path and `name` in the query as they are, headers in brackets, needed ones with `!`.
fn parameter(parameter: &Value) -> String {
    match parameter["$ref"].as_str() {
        Some(reference) => format!("[{}]", end(reference)),
        None => {
            let needed = if parameter["required"] == true { "!" } else { "" };
            format!("{}{needed}", word(&parameter["name"]))
        }
    }
}

fn bodies(content: &serde_json::Map<String, Value>) -> String {
    let one = |(kind, body): (&String, &Value)| {
        let schema = &body["schema"];
        // The data of an event are JSON in a text.
        let data = &schema["properties"]["data"]["contentSchema"];
        let name = [schema, data].iter().find_map(|schema| schema["$ref"].as_str()).map(end);
        format!("{kind} {}", name.map_or_else(|| schema.to_string(), str::to_owned))
    };
    content.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn end(reference: &str) -> &str {
    reference.rsplit('/').next().expect("a part")
}

#[test]
fn every_rpc_and_every_reference_is_there() {
    let document = document();
    let text = document.to_string();
    for rpc in rpcs() {
        let id = format!("\"{}_{}\"", rpc.parent_service().name(), rpc.name());
        assert!(text.contains(&id), "{id}");
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 500, "{}", references.len());
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect<'d>(value: &'d Value, references: &mut Vec<&'d str>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_the_document_and_the_pages() {
    let crm = Crm::start().await;
    let stranger = Web::stranger(&crm);
    for client in [stranger.clone(), stranger.over_http_2()] {
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/docs", "text/html; charset=utf-8"),
            ("/docs/viewer.js", "text/javascript; charset=utf-8"),
            ("/openapi.json", "application/json"),
        ] {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
            let head = client.send(Method::HEAD, path, None).await;
            assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
            assert_eq!(head.header("content-length"), answer.text.len().to_string(), "{path}");
        }
        let answer = client.get("/openapi.json").await;
        assert_eq!(serde_json::from_str::<Value>(&answer.text).expect("JSON"), document());
        let same = client.with("if-none-match", answer.header("etag")).get("/openapi.json").await;
        assert_eq!((same.status, same.text.as_str()), (304, ""));
        assert_eq!(client.send(Method::POST, "/docs", None).await.status, 405);
    }
}
