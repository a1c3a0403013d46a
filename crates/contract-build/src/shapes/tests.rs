//! Tests of what the build accepts and refuses.

use super::*;
use crate::testing;

fn generate_from(methods: &str) -> Result<String, String> {
    generate(&testing::service(methods), "crm.v1")
}

#[test]
fn a_list_of_a_request_needs_a_limit() {
    let error = generate_from("rpc Get(M) returns (N) {}").expect_err("names have no limit");
    assert_eq!(error, "crm.v1.Thing: names: a list of a request needs a limit: the rule repeated.max_items");
}

#[test]
fn a_list_of_a_response_needs_none() {
    let code = generate_from("rpc Get(N) returns (M) {}").expect("only a response has a list");
    assert!(code.contains("impl Incoming for crate::pb::M {}"), "{code}");
    assert!(code.contains("impl Incoming for crate::pb::N { const SHAPE"), "{code}");
    assert!(!code.contains("static CRM_V1_THING"), "{code}");
}

#[test]
fn a_request_that_is_a_part_of_itself_is_refused() {
    let error = generate_from("rpc Get(Loop) returns (N) {}").expect_err("it has no end");
    assert!(error.starts_with("crm.v1.Loop has itself as a part"), "{error}");
}
