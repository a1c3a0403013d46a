//! Tests of what bindings the build accepts and refuses.

use super::*;
use crate::testing;

/// Reads the bindings of an RPC `Do` with these options.
fn read(method: &str) -> Result<Vec<Binding>, String> {
    of_package(&testing::http(method), "crm.v1")
}

fn bound(rule: &str) -> String {
    format!("rpc Do(Act) returns (Done) {{ option (google.api.http) = {{{rule}}}; }}")
}

#[test]
fn all_bindings_of_an_rpc_are_read() {
    let bindings = read(&bound(
        "patch: \"/v1/things/{thing.id}\" body: \"thing\" \
         additional_bindings: {post: \"/v1/things/{id}:act\" body: \"*\"} \
         additional_bindings: {get: \"/v1/acts/{kind}\"} additional_bindings: {delete: \"/v1/acts/{size}\"}",
    ));
    let read: Vec<_> = bindings
        .expect("good bindings")
        .into_iter()
        .map(|binding| {
            let body = match binding.body {
                Body::None => String::new(),
                Body::Whole => "*".to_owned(),
                Body::Field(field) => field.name().to_owned(),
            };
            (binding.verb.name(), binding.path.to_string(), body)
        })
        .collect();
    let one = |verb, path: &str, body: &str| (verb, path.to_owned(), body.to_owned());
    assert_eq!(
        read,
        [
            one("PATCH", "/v1/things/{thing.id}", "thing"),
            one("POST", "/v1/things/{id}:act", "*"),
            one("GET", "/v1/acts/{kind}", ""),
            one("DELETE", "/v1/acts/{size}", ""),
        ]
    );
}

#[test]
fn a_binding_that_the_service_cannot_keep_is_refused() {
    for (rule, part) in [
        ("", "needs get, put"),
        ("custom: {kind: \"HEAD\" path: \"/v1\"}", "custom is not supported"),
        ("get: \"/v1\" response_body: \"thing\"", "response_body is not supported"),
        ("get: \"/v1\" selector: \"x\"", "selector is not supported"),
        ("get: \"v1\"", "does not begin with a slash"),
        ("get: \"/\"", "neither a literal"),
        ("get: \"/v1/\"", "neither a literal"),
        ("get: \"/v1/*\"", "neither a literal"),
        ("get: \"/v1/{id=things/*}\"", "neither a literal"),
        ("get: \"/v1/{id}x\"", "neither a literal"),
        ("get: \"/v1/{}\"", "neither a literal"),
        ("get: \"/v1/{id}:\"", "has a suffix"),
        ("get: \"/v1/{id}/{id}\"", "has the field id twice"),
        ("get: \"/v1/{none}\"", "/v1/{none}: none: Act has no field none"),
        ("get: \"/v1/{thing.none}\"", "Thing has no field none"),
        ("get: \"/v1/{id.none}\"", "there is no message before none"),
        ("get: \"/v1/{thing}\"", "thing is not one text"),
        ("get: \"/v1/{names}\"", "names is not one text"),
        ("get: \"/v1/{things.id}\"", "there is no message before id"),
        ("get: \"/v1/{weight}\"", "weight is not one text"),
        ("get: \"/v1\" body: \"*\"", "GET has no body"),
        ("delete: \"/v1\" body: \"thing\"", "DELETE has no body"),
        ("post: \"/v1\"", "POST needs a body"),
        ("post: \"/v1\" body: \"none\"", "Act has no field none"),
        ("post: \"/v1\" body: \"id\"", "the body id is no single message"),
        ("post: \"/v1\" body: \"things\"", "the body things is no single message"),
        (
            "get: \"/v1\" additional_bindings: {get: \"/v2\" additional_bindings: {get: \"/v3\"}}",
            "has additional bindings",
        ),
    ] {
        let error = read(&bound(rule)).expect_err(rule);
        assert!(error.starts_with("crm.v1.Things.Do: ") && error.contains(part), "{rule}: {error}");
    }
    let error = read("rpc Do(Act) returns (Done);").expect_err("no binding");
    assert!(error.contains("say where it is in HTTP"), "{error}");
}

#[test]
fn a_stream_of_requests_has_them_as_its_body() {
    let stream = |body: &str| {
        read(&format!(
            "rpc Do(stream Act) returns (stream Done) {{ \
             option (google.api.http) = {{post: \"/v1\" body: \"{body}\"}}; }}"
        ))
    };
    stream("*").expect("a stream");
    let error = stream("thing").expect_err("a stream of parts");
    assert!(error.contains("the body of a stream of requests"), "{error}");
}

#[test]
fn two_bindings_that_no_literal_tells_apart_are_refused() {
    let two = |one: &str, other: &str| {
        let rpc = |name: &str, rule: &str| {
            format!("rpc {name}(Act) returns (Done) {{ option (google.api.http) = {{{rule}}}; }}")
        };
        read(&(rpc("Do", one) + &rpc("Undo", other)))
    };
    let error = two("get: \"/v1/{id}/x\"", "get: \"/v1/{kind}/x\"").expect_err("a collision");
    assert_eq!(error, "crm.v1.Things.Undo: /v1/{kind}/x has the same URLs as /v1/{id}/x of crm.v1.Things.Do");
    for other in [
        "get: \"/v1/slug/x\"",
        "get: \"/v1/{kind}/y\"",
        "get: \"/v1/{kind}\"",
        "get: \"/v1/{kind}/x:y\"",
        "delete: \"/v1/{kind}/x\"",
    ] {
        two("get: \"/v1/{id}/x\"", other).expect(other);
    }
}
