//! Tests of what the build accepts and refuses.

use super::*;
use crate::testing;

fn generate_from(request: &str, id: &str) -> Result<String, String> {
    generate_with(request, "M", id)
}

fn generate_with(request: &str, response: &str, id: &str) -> Result<String, String> {
    let pool = testing::service(&format!(
        "rpc Set({request}) returns ({response}) {{ \
         option (crm.v1.access) = {{scope: ACCESS_SCOPE_WRITE, resource: {{type: RESOURCE_TYPE_CUSTOMER, id: \"{id}\"}}}}; }}"
    ));
    generate(&pool, "crm.v1")
}

#[test]
fn a_request_tells_the_id_of_what_it_is_about() {
    for (id, code) in [
        ("request.id", "&self.id\n"),
        ("request.thing.id", "self.thing.as_ref().map_or(\"\", |message| message.id.as_str())\n"),
        ("response.id", "response.map_or(\"\", |message| message.id.as_str())\n"),
        (
            "response.thing.id",
            "response.and_then(|message| message.thing.as_ref()).map_or(\"\", |message| message.id.as_str())\n",
        ),
    ] {
        let generated = generate_from("M", id).expect(id);
        assert!(generated.contains(code), "{id}: {generated}");
    }
}

#[test]
fn a_path_that_leads_to_no_id_is_refused() {
    for id in [
        "",
        "id",
        "thing.id",
        "request",
        "request.",
        "request.name",
        "request.thing",
        "request.thing.size",
        "request.thing.names",
        "request.id.id",
        "response.name",
    ] {
        let error = generate_from("M", id).expect_err(id);
        assert!(error.starts_with("crm.v1.Things.Set: ") && error.contains("no field"), "{error}");
    }
}

#[test]
fn what_changes_something_can_be_repeated_safely() {
    let error = generate_from("N", "response.id").expect_err("no request_id");
    assert!(error.contains("needs a request_id"), "{error}");
}

#[test]
fn an_update_tells_its_part_and_its_etag() {
    for (request, id, etag, code) in [
        (
            "Set",
            "sized.id",
            "sized.etag",
            "self.sized.as_ref().map_or(\"\", |message| message.etag.as_str())\n",
        ),
        ("SetSize", "id", "etag", "&self.etag\n"),
    ] {
        let generated = generate_with(request, "Done", &format!("request.{id}")).expect(request);
        for line in [
            format!("impl crate::rpc::update::Update for crate::pb::{request} {{\n"),
            "type Part = crate::pb::Sized;\n".to_owned(),
            "const PART: &'static str = \"sized\";\n".to_owned(),
            format!("const ID: &'static str = {id:?};\n"),
            format!("const ETAG: &'static str = {etag:?};\n"),
            code.to_owned(),
            "Self::Response { sized: Some(resource) }\n".to_owned(),
        ] {
            assert!(generated.contains(&line), "{line}: {generated}");
        }
    }
}

#[test]
fn an_update_without_a_part_or_an_answer_is_refused() {
    for (request, response, id, what) in [
        ("Bare", "Done", "request.id", "its request has not one message"),
        ("Set", "N", "request.sized.id", "its response has not one message"),
        ("Set", "Done", "response.sized.id", "no id of the resource"),
    ] {
        let error = generate_with(request, response, id).expect_err(request);
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn every_request_is_in_the_list_once() {
    let pool = testing::service("rpc Get(N) returns (M); rpc Set(M) returns (M); rpc Put(M) returns (N);");
    let list = list(&pool, "crm.v1");
    let entries: Vec<_> = list.lines().filter_map(|line| line.trim().strip_prefix('(')).collect();
    assert_eq!(
        entries,
        ["\"M\", super::request::<crate::pb::M>),", "\"N\", super::request::<crate::pb::N>),"]
    );
}
