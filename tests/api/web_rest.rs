//! REST: every route of the contract, and the same answers as by gRPC.

use std::collections::BTreeSet;

use crm_backend::web::routes::{RequestBody, Route, Verb};
use http::Method;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::raw::{call, rpc};
use crate::support::rest::{self, unary};
use crate::support::samples::{self, About};
use crate::support::web::{Answer, Web, detail};
use crate::support::{Crm, Tenant};

/// Sends the sample of a route's RPC.
async fn ask(web: &Web, route: &Route, about: &About) -> Option<Answer> {
    let method = rpc(route.rpc.rsplit('/').next().expect("a name"));
    rest::ask(web, route, &samples::request(&method, about)).await
}

/// Returns what a client sees of an answer, with the names of what it is about, and all that differs in any case,
/// replaced.
fn seen(answer: &Answer, about: &About) -> String {
    let mut json = answer.json();
    if let Some(details) = json.get_mut("details").and_then(Value::as_array_mut) {
        details.retain(|detail| !detail["@type"].as_str().is_some_and(|kind| kind.ends_with("RequestInfo")));
    }
    let mut text = format!("{} {json}", answer.status);
    for name in about.names() {
        text = text.replace(name, "…");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_three_calls_of_a_newcomer_work() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    let zoe = json!({ "business_name": "Test Restaurant", "email": "test@example.com", "industry_category": "restaurant" });
    for web in [web.clone(), web.over_http_2()] {
        let made = web.post("/api/v1/customers", zoe.clone()).await.good()["customer"].clone();
        for (name, value) in zoe.as_object().expect("an object") {
            assert_eq!(&made[name], value, "{name}");
        }
        let listed = web.get("/api/v1/customers").await.good();
        assert_eq!(listed["customers"][0]["id"], made["id"]);
        let id = made["id"].as_str().expect("an id");
        let context = web.get(&format!("/api/v1/customers/{id}/ai-context")).await.good();
        assert!(context.to_string().contains("Test Restaurant"), "{context}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_of_what_it_replaces_are_there() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    let made = web.post("/api/v1/customers", json!({ "business_name": "Zoe" })).await.good();
    let (id, slug) = (made["customer"]["id"].clone(), made["customer"]["slug"].clone());
    let (id, slug) = (id.as_str().expect("an id"), slug.as_str().expect("a slug"));
    let customer = format!("/api/v1/customers/{id}");
    web.get("/api/v1/customers").await.good();
    assert_eq!(web.get(&customer).await.good()["customer"]["id"], id);
    assert_eq!(web.get(&format!("/api/v1/customers/slug/{slug}")).await.good()["customer"]["id"], id);
    assert_eq!(web.put(&customer, json!({ "city": "Graz" })).await.good()["customer"]["city"], "Graz");
    assert_eq!(web.patch(&customer, json!({ "city": "Wien" })).await.good()["customer"]["city"], "Wien");
    let context = json!({ "description": "Coffee" });
    let changed = web.put(&format!("{customer}/business-context"), context).await.good();
    assert!(changed.to_string().contains("Coffee"), "{changed}");
    web.get(&format!("{customer}/ai-context")).await.good();
    let talk =
        web.post("/api/v1/conversations", json!({ "customer_id": id })).await.good()["conversation"].clone();
    let conversation = format!("/api/v1/conversations/{}", talk["id"].as_str().expect("an id"));
    assert_eq!(web.get("/api/v1/conversations").await.good()["conversations"][0]["id"], talk["id"]);
    assert_eq!(web.get(&conversation).await.good()["conversation"]["id"], talk["id"]);
    let noted = web.put(&conversation, json!({ "outcome_notes": "Soon" })).await.good();
    assert_eq!(noted["conversation"]["outcome_notes"], "Soon");
    let said = json!({ "message_key": "1", "role": "user", "content": "Hello" });
    let added = web.post(&format!("{conversation}/messages"), said).await.good();
    assert_eq!((&added["message"]["content"], &added["message"]["sequence"]), (&json!("Hello"), &json!(1)));
    assert_eq!(web.get(&format!("{conversation}/messages")).await.good()["messages"][0]["content"], "Hello");
    let ended = web.send(Method::POST, &format!("{conversation}/end"), None).await.good();
    assert_eq!(ended["conversation"]["id"], talk["id"]);
    web.delete(&customer).await.good();
    web.get(&customer).await.is(404, "CUSTOMER_NOT_FOUND");
}

/// By REST, what does not exist answers with the error of gRPC, by every route.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_its_rpc_does() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    let about = About::nothing();
    let mut asked = BTreeSet::new();
    for route in unary() {
        let Some(answer) = ask(&web, route, &about).await else { continue };
        asked.insert(route.rpc);
        let method = rpc(route.rpc.rsplit('/').next().expect("a name"));
        match call(&tenant, &samples::request(&method, &about), &method).await {
            Ok(_) => assert_eq!(answer.status, 200, "{} {answer:?}", route.rpc),
            Err(status) => {
                let error = answer.json();
                assert_eq!(error["code"], i32::from(status.code()), "{} {error}", route.rpc);
                assert_eq!(error["message"], status.message(), "{}", route.rpc);
                let reason = status.get_error_details().error_info().expect("a reason").reason.clone();
                assert_eq!(detail(&error, "ErrorInfo")["reason"], reason, "{}", route.rpc);
                let code = match status.code() {
                    Code::NotFound => 404,
                    Code::InvalidArgument | Code::FailedPrecondition => 400,
                    other => panic!("{}: {other:?}", route.rpc),
                };
                assert_eq!(answer.status, code, "{}", route.rpc);
                let id = detail(&error, "RequestInfo")["request_id"].as_str().expect("an id");
                assert_eq!(answer.header("x-request-id"), id);
            }
        }
    }
    let unasked: Vec<_> = unary().iter().map(|route| route.rpc).filter(|rpc| !asked.contains(rpc)).collect();
    assert!(unasked.is_empty(), "{unasked:?}");
}

/// Every route reaches what is there, and what is another tenant's is as if it was not there.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_tenants_apart() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let web = Web::new(&crm, ben.id);
    let zoe = ana.customer("Unmistakable").await;
    let foreign = About { customer: zoe.id, slug: zoe.slug, ..ana.everything().await };
    let unknown = About::nothing();
    for route in unary() {
        let method = rpc(route.rpc.rsplit('/').next().expect("a name"));
        if samples::request(&method, &foreign) == samples::request(&method, &unknown) {
            continue;
        }
        let answers = (ask(&web, route, &foreign).await, ask(&web, route, &unknown).await);
        let (Some(foreign_answer), Some(unknown_answer)) = answers else { continue };
        if foreign_answer.status == 200 && unknown_answer.status == 200 && route.body != RequestBody::None {
            // It made something of its own.
            continue;
        }
        let (one, other) = (seen(&foreign_answer, &foreign), seen(&unknown_answer, &unknown));
        assert_eq!(one, other, "{} {:?}", route.rpc, route.path);
    }
    reads_all(&crm, &ana, &foreign).await;
}

/// Reads all that there is by every route that reads one thing.
async fn reads_all(crm: &Crm, tenant: &Tenant, about: &About) {
    let web = Web::new(crm, tenant.id);
    let (mut read, mut missed) = (0, Vec::new());
    for route in unary().into_iter().filter(|route| route.verb == Verb::Get) {
        match ask(&web, route, about).await {
            Some(answer) if answer.status == 200 => read += 1,
            Some(answer) => missed.push(format!("{} {:?}: {answer:?}", route.rpc, route.path)),
            None => {}
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(read > 20, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_nothing_says_what_there_is() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    for path in
        ["/api/v1/nothing", "/api/v1/customers/", "/api/v2/customers", "/api/v1/customers/x:y/z", "/nothing"]
    {
        web.get(path).await.is(404, "METHOD_UNKNOWN");
    }
    let wrong = web.delete("/api/v1/customers").await;
    wrong.is(405, "METHOD_UNKNOWN");
    assert_eq!(wrong.header("allow"), "GET, POST, HEAD");
    let options = web.send(Method::OPTIONS, "/api/v1/customers", None).await;
    assert_eq!((options.status, options.header("allow")), (204, "GET, POST, HEAD"));
    let head = web.send(Method::HEAD, "/api/v1/customers", None).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let empty = web.get("/api/v1/customers").await;
    assert_eq!(head.header("content-length"), empty.header("content-length"));
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/grpc-web",
    ] {
        let answer = web.with("content-type", kind).send_text(Method::POST, "/api/v1/customers", "{}").await;
        let error = answer.is(415, "REQUEST_MALFORMED");
        assert!(error.to_string().contains("content-type: application/json"), "{error}");
    }
    web.send_text(Method::POST, "/api/v1/customers", "{}").await.is(415, "REQUEST_MALFORMED");
    let page = web.with("origin", "https://elsewhere.example");
    page.send(Method::POST, "/api/v1/conversations/x/end", None).await.is(415, "REQUEST_MALFORMED");
    web.get("/api/v1/customers/%ff").await.is(400, "REQUEST_MALFORMED");
    web.with("content-type", "application/grpc")
        .send_text(Method::POST, "/crm.v1.CustomerService/GetCustomer", "")
        .await
        .is(505, "REQUEST_MALFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_learns_nothing_and_makes_the_server_read_nothing() {
    let crm = crate::support::credentials::with_keys().await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    // The body is neither JSON nor of any field, and nobody looks at it.
    let json = web.with("content-type", "application/json");
    let refused = json.send_text(Method::POST, "/api/v1/customers", "nonsense").await;
    refused.is(401, "CREDENTIAL_REQUIRED");
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"crm\"");
    json.with("authorization", "Bearer crm_x")
        .send_text(Method::POST, "/api/v1/customers", "nonsense")
        .await
        .is(401, "CREDENTIAL_INVALID");
}

/// Orchestrators and balancers have no credential.
#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_to_anyone() {
    let crm = crate::support::credentials::with_keys().await;
    for web in [Web::stranger(&crm), Web::stranger(&crm).over_http_2()] {
        for path in ["/livez", "/readyz"] {
            let answer = web.get(path).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"), "{path}");
            assert_eq!(answer.header("cache-control"), "no-store");
            let head = web.send(Method::HEAD, path, None).await;
            assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
            let posted = web.post(path, json!({})).await;
            assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"), "{path}");
        }
    }
}
