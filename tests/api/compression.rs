//! Requests and answers in gzip.

use std::io::{Read, Write};
use std::pin::Pin;

use bytes::Buf;
use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb::{
    AddMessageResponse, Customer, GetCustomerRequest, GetCustomerResponse, WatchConversationRequest,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::Request;
use hyper::body::Incoming;
use prost::Message;
use tonic::Code;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::customers::{creation, named};
use crate::support::http2::{Http2, begun, framed, whole};
use crate::support::raw::{path, rpcs};
use crate::support::watch::BEGINNING;
use crate::support::{Crm, Refusal, soon};

const CREATE: &str = "CustomerService/CreateCustomer";
const GET: &str = "CustomerService/GetCustomer";
const ADD_MESSAGE: &str = "ConversationService/AddMessage";
const WATCH: &str = "ConversationService/WatchConversation";
const SENDS: (&str, &str) = ("grpc-encoding", "gzip");
/// What most clients send with every call.
const ACCEPTS: (&str, &str) = ("grpc-accept-encoding", "identity, deflate, gzip");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// Returns a frame that is marked as compressed.
fn compressed(gzip: &[u8]) -> Vec<u8> {
    let length = u32::try_from(gzip.len()).expect("a short message");
    [&[1][..], &length.to_be_bytes(), gzip].concat()
}

/// Returns the next message of an answer, and whether it was compressed.
async fn next(body: &mut Incoming, buffer: &mut Vec<u8>) -> (bool, Vec<u8>) {
    loop {
        if let Some((prefix, rest)) = buffer.split_at_checked(5) {
            let length = usize::try_from((&prefix[1..]).get_u32()).expect("a length");
            if let Some(bytes) = rest.get(..length) {
                let (flag, mut message) = (prefix[0], Vec::new());
                match flag {
                    0 => message.extend_from_slice(bytes),
                    _ => drop(GzDecoder::new(bytes).read_to_end(&mut message).expect("gzip")),
                }
                buffer.drain(..5 + length);
                return (flag == 1, message);
            }
        }
        let poll =
            |context: &mut std::task::Context<'_>| http_body::Body::poll_frame(Pin::new(&mut *body), context);
        let frame = soon(std::future::poll_fn(poll)).await.expect("a message").expect("no reset");
        buffer.extend_from_slice(&frame.into_data().expect("data"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_compresses_both_ways_is_served_as_any_other() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut customers = tenant
        .customers()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let phrase = "We sell bread, and what goes with it. ".repeat(100);
    let zoe = Customer {
        business_context: Some(crm_backend::pb::BusinessContext {
            description: phrase.clone(),
            ..Default::default()
        }),
        ..named("Zoe")
    };
    let customer = customers.create_customer(creation(zoe)).await.expect("created").into_inner().customer;
    let customer = customer.expect("the customer");
    assert_eq!(customer.business_context.expect("there").description, phrase);

    let talk = tenant.conversation().await.id;
    let mut conversations = tenant
        .conversations()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let add = |key: &str| crm_backend::pb::AddMessageRequest {
        conversation_id: talk.clone(),
        command: Some(crm_backend::pb::add_message_request::Command::Message(message(key, &phrase))),
    };
    let messages = tokio_stream::iter([add("a"), add("b")]);
    let mut acks = conversations.add_message(messages).await.expect("a stream").into_inner();
    for _ in 0..2 {
        let ack = soon(acks.message()).await.expect("an answer").expect("an ack");
        assert!(matches!(ack.result, Some(crm_backend::pb::add_message_response::Result::Ack(_))), "{ack:?}");
    }
    let mut watch = tenant.watch(&talk, BEGINNING).await;
    watch.until_messages(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_takes_gzip() {
    let crm = Crm::start().await;
    let tenant = crm.tenant().id;
    let mut client = Http2::connect(crm.address()).await;
    let ours = rpcs();
    let paths = ours.iter().map(|rpc| path(rpc).to_string());
    let foreign = [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    for path in paths.chain(foreign.map(str::to_owned)) {
        for (encoding, taken) in [("gzip", true), ("deflate", false), ("zstd", false), ("nonsense", false)] {
            let mut request = whole(CREATE, tenant, &[("grpc-encoding", encoding)], compressed(&gzip(&[])));
            *request.uri_mut() = format!("http://localhost{path}").parse().expect("a URI");
            if !taken {
                let error = client.refusal(request).await;
                assert_eq!(error.code(), Code::Unimplemented, "{path}: {error:?}");
                let takes = error.metadata().get("grpc-accept-encoding").map(|list| list.as_bytes().to_vec());
                assert_eq!(takes.as_deref(), Some(&b"gzip,identity"[..]), "{path}: {error:?}");
                continue;
            }
            // Only the head: some streams have no end.
            let answer = client.call(request).await;
            if let Some(error) = tonic::Status::from_header_map(answer.headers()) {
                assert_ne!(error.code(), Code::Unimplemented, "{path}: {error:?}");
                if error.code() != Code::Ok {
                    assert_eq!(
                        error.reason(),
                        "FIELD_INVALID",
                        "{path}: the empty message was read: {error:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_inflated_is_within_the_limit_of_any_request() {
    const LIMIT: usize = 1 << 20;
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut client = Http2::connect(crm.address()).await;
    // 1,000 times the size of the sent bytes.
    let bomb = gzip(&vec![0; 32 * LIMIT]);
    assert!(bomb.len() < LIMIT / 4, "{} bytes", bomb.len());
    let text = creation(named(&"x".repeat(LIMIT))).encode_to_vec();
    for bytes in [&bomb[..], &gzip(&text)] {
        for rpc in [CREATE, ADD_MESSAGE] {
            let error = client.refusal(begun(rpc, tenant.id, &[SENDS], compressed(bytes))).await;
            error.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
        }
    }
    // The limits are those of the inflated message: this text is too long for a customer, but not
    // for a request.
    let text = creation(named(&"x".repeat(LIMIT - 100)));
    let error =
        client.refusal(whole(CREATE, tenant.id, &[SENDS], compressed(&gzip(&text.encode_to_vec())))).await;
    error.is(Code::InvalidArgument, "FIELD_INVALID");
    for broken in [&b"no gzip"[..], &gzip(b"\x0a\x03Zoe")[..12]] {
        for rpc in [CREATE, ADD_MESSAGE] {
            let error = client.refusal(begun(rpc, tenant.id, &[SENDS], compressed(broken))).await;
            error.is(Code::InvalidArgument, "REQUEST_MALFORMED");
        }
    }
    // A frame that is marked as compressed, without the name of the encoding.
    let error = client.refusal(begun(CREATE, tenant.id, &[], compressed(&gzip(b"\x0a\x03Zoe")))).await;
    error.is(Code::InvalidArgument, "REQUEST_MALFORMED");
    tenant.add(&talk, message("a", "Others are served")).await.expect("added");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_compressed_where_the_client_takes_it_and_short_ones_are_not() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut client = Http2::connect(crm.address()).await;
    let phrase = "We sell bread, and what goes with it. ".repeat(1_000);
    let customer = tenant.customer("Zoe").await;
    let context =
        crm_backend::pb::BusinessContext { description: phrase[..8_000].to_owned(), ..Default::default() };
    let changed = crm_backend::pb::Customer { business_context: Some(context), ..customer.clone() };
    tenant.update(changed, &["business_context"]).await.expect("updated");
    let get = |id: Uuid, headers: &[(&'static str, &str)]| -> Request<Body> {
        whole(GET, id, headers, framed(&GetCustomerRequest { id: customer.id.clone(), ..Default::default() }))
    };

    let mut answer = client.call(get(tenant.id, &[])).await;
    assert!(!answer.headers().contains_key("grpc-encoding"));
    let (is_compressed, plain) = next(answer.body_mut(), &mut Vec::new()).await;
    assert!(!is_compressed, "nobody asked for it");
    let mut answer = client.call(get(tenant.id, &[ACCEPTS])).await;
    assert_eq!(answer.headers()["grpc-encoding"], "gzip");
    let (is_compressed, read) = next(answer.body_mut(), &mut Vec::new()).await;
    assert!(is_compressed);
    let (plain, read) = (GetCustomerResponse::decode(&plain[..]), GetCustomerResponse::decode(&read[..]));
    assert_eq!(plain.expect("a customer"), read.expect("a customer"));
    let error = client.refusal(get(Uuid::new_v4(), &[ACCEPTS])).await;
    error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");

    // A stream has both directions.
    let talk = tenant.conversation().await.id;
    let add = crm_backend::pb::AddMessageRequest {
        conversation_id: talk.clone(),
        command: Some(crm_backend::pb::add_message_request::Command::Message(message("a", "Hello"))),
    };
    let mut acks = client.call(begun(ADD_MESSAGE, tenant.id, &[ACCEPTS], framed(&add))).await;
    let (is_compressed, ack) = next(acks.body_mut(), &mut Vec::new()).await;
    assert!(!is_compressed, "an ack is short");
    AddMessageResponse::decode(&ack[..]).expect("an ack");
    tenant.add(&talk, message("b", &phrase)).await.expect("added");
    tenant.add(&talk, message("c", &phrase.repeat(4))).await.expect("added");
    let watch = framed(&WatchConversationRequest {
        conversation_id: talk,
        start: Some(crm_backend::pb::watch_conversation_request::Start::AfterSequence(0)),
        include_deltas: false,
    });
    let mut watch = client.call(whole(WATCH, tenant.id, &[ACCEPTS], watch)).await;
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    while seen.iter().filter(|(_, length)| *length > phrase.len()).count() < 2 {
        let (is_compressed, event) = next(watch.body_mut(), &mut buffer).await;
        seen.push((is_compressed, event.len()));
    }
    assert!(seen.iter().all(|(is_compressed, length)| *is_compressed == (*length > 1_024)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_compressed_too() {
    let crm = Crm::start().await;
    let mut client = Http2::connect(crm.address()).await;
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::FileContainingSymbol(
                "crm.v1.Customer".to_owned(),
            ),
        ),
    };
    let request = Request::builder()
        .method("POST")
        .uri("http://localhost/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(TENANT_HEADER, Uuid::new_v4().to_string())
        .header(ACCEPTS.0, ACCEPTS.1)
        .body(Body::new(http_body_util::Full::from(framed(&ask))))
        .expect("a request");
    let mut answer = client.call(request).await;
    let (is_compressed, file) = next(answer.body_mut(), &mut Vec::new()).await;
    assert!(is_compressed && file.len() > 10_000, "{} bytes", file.len());
}
