//! Tests of the generated table.

use super::*;
use crate::testing;

#[test]
fn a_route_says_all_that_a_call_needs() {
    let code = generate(
        &testing::http(
            "rpc Do(Act) returns (stream Done) { option (google.api.http) = \
             {post: \"/v1/things/{thing.id}:act\" body: \"thing\"}; }",
        ),
        "crm.v1",
    );
    assert_eq!(
        code.expect("a good binding"),
        "pub(super) static ROUTES: &[Route] = &[\n    \
         Route { verb: Verb::Post, path: &[Segment::Literal(\"v1\"), Segment::Literal(\"things\"), \
         Segment::Field(\"thing.id\")], suffix: Some(\"act\"), rpc: \"/crm.v1.Things/Do\", input: \"crm.v1.Act\", \
         output: \"crm.v1.Done\", body: RequestBody::Field(\"thing\"), streaming: Streaming::Server },\n];\n"
    );
}

#[test]
fn an_earlier_literal_comes_first() {
    let rpc = |name: &str, path: &str| {
        format!("rpc {name}(Act) returns (Done) {{ option (google.api.http) = {{get: \"{path}\"}}; }}")
    };
    let methods = rpc("One", "/v1/{id}/x") + &rpc("Two", "/v1/slug/{id}") + &rpc("Three", "/v1/slug/x");
    let code = generate(&testing::http(&methods), "crm.v1").expect("good bindings");
    let places = ["Three", "Two", "One"].map(|name| code.find(&format!("/{name}\"")).expect(name));
    assert!(places.is_sorted(), "{code}");
}
