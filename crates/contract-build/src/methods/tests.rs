//! Tests of what the build accepts and refuses.

use super::*;
use crate::testing;

fn generate_from(methods: &str) -> Result<String, String> {
    generate(&testing::service(methods), "crm.v1")
}

#[test]
fn an_rpc_with_a_scope_is_in_the_table() {
    let code = generate_from(
        "rpc Get(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; \
         option (crm.v1.access) = {scope: ACCESS_SCOPE_READ, cost: ACCESS_COST_HIGH}; } \
         rpc Add(stream M) returns (M) { \
         option (crm.v1.access) = {scope: ACCESS_SCOPE_WRITE, cost: ACCESS_COST_LOW, resource: {type: RESOURCE_TYPE_CUSTOMER, id: \"request.id\"}}; }",
    );
    let code = code.expect("a good service");
    for part in [
        "\"/crm.v1.Things/Get\" => Some(&Method { place: 0, name: \"crm.v1.Things/Get\", scope: crate::pb::AccessScope::Read, cost: crate::pb::AccessCost::High, resource_type: None, streaming: false })",
        "\"/crm.v1.Things/Add\" => Some(&Method { place: 1, name: \"crm.v1.Things/Add\", scope: crate::pb::AccessScope::Write, cost: crate::pb::AccessCost::Low, resource_type: Some(crate::pb::ResourceType::Customer), streaming: true })",
    ] {
        assert!(code.contains(part), "{part} in {code}");
    }
}

#[test]
fn series_name_an_rpc_by_its_place_in_the_table() {
    let rows = series(
        &testing::service(
            "rpc Get(M) returns (M); rpc Add(stream M) returns (stream M); rpc Watch(M) returns (stream M);",
        ),
        "crm.v1",
    );
    let rows: Vec<_> = rows.lines().filter(|line| line.contains("Rpc {")).map(str::trim).collect();
    assert_eq!(
        rows,
        [
            "Rpc { name: \"crm.v1.Things/Get\", kind: Kind::Unary },",
            "Rpc { name: \"crm.v1.Things/Add\", kind: Kind::BidiStream },",
            "Rpc { name: \"crm.v1.Things/Watch\", kind: Kind::ServerStream },",
        ]
    );
}

#[test]
fn an_rpc_without_a_scope_is_refused() {
    for method in
        ["", "option (crm.v1.access) = {};", "option (crm.v1.access) = {scope: ACCESS_SCOPE_UNSPECIFIED};"]
    {
        let method =
            format!("rpc Get(M) returns (M) {{ option idempotency_level = NO_SIDE_EFFECTS; {method} }}");
        let error = generate_from(&method).expect_err(&method);
        assert!(error.starts_with("crm.v1.Things.Get: say what a call needs"), "{error}");
        assert!(error.contains("scope"), "{error}");
    }
}

#[test]
fn an_rpc_without_a_cost_is_refused_and_a_stream_is_little_work() {
    let read = |parameter: &str, access: &str| {
        generate_from(&format!(
            "rpc Get({parameter}) returns (M) {{ option idempotency_level = NO_SIDE_EFFECTS; \
             option (crm.v1.access) = {{scope: ACCESS_SCOPE_READ{access}}}; }}"
        ))
    };
    for access in ["", ", cost: ACCESS_COST_UNSPECIFIED"] {
        let error = read("M", access).expect_err(access);
        assert!(error.starts_with("crm.v1.Things.Get: say what a call needs"), "{error}");
        assert!(error.contains("cost"), "{error}");
    }
    assert!(read("stream M", ", cost: ACCESS_COST_LOW").is_ok());
    let error = read("stream M", ", cost: ACCESS_COST_HIGH").expect_err("a place for ever");
    assert!(error.contains("cost: ACCESS_COST_LOW"), "{error}");
}

#[test]
fn an_rpc_that_changes_something_says_what() {
    for access in [
        "{scope: ACCESS_SCOPE_WRITE}",
        "{scope: ACCESS_SCOPE_WRITE, resource: {}}",
        "{scope: ACCESS_SCOPE_READ, resource: {id: \"request.id\"}}",
    ] {
        let method = format!("rpc Set(M) returns (M) {{ option (crm.v1.access) = {access}; }}");
        let error = generate_from(&method).expect_err(&method);
        assert!(error.starts_with("crm.v1.Things.Set: say what it changes"), "{error}");
    }
    let both = "rpc Set(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; \
                option (crm.v1.access) = {scope: ACCESS_SCOPE_WRITE, resource: {type: RESOURCE_TYPE_CUSTOMER}}; }";
    assert!(generate_from(both).is_err());
}
