//! JSON of REST: what is taken, what is refused and how, and what headers mean.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::support::Crm;
use crate::support::web::{Web, detail};

const CUSTOMERS: &str = "/api/v1/customers";

/// Returns a client of a new tenant.
async fn web() -> (Crm, Web) {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    (crm, web)
}

/// Creates a customer, and returns it.
async fn create(web: &Web, customer: Value) -> Value {
    web.post(CUSTOMERS, customer).await.good()["customer"].clone()
}

fn path(customer: &Value) -> String {
    format!("{CUSTOMERS}/{}", customer["id"].as_str().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_in_both_forms_and_words_in_every_one() {
    let (_crm, web) = web().await;
    for (name, status) in [
        ("business_name", json!("lead")),
        ("businessName", json!("LEAD")),
        ("business_name", json!("CUSTOMER_STATUS_LEAD")),
        ("business_name", json!("customer_status_lead")),
        ("business_name", json!(1)),
    ] {
        let customer = create(&web, json!({ name: "Zoe", "status": status })).await;
        assert_eq!(customer["business_name"], "Zoe");
        assert_eq!(customer["status"], "CUSTOMER_STATUS_LEAD", "{status}");
        assert_eq!(customer["phone"], "", "defaults are written");
        assert_eq!(customer["tags"], json!([]), "defaults are written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_field_is_named_with_the_one_that_was_meant() {
    let (_crm, web) = web().await;
    let wrong =
        web.post(CUSTOMERS, json!({ "busines_name": "Zoe" })).await.is_invalid(&["customer.busines_name"]);
    assert_eq!(wrong, "is not a field of Customer; write \"business_name\"");
    let nested = json!({ "business_name": "Zoe", "brand_voice": { "ton": "warm" }, "x": 1 });
    let wrong = web.post(CUSTOMERS, nested).await.is_invalid(&["customer.brand_voice.ton", "customer.x"]);
    assert_eq!(wrong, "is not a field of BrandVoice; write \"tone\"");
    let wrong = web.get(&format!("{CUSTOMERS}?page_sze=1")).await.is_invalid(&["page_sze"]);
    assert_eq!(wrong, "is not a field of ListCustomersRequest; write \"page_size\"");
    let wrong = web.post(CUSTOMERS, json!({ "status": "laed" })).await.is_invalid(&["customer.status"]);
    assert!(wrong.contains("lead, prospect") && wrong.ends_with("perhaps \"lead\""), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told_at_once() {
    let (_crm, web) = web().await;
    let wrong = json!({
        "business_name": 7, "tags": "one", "brand_voice": [], "custom_attributes": "none", "status": {},
        "external_ids": [null, 1],
    });
    let answer = web.post(CUSTOMERS, wrong).await;
    answer.is_invalid(&[
        "customer.brand_voice",
        "customer.business_name",
        "customer.custom_attributes",
        "customer.external_ids[0]",
        "customer.external_ids[1]",
        "customer.status",
        "customer.tags",
    ]);
    let both = r#"{"business_name": "Zoe", "businessName": "Ana"}"#;
    let json = web.with("content-type", "application/json");
    let answer = json.send_text(Method::POST, CUSTOMERS, both).await;
    assert_eq!(answer.is_invalid(&["customer.business_name"]), "is given twice");
    let deep = format!("{{\"custom_attributes\":{}1{}}}", "{\"a\":".repeat(100), "}".repeat(100));
    let answer = json.send_text(Method::POST, CUSTOMERS, &deep).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    for broken in [
        "{",
        "[",
        "{\"business_name\": \"Zoe\"",
        "nonsense",
        "{} {}",
        "\u{1}",
        "{\"business_name\": \"\\ud800\"}",
    ] {
        let error = json.send_text(Method::POST, CUSTOMERS, broken).await.is(400, "REQUEST_MALFORMED");
        assert_eq!(detail(&error, "BadRequest")["field_violations"][0]["field"], "body", "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_as_if_it_was_not_sent() {
    let (_crm, web) = web().await;
    let customer = create(&web, json!({ "business_name": "Zoe", "phone": null, "brand_voice": null })).await;
    assert_eq!(customer["phone"], "");
    let path = path(&customer);
    web.patch(&path, json!({ "city": "Graz", "business_name": null })).await.good();
    let customer = web.get(&path).await.good()["customer"].clone();
    assert_eq!((&customer["city"], &customer["business_name"]), (&json!("Graz"), &json!("Zoe")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_that_are_sent_are_what_changes() {
    let (_crm, web) = web().await;
    let zoe = json!({
        "business_name": "Zoe", "phone": "+43 1 23456", "city": "Wien", "brand_voice": { "tone": "warm", "style": "short" },
        "custom_attributes": { "a": 1, "b": 2 },
    });
    let path = path(&create(&web, zoe).await);
    let changed = web.patch(&path, json!({ "phone": "" })).await.good()["customer"].clone();
    assert_eq!((&changed["phone"], &changed["city"]), (&json!(""), &json!("Wien")));
    let changed = web.put(&path, json!({ "brandVoice": { "tone": "dry" }, "city": "Linz" })).await.good();
    let voice = &changed["customer"]["brand_voice"];
    assert_eq!((&voice["tone"], &voice["style"]), (&json!("dry"), &json!("short")), "a part changes alone");
    let changed = web.patch(&path, json!({ "custom_attributes": { "a": 3 } })).await.good();
    assert_eq!(
        changed["customer"]["custom_attributes"],
        json!({ "a": 3 }),
        "an open object changes as a whole"
    );
    // A mask in the query decides otherwise.
    let masked = format!("{path}?update_mask=city");
    let changed = web.patch(&masked, json!({ "city": "Graz", "phone": "+43 1 9" })).await.good();
    assert_eq!((&changed["customer"]["city"], &changed["customer"]["phone"]), (&json!("Graz"), &json!("")));
    let camel = format!("{path}?updateMask=businessName,city");
    let changed = web.patch(&camel, json!({ "business_name": "Ana" })).await.good();
    assert_eq!(
        (&changed["customer"]["business_name"], &changed["customer"]["city"]),
        (&json!("Ana"), &json!(""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_can_be_sent_back() {
    let (_crm, web) = web().await;
    let mut zoe = create(&web, json!({ "business_name": "Zoe", "tags": ["a"], "status": "lead" })).await;
    let path = path(&zoe);
    zoe["city"] = json!("Graz");
    let changed = web.put(&path, zoe.clone()).await.good()["customer"].clone();
    assert_eq!((&changed["city"], &changed["business_name"]), (&json!("Graz"), &json!("Zoe")));
    // Its etag is that of before.
    web.put(&path, zoe).await.is(409, "ETAG_STALE");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_wins_over_the_body() {
    let (_crm, web) = web().await;
    let (zoe, ana) = (
        create(&web, json!({ "business_name": "Zoe" })).await,
        create(&web, json!({ "business_name": "Ana" })).await,
    );
    let changed = web.patch(&path(&zoe), json!({ "id": ana["id"], "city": "Graz" })).await.good();
    assert_eq!(changed["customer"]["id"], zoe["id"]);
    assert_eq!(web.get(&path(&ana)).await.good()["customer"]["city"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_lists_numbers_words_and_nested_fields() {
    let (_crm, web) = web().await;
    for (name, status) in [("A", "lead"), ("B", "active"), ("C", "churned")] {
        create(&web, json!({ "business_name": name, "status": status })).await;
    }
    let names = async |query: &str| {
        let page = web.get(&format!("{CUSTOMERS}?{query}")).await.good();
        let customers = page["customers"].as_array().expect("a list").clone();
        let mut names: Vec<_> = customers
            .iter()
            .map(|customer| customer["business_name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names.join("")
    };
    assert_eq!(names("").await, "ABC");
    assert_eq!(names("statuses=lead&statuses=CUSTOMER_STATUS_CHURNED").await, "AC");
    assert_eq!(names("order_by=business_name+desc&pageSize=1").await, "C");
    assert_eq!(names("order_by=business_name%20desc&page_size=1&view=BASIC").await, "C");
    let twice = web.get(&format!("{CUSTOMERS}?page_size=1&page_size=2")).await;
    assert_eq!(twice.is_invalid(&["page_size"]), "is given twice");
    let wrong = web.get(&format!("{CUSTOMERS}?page_size=many&statuses=x&query=%ff")).await;
    wrong.is_invalid(&["page_size", "statuses[0]", "query"]);
    let body = web
        .with("content-type", "application/json")
        .send_text(Method::DELETE, &format!("{CUSTOMERS}/x"), "{\"etag\":\"x\"}")
        .await;
    assert!(body.is(400, "FIELD_INVALID").to_string().contains("must be empty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn etags_are_headers() {
    let (_crm, web) = web().await;
    let created = web.post(CUSTOMERS, json!({ "business_name": "Zoe" })).await;
    let path = path(&created.good()["customer"]);
    let first = created.header("etag").to_owned();
    assert!(first.starts_with('"') && first.ends_with('"'), "{first}");
    let read = web.get(&path).await;
    assert_eq!(read.header("etag"), first);
    assert_eq!(read.header("cache-control"), "private, no-cache");
    let same = web.with("if-none-match", &first).get(&path).await;
    assert_eq!((same.status, same.text.as_str(), same.header("etag")), (304, "", first.as_str()));
    let changed = web.with("if-match", &first).patch(&path, json!({ "city": "Graz" })).await;
    changed.good();
    assert_ne!(changed.header("etag"), first);
    web.with("if-match", &first).patch(&path, json!({ "city": "Wien" })).await.is(412, "ETAG_STALE");
    web.with("if-match", &first).delete(&path).await.is(412, "ETAG_STALE");
    web.with("if-match", "*").patch(&path, json!({ "city": "Linz" })).await.good();
    for wrong in ["W/\"abc\"", "\"a\", \"b\"", "\"\""] {
        web.with("if-match", wrong).patch(&path, json!({ "city": "Wien" })).await.is_invalid(&["If-Match"]);
    }
    web.with("if-match", &first)
        .post(CUSTOMERS, json!({ "business_name": "Ana" }))
        .await
        .is_invalid(&["If-Match"]);
    assert_eq!(web.with("if-none-match", &first).get(&path).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_the_client_has_is_not_sent_again() {
    let (_crm, web) = web().await;
    let path = format!("{}/ai-context", path(&create(&web, json!({ "business_name": "Zoe" })).await));
    let first = web.get(&path).await;
    let etag = first.header("etag").to_owned();
    assert_eq!(first.good()["context_etag"], json!(etag.trim_matches('"')));
    let same = web.with("if-none-match", &etag).get(&path).await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_retry_safe() {
    let (_crm, web) = web().await;
    for key in ["018f4e0a-7b7c-7000-8000-000000000001", "\"order 7\"", "any-text"] {
        let keyed = web.with("idempotency-key", key);
        let first = create(&keyed, json!({ "business_name": key })).await;
        assert_eq!(create(&keyed, json!({ "business_name": key })).await, first);
        keyed.post(CUSTOMERS, json!({ "business_name": "Other" })).await.is(409, "IDEMPOTENCY_KEY_REUSED");
    }
    web.with("idempotency-key", "a")
        .with("idempotency-key", "b")
        .post(CUSTOMERS, json!({}))
        .await
        .is(400, "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_how_long_it_waits() {
    let (_crm, web) = web().await;
    for limit in ["30", "1.5", "2s"] {
        web.with("x-request-timeout", limit).get(CUSTOMERS).await.good();
    }
    let began = Instant::now();
    let late = web.with("x-request-timeout", "0").get(CUSTOMERS).await;
    late.is(504, "DEADLINE_EXCEEDED");
    assert!(began.elapsed() < Duration::from_secs(5));
    web.with("x-request-timeout", "soon").get(CUSTOMERS).await.is_invalid(&["X-Request-Timeout"]);
    web.with("grpc-timeout", "5S").get(CUSTOMERS).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn times_durations_and_large_numbers_are_as_protobuf_writes_them() {
    let (crm, web) = web().await;
    let zoe = create(&web, json!({ "business_name": "Zoe" })).await;
    let purchase = json!({
        "customer_id": zoe["id"], "order_id": "1", "purchase_time": "2026-01-31T10:30:00+01:00",
        "amount": { "currency_code": "EUR", "units": "999999999999" },
    });
    let bought = web.post("/api/v1/purchases", purchase).await.good();
    let bought = &bought["purchase"];
    assert_eq!(bought["purchase_time"], "2026-01-31T09:30:00Z", "{bought}");
    assert_eq!(bought["amount"]["units"], "999999999999", "JavaScript would round a larger one");
    let wrong = json!({ "customer_id": zoe["id"], "order_id": "2", "purchase_time": "2026-01-31 10:30:00" });
    let wrong = web.post("/api/v1/purchases", wrong).await.is_invalid(&["purchase.purchase_time"]);
    assert!(wrong.contains("2026-01-31T09:30:00Z"), "{wrong}");
    drop(crm);
}
