//! Connect and gRPC-Web: RPCs at their own paths, for clients without gRPC.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use crm_backend::pb;
use http::Method;
use http_body_util::{BodyExt, Full};
use prost::Message;
use serde_json::{Value, json};
use tonic::body::Body;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::pb as google;

use crate::support::conversations::message;
use crate::support::http2::framed;
use crate::support::web::Web;
use crate::support::{Crm, soon};

const CREATE: &str = "/crm.v1.CustomerService/CreateCustomer";
const GET: &str = "/crm.v1.CustomerService/GetCustomer";
const WATCH: &str = "/crm.v1.ConversationService/WatchConversation";

/// Sends a body of this type, and returns the status, the content type and the bytes of the answer; of an endless one,
/// the first part.
async fn send(web: &Web, path: &str, kind: &str, body: Vec<u8>) -> (u16, String, Bytes) {
    let body = Body::new(Full::<Bytes>::from(body));
    let (response, _connection) = web.with("content-type", kind).open(Method::POST, path, body).await;
    let (head, body) = response.into_parts();
    let kind = head.headers.get("content-type").map_or("", |kind| kind.to_str().expect("text")).to_owned();
    let bytes = soon(body.collect()).await.expect("a whole body").to_bytes();
    (head.status.as_u16(), kind, bytes)
}

async fn post(web: &Web, path: &str, body: Value) -> (u16, Value) {
    let (status, kind, bytes) = send(web, path, "application/json", body.to_string().into_bytes()).await;
    assert_eq!(kind, "application/json");
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

/// Returns the envelopes of an answer: their flags, and what is in them.
fn envelopes(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = bytes {
        let (inner, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push((*flag, inner));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a part of an envelope is left");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_answered_by_one_in_both_encodings() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    for web in [web.clone(), web.over_http_2()] {
        let (status, made) = post(&web, CREATE, json!({ "customer": { "businessName": "Zoe" } })).await;
        assert_eq!((status, &made["customer"]["businessName"]), (200, &json!("Zoe")));
        assert_eq!(made["customer"].get("phone"), None, "defaults are not written");
        let id = made["customer"]["id"].as_str().expect("an id").to_owned();
        let request = pb::GetCustomerRequest { id: id.clone(), ..Default::default() };
        let (status, kind, bytes) = send(&web, GET, "application/proto", request.encode_to_vec()).await;
        assert_eq!((status, kind.as_str()), (200, "application/proto"));
        let read = pb::GetCustomerResponse::decode(bytes).expect("an answer").customer.expect("a customer");
        assert_eq!((read.id.as_str(), read.business_name.as_str()), (id.as_str(), "Zoe"));
        // What only reads may be a GET.
        let text = json!({ "id": id }).to_string();
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("message", &text).finish();
        let read = web.get(&format!("{GET}?connect=v1&encoding=json&{query}")).await;
        assert_eq!(read.good()["customer"]["businessName"], "Zoe");
        let message = URL_SAFE_NO_PAD.encode(request.encode_to_vec());
        let read = web.get(&format!("{GET}?connect=v1&encoding=proto&base64=1&message={message}")).await;
        assert_eq!((read.status, read.header("content-type")), (200, "application/proto"));
        assert_eq!(web.get(&format!("{CREATE}?connect=v1&encoding=json&message=%7B%7D")).await.status, 405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_words_of_connect_and_all_details() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    let id = uuid::Uuid::now_v7().to_string();
    let (status, error) = post(&web, GET, json!({ "id": id })).await;
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    let detail = error["details"].as_array().expect("details");
    let detail = detail.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").expect("it");
    let value = STANDARD_NO_PAD.decode(detail["value"].as_str().expect("text")).expect("base64");
    let info = google::ErrorInfo::decode(value.as_slice()).expect("it");
    assert_eq!(info.reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(detail["debug"]["reason"], "CUSTOMER_NOT_FOUND");
    for (body, code, status) in
        [(json!({ "idd": id }), "invalid_argument", 400), (json!({ "id": 7 }), "invalid_argument", 400)]
    {
        let (found, error) = post(&web, GET, body).await;
        assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{error}");
    }
    let late = web.with("connect-timeout-ms", "0");
    assert_eq!(post(&late, GET, json!({ "id": id })).await.0, 504);
    assert_eq!(post(&Web::stranger(&crm), GET, json!({ "id": id })).await.0, 401);
    assert_eq!(post(&web, "/crm.v1.CustomerService/Nothing", json!({})).await.0, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_an_envelope_that_says_how() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    let limited = web.with("connect-timeout-ms", "500");
    let asked = json!({ "conversationId": talk, "afterSequence": 0 }).to_string();
    let body =
        [&[0][..], &u32::try_from(asked.len()).expect("short").to_be_bytes(), asked.as_bytes()].concat();
    let (status, kind, bytes) = send(&limited, WATCH, "application/connect+json", body).await;
    assert_eq!((status, kind.as_str()), (200, "application/connect+json"));
    let found = envelopes(&bytes);
    let event: Value = serde_json::from_slice(found[0].1).expect("JSON");
    assert_eq!(event["event"]["messageAdded"]["message"]["content"], "Hello");
    let (flag, last) = found[found.len() - 1];
    let last: Value = serde_json::from_slice(last).expect("JSON");
    assert_eq!((flag, &last["error"]["code"]), (2, &json!("deadline_exceeded")));
    let request = pb::WatchConversationRequest {
        conversation_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let (status, _, bytes) = send(&web, WATCH, "application/connect+proto", framed(&request)).await;
    let found = envelopes(&bytes);
    let last: Value = serde_json::from_slice(found[0].1).expect("JSON");
    assert_eq!((status, found[0].0, &last["error"]["code"]), (200, 2, &json!("not_found")));
    for (path, kind) in [(WATCH, "application/json"), (GET, "application/connect+proto")] {
        assert_eq!(send(&web, path, kind, Vec::new()).await.0, 415);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_has_its_trailers_at_the_end_of_the_body() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    let zoe = tenant.customer("Zoe").await;
    let request = |id: &str| framed(&pb::GetCustomerRequest { id: id.to_owned(), ..Default::default() });
    let (status, kind, bytes) = send(&web, GET, "application/grpc-web+proto", request(&zoe.id)).await;
    assert_eq!((status, kind.as_str()), (200, "application/grpc-web+proto"));
    let found = envelopes(&bytes);
    let read = pb::GetCustomerResponse::decode(found[0].1).expect("an answer").customer.expect("a customer");
    assert_eq!(read.business_name, "Zoe");
    assert_eq!((found[1].0, std::str::from_utf8(found[1].1)), (0x80, Ok("grpc-status: 0\r\n")));
    // An error is in the headers, as in gRPC.
    let body = Body::new(Full::<Bytes>::from(request(&uuid::Uuid::now_v7().to_string())));
    let asked = web.with("content-type", "application/grpc-web");
    let (response, _connection) = asked.open(Method::POST, GET, body).await;
    assert_eq!(response.headers()["grpc-status"], "5");
}

/// Returns the bytes of an answer in base64, each part of which may be padded.
fn decoded(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("letters");
    let groups = text.as_bytes().chunks(4);
    groups.flat_map(|group| STANDARD.decode(group).expect("base64")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_may_be_text() {
    const TEXT: &str = "application/grpc-web-text";
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let talk = tenant.conversation().await.id;
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    for web in [Web::new(&crm, tenant.id), Web::new(&crm, tenant.id).over_http_2()] {
        // In two parts, each with padding of its own.
        let request = framed(&pb::GetCustomerRequest { id: zoe.id.clone(), ..Default::default() });
        let (begin, end) = request.split_at(7);
        let body = [STANDARD.encode(begin), STANDARD.encode(end)].concat().into_bytes();
        let (status, kind, bytes) = send(&web, GET, TEXT, body).await;
        assert_eq!((status, kind.as_str()), (200, "application/grpc-web-text+proto"));
        let bytes = decoded(&bytes);
        let found = envelopes(&bytes);
        let read = pb::GetCustomerResponse::decode(found[0].1).expect("an answer").customer;
        assert_eq!(read.expect("a customer").business_name, "Zoe");
        assert_eq!((found[1].0, std::str::from_utf8(found[1].1)), (0x80, Ok("grpc-status: 0\r\n")));
        // A stream, which ends with its deadline.
        let request = framed(&pb::WatchConversationRequest {
            conversation_id: talk.clone(),
            start: Some(pb::watch_conversation_request::Start::AfterSequence(0)),
            ..Default::default()
        });
        let limited = web.with("grpc-timeout", "500m");
        let body = STANDARD.encode(request).into_bytes();
        let (_, _, bytes) = send(&limited, WATCH, TEXT, body).await;
        let bytes = decoded(&bytes);
        let found = envelopes(&bytes);
        pb::WatchConversationResponse::decode(found[0].1).expect("an event").event.expect("it");
        let (flag, trailers) = found[found.len() - 1];
        let trailers = std::str::from_utf8(trailers).expect("letters");
        assert!(flag == 0x80 && trailers.starts_with("grpc-status: 4\r\n"), "{trailers}");
        // What is no base64, or ends early, is the client's error.
        for body in ["?", "AAAA", "AAAAA"] {
            let body = Body::new(Full::<Bytes>::from(body));
            let (response, _connection) = web.with("content-type", TEXT).open(Method::POST, GET, body).await;
            assert_eq!(response.headers()["grpc-status"], "3", "{response:?}");
        }
    }
}

/// Tools such as `buf curl` read the contract before they call.
#[tokio::test(flavor = "multi_thread")]
async fn reflection_answers_in_envelopes_too() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id).over_http_2();
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let body = framed(&request);
    let (status, kind, bytes) = send(&web, path, "application/connect+proto", body).await;
    assert_eq!((status, kind.as_str()), (200, "application/connect+proto"));
    let answers = envelopes(&bytes);
    let [(0, listed), (2, b"{}")] = answers.as_slice() else { panic!("{answers:?}") };
    let listed = ServerReflectionResponse::decode(*listed).expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
    assert!(listed.service.iter().any(|service| service.name == "crm.v1.CustomerService"), "{listed:?}");
}
