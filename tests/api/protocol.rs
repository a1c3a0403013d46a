//! gRPC errors for invalid calls, with a client that adds nothing of its own.

use std::time::{Duration, Instant};

use crm_backend::pb::WatchConversationRequest;
use tonic::Code;

use crate::support::conversations::message;
use crate::support::customers::{creation, named};
use crate::support::http2::{Http2, begun, framed};
use crate::support::{Crm, Refusal, soon};

const ADD_MESSAGE: &str = "ConversationService/AddMessage";
const CREATE: &str = "CustomerService/CreateCustomer";

fn zoe() -> Vec<u8> {
    framed(&creation(named("Zoe")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_that_is_not_known_is_named() {
    let crm = Crm::start().await;
    let mut client = Http2::connect(crm.address()).await;
    let tenant = crm.tenant().id;
    for encoding in ["deflate", "zstd", "nonsense"] {
        let error = client.refusal(begun(CREATE, tenant, &[("grpc-encoding", encoding)], zoe())).await;
        error.is(Code::Unimplemented, "REQUEST_MALFORMED");
        assert!(error.message().contains(encoding), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_that_is_none_is_refused_and_not_ignored() {
    let crm = Crm::start().await;
    let mut client = Http2::connect(crm.address()).await;
    let tenant = crm.tenant().id;
    for rpc in [CREATE, ADD_MESSAGE, "ConversationService/WatchConversation"] {
        for limit in ["soon", "-1S", "1.5S", "123456789S", "1", ""] {
            let error = client.refusal(begun(rpc, tenant, &[("grpc-timeout", limit)], zoe())).await;
            error.is(Code::InvalidArgument, "REQUEST_MALFORMED");
            assert_eq!(error.fields(), ["grpc-timeout"], "{limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_another_form_are_not_taken() {
    let crm = Crm::start().await;
    let mut client = Http2::connect(crm.address()).await;
    let tenant = crm.tenant().id;
    for (content_type, status) in [
        ("application/grpc", 200),
        ("application/grpc+proto", 200),
        ("application/grpc+proto; charset=utf-8", 200),
        ("application/grpc+json", 415),
        ("application/grpc+protobuf", 415),
        ("application/grpc-web", 200),
        ("application/grpc-web-text", 200),
        ("application/grpc-web-text+json", 415),
        ("application/json", 415),
        ("", 415),
    ] {
        let mut request = begun(ADD_MESSAGE, tenant, &[], Vec::new());
        request.headers_mut().insert("content-type", content_type.parse().expect("a value"));
        assert_eq!(client.call(request).await.status().as_u16(), status, "{content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_message_does_not_come_ends_at_its_time_limit() {
    let crm = Crm::start().await;
    let mut client = Http2::connect(crm.address()).await;
    let tenant = crm.tenant().id;
    let began = Instant::now();
    let error = client.refusal(begun(CREATE, tenant, &[("grpc-timeout", "300m")], Vec::new())).await;
    error.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_their_time_limit() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let watch = framed(&WatchConversationRequest { conversation_id: talk, ..Default::default() });
    for (rpc, bytes) in [(ADD_MESSAGE, Vec::new()), ("ConversationService/WatchConversation", watch)] {
        let mut client = Http2::connect(crm.address()).await;
        let began = Instant::now();
        let error = client.refusal(begun(rpc, tenant.id, &[("grpc-timeout", "300m")], bytes)).await;
        error.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert!(began.elapsed() >= Duration::from_millis(250), "{rpc}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_ends_a_stream_in_the_same_words_as_a_call() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let good = crm_backend::pb::AddMessageRequest {
        conversation_id: talk.clone(),
        command: Some(crm_backend::pb::add_message_request::Command::Message(message("a", "Hello"))),
    };
    // The frame announces bytes that do not come.
    let announced = [&[0][..], &(1_u32 << 20).wrapping_add(1).to_be_bytes()].concat();
    let mut client = Http2::connect(crm.address()).await;
    for (rpc, bytes) in [
        (ADD_MESSAGE, [framed(&good), announced.clone()].concat()),
        (ADD_MESSAGE, announced.clone()),
        (CREATE, announced),
    ] {
        let error = client.refusal(begun(rpc, tenant.id, &[], bytes)).await;
        error.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    }
    assert_eq!(soon(tenant.read(&talk)).await.expect("there").message_count, 1, "what came before counts");
}
