//! Requests and answers in gzip.

use std::io::{Read, Write};

use bytes::Bytes;
use crm_backend::config::Limits;
use crm_backend::pb;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use prost::Message;
use serde_json::{Value, json};
use tonic::body::Body;

use crate::support::conversations::message;
use crate::support::web::Web;
use crate::support::{Crm, Settings, soon};

const CUSTOMERS: &str = "/api/v1/customers";
const CREATE: &str = "/crm.v1.CustomerService/CreateCustomer";
const GET: &str = "/crm.v1.CustomerService/GetCustomer";
const WATCH: &str = "/crm.v1.ConversationService/WatchConversation";

/// The most bytes of a request in these tests.
const MOST: usize = 64 << 10;

async fn start() -> Crm {
    let limits = |limits: &mut Limits| limits.max_request_bytes = MOST;
    Crm::with(Settings { limits, ..Settings::default() }).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

/// A whole answer.
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn send(web: &Web, method: Method, path: &str, body: Vec<u8>) -> Got {
    let (response, _connection) = web.open(method, path, Body::new(Full::<Bytes>::from(body))).await;
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await.expect("a whole body").to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, body }
}

/// A client that sends JSON in gzip.
fn zipped(web: &Web) -> Web {
    web.with("content-type", "application/json").with("content-encoding", "gzip")
}

/// Returns an envelope, which is a frame of gRPC too.
fn envelope(flag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

/// Returns what is in the first envelope, and its flag.
fn first(body: &[u8]) -> (u8, &[u8]) {
    let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes")) as usize;
    (body[0], &body[5..5 + length])
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_be_compressed() {
    let crm = start().await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    for web in [web.clone(), web.over_http_2()] {
        let text = json!({ "business_name": "Zoe" }).to_string();
        let made = send(&zipped(&web), Method::POST, CUSTOMERS, gzip(text.as_bytes())).await;
        assert_eq!((made.status, &made.json()["customer"]["business_name"]), (200, &json!("Zoe")));
        let text = json!({ "customer": { "businessName": "Zoe" } }).to_string();
        let made = send(&zipped(&web), Method::POST, CREATE, gzip(text.as_bytes())).await;
        assert_eq!((made.status, &made.json()["customer"]["businessName"]), (200, &json!("Zoe")));
        let id = made.json()["customer"]["id"].as_str().expect("an id").to_owned();
        let request = pb::GetCustomerRequest { id, ..Default::default() }.encode_to_vec();
        let proto = web.with("content-type", "application/proto").with("content-encoding", "gzip");
        assert_eq!(send(&proto, Method::POST, GET, gzip(&request)).await.status, 200);
        let grpc_web = web.with("content-type", "application/grpc-web").with("grpc-encoding", "gzip");
        let read = send(&grpc_web, Method::POST, GET, envelope(1, &gzip(&request))).await;
        let read = pb::GetCustomerResponse::decode(first(&read.body).1).expect("an answer");
        assert_eq!(read.customer.expect("a customer").business_name, "Zoe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_may_be_compressed_one_by_one() {
    let crm = start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    tenant.add(&talk, message("1", "Hello")).await.expect("added");
    let web = Web::new(&crm, tenant.id).with("connect-timeout-ms", "400");
    let zipped = |kind: &str| web.with("content-type", kind).with("connect-content-encoding", "gzip");
    let text = json!({ "conversationId": talk, "afterSequence": 0 }).to_string();
    for body in [envelope(1, &gzip(text.as_bytes())), envelope(0, text.as_bytes())] {
        let told = send(&zipped("application/connect+json"), Method::POST, WATCH, body).await;
        let event: Value = serde_json::from_slice(first(&told.body).1).expect("JSON");
        assert_eq!(event["event"]["messageAdded"]["message"]["content"], "Hello");
    }
    let request = pb::WatchConversationRequest {
        conversation_id: talk,
        start: Some(pb::watch_conversation_request::Start::AfterSequence(0)),
        ..Default::default()
    };
    let body = envelope(1, &gzip(&request.encode_to_vec()));
    let told = send(&zipped("application/connect+proto"), Method::POST, WATCH, body.clone()).await;
    assert_eq!(first(&told.body).0, 0, "an event");
    pb::WatchConversationResponse::decode(first(&told.body).1).expect("an event").event.expect("it");
    // Nothing says how the envelope is compressed.
    for (kind, body) in [
        ("application/connect+proto", body),
        ("application/connect+json", envelope(1, &gzip(text.as_bytes()))),
    ] {
        let refused = send(&web.with("content-type", kind), Method::POST, WATCH, body).await;
        let (flag, end) = first(&refused.body);
        let end: Value = serde_json::from_slice(end).expect("JSON");
        assert_eq!(flag, 2, "{end}");
        assert_ne!(end["error"]["code"], "deadline_exceeded", "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_become_too_large_is_refused() {
    let crm = start().await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    let bomb = json!({ "business_name": "x".repeat(64 * MOST) }).to_string();
    let bomb = gzip(bomb.as_bytes());
    assert!(bomb.len() < MOST / 4, "it is small as it is sent: {}", bomb.len());
    assert_eq!(send(&zipped(&web), Method::POST, CUSTOMERS, bomb.clone()).await.status, 413);
    let refused = send(&zipped(&web), Method::POST, CREATE, bomb.clone()).await;
    assert_eq!(refused.json()["code"], "resource_exhausted", "{}", refused.json());
    for kind in ["application/connect+json", "application/connect+proto"] {
        let streams = web.with("content-type", kind).with("connect-content-encoding", "gzip");
        let refused = send(&streams, Method::POST, WATCH, envelope(1, &bomb)).await;
        let end: Value = serde_json::from_slice(first(&refused.body).1).expect("JSON");
        assert_eq!(end["error"]["code"], "resource_exhausted", "{kind}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_gzip_and_other_codings_are_refused_with_what_is_taken() {
    let crm = start().await;
    let tenant = crm.tenant();
    let (web, talk) = (Web::new(&crm, tenant.id), tenant.conversation().await.id);
    let text = json!({ "business_name": "Zoe" }).to_string().into_bytes();
    let half = gzip(&text)[..20].to_vec();
    for body in [text.clone(), half] {
        let refused = send(&zipped(&web), Method::POST, CUSTOMERS, body.clone()).await;
        assert_eq!(refused.status, 400, "{}", refused.json());
        assert!(refused.json().to_string().contains("must be gzip"), "{}", refused.json());
        let refused = send(&zipped(&web), Method::POST, CREATE, body).await;
        assert_eq!(refused.json()["code"], "invalid_argument", "{}", refused.json());
    }
    for coding in ["br", "gzip, gzip", "zstd"] {
        let web = web.with("content-type", "application/json").with("content-encoding", coding);
        let refused = send(&web, Method::POST, CUSTOMERS, text.clone()).await;
        assert_eq!((refused.status, refused.header("accept-encoding")), (415, "gzip"), "{coding}");
        let refused = send(&web, Method::POST, CREATE, text.clone()).await;
        assert_eq!((refused.status, refused.header("accept-encoding")), (501, "gzip"), "{coding}");
        assert_eq!(refused.json()["code"], "unimplemented");
    }
    for name in ["connect-content-encoding", "content-encoding"] {
        let streams = web.with("content-type", "application/connect+json").with(name, "br");
        let refused = send(&streams, Method::POST, WATCH, envelope(0, b"{}")).await;
        assert_eq!((refused.status, refused.header("connect-accept-encoding")), (200, "gzip"));
        let end: Value = serde_json::from_slice(first(&refused.body).1).expect("JSON");
        assert_eq!(end["error"]["code"], "unimplemented", "{end}");
    }
    let lines = web.with("content-type", "application/x-ndjson").with("content-encoding", "gzip");
    let path = format!("/api/v1/conversations/{talk}/messages:stream");
    let refused = send(&lines, Method::POST, &path, gzip(b"{}\n")).await;
    assert_eq!((refused.status, refused.header("accept-encoding")), (415, "identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed_for_those_who_take_it() {
    let crm = start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    for number in 0..20 {
        tenant.customer(&format!("A customer with a long name, {number}")).await;
    }
    let web = Web::new(&crm, tenant.id);
    for web in [web.clone(), web.over_http_2()] {
        let takes = web.with("accept-encoding", "br, gzip");
        let (whole, short) =
            (web.get(CUSTOMERS).await, send(&takes, Method::GET, CUSTOMERS, Vec::new()).await);
        assert_eq!((whole.header("content-encoding"), short.header("content-encoding")), ("", "gzip"));
        assert!(short.body.len() * 3 < whole.text.len(), "{} {}", short.body.len(), whole.text.len());
        assert_eq!(plain(&short.body), whole.text.as_bytes());
        assert!(short.header("vary").contains("accept-encoding"), "{:?}", short.headers);
        let not = send(&web.with("accept-encoding", "gzip;q=0"), Method::GET, CUSTOMERS, Vec::new()).await;
        assert_eq!((not.header("content-encoding"), &not.body[..]), ("", whole.text.as_bytes()));
        // What is short would only become longer.
        let none = send(&takes, Method::GET, &format!("{CUSTOMERS}?page_size=1"), Vec::new()).await;
        let few = plain(&short.body).len() / 20;
        assert_eq!(none.header("content-encoding"), if few < 1024 { "" } else { "gzip" });
        for kind in ["application/json", "application/proto"] {
            let list = "/crm.v1.CustomerService/ListCustomers";
            let takes = takes.with("content-type", kind);
            let body = if kind == "application/json" { b"{}".to_vec() } else { Vec::new() };
            let listed = send(&takes, Method::POST, list, body).await;
            assert_eq!((listed.status, listed.header("content-encoding")), (200, "gzip"), "{kind}");
            assert!(String::from_utf8_lossy(&plain(&listed.body)).contains("long name, 19"), "{kind}");
        }
        // A stream is not: its client reads each event as it comes.
        let path = format!("/api/v1/conversations/{talk}/events");
        let (response, _connection) = takes.open(Method::GET, &path, Body::empty()).await;
        assert_eq!(response.headers().get("content-encoding"), None);
    }
}
