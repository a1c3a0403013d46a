//! The limit of a call's metadata, and the refusal of calls above it.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::body::Body;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::customers::{creation, named};
use crate::support::http2::{Http2, begun, framed, whole};
use crate::support::{Crm, Refusal, soon};

const CREATE: &str = "CustomerService/CreateCustomer";
const ADD_MESSAGE: &str = "ConversationService/AddMessage";

/// What a caller may send, in addition to what gRPC itself needs.
const TAKEN: usize = 16 << 10;

/// The limit in errors: a kibibyte more.
const LIMIT: &str = "17408";

fn zoe() -> Vec<u8> {
    framed(&creation(named("Zoe")))
}

/// Returns a call with a header of this many bytes.
fn with(rpc: &str, tenant: Uuid, bytes: usize) -> Request<Body> {
    whole(rpc, tenant, &[("x-trace", &"x".repeat(bytes))], zoe())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_may_take_is_taken_and_more_is_refused_with_the_limit_in_words() {
    let crm = Crm::start().await;
    let tenant = crm.tenant().id;
    let mut client = Http2::connect(crm.address()).await;
    // A stream on the same connection, which must survive.
    let mut stream = client.call(begun(ADD_MESSAGE, tenant, &[], Vec::new())).await;
    assert_eq!(stream.status().as_u16(), 200);

    for bytes in [0, 7_800, 8 << 10, TAKEN] {
        let error = client.refusal(with(CREATE, tenant, bytes)).await;
        assert_eq!(error.code(), Code::Ok, "{bytes} bytes: {error:?}");
    }
    for bytes in [TAKEN + 1_024, 20_000, 40_000, 200_000] {
        for path in [
            "/crm.v1.CustomerService/CreateCustomer",
            "/crm.v1.ConversationService/AddMessage",
            "/crm.v1.No/Such",
        ]
        .into_iter()
        .chain(["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"])
        {
            let mut request = with(CREATE, tenant, bytes);
            *request.uri_mut() = format!("http://localhost{path}").parse().expect("a URI");
            let error = client.refusal(request).await;
            error.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
            assert!(error.message().contains(LIMIT) && error.message().contains("metadata"), "{error:?}");
            let details = error.get_error_details();
            assert_eq!(details.error_info().expect("an ErrorInfo").metadata["limit_bytes"], LIMIT);
        }
    }
    // Many small headers count like a long one.
    let mut request = with(CREATE, tenant, 0);
    for number in 0..2_000 {
        request.headers_mut().append("x-many", format!("{number:08}").parse().expect("a value"));
    }
    client.refusal(request).await.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");

    // A request with more than HTTP/2 accepts is not a call, but affects no other call.
    let answer = client.call(with(CREATE, tenant, 300_000)).await;
    assert_eq!(answer.status().as_u16(), 431);
    let error = client.refusal(with(CREATE, tenant, 0)).await;
    assert_eq!(error.code(), Code::Ok, "the connection lives: {error:?}");
    let more = std::future::poll_fn(|context| {
        let frame = http_body::Body::poll_frame(std::pin::Pin::new(stream.body_mut()), context);
        std::task::Poll::Ready(frame.is_ready())
    });
    assert!(!soon(more).await, "the stream lives");
}

/// Returns the beginning of HTTP/2, and of a request whose headers do not end.
fn endless(fragment: &[u8]) -> Vec<u8> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    [PREFACE, &frame(1, fragment)].concat()
}

/// Returns a frame of headers (1) or their continuation (9) on stream 1, without an end.
fn frame(kind: u8, fragment: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fragment.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, 0, 0, 0, 0, 1], fragment].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_ended_long_before_they_fill_memory() {
    /// The number of frames of 15 KB each, of which 20 are allowed.
    const FRAMES: usize = 24;
    const GO_AWAY: u8 = 7;
    let crm = Crm::start().await;
    // A name and a value of one letter each, without an index.
    let small = [0, 1, b'a', 1, b'b'].repeat(3_000);
    // A value of 256 MiB, of which each frame has a part.
    let long = [&[0, 1, b'a', 0x7f, 0x81, 0xff, 0xff, 0x7f][..], &[b'x'; 15_000]].concat();
    for (kind, first, next) in [
        ("many headers", &small[..], &small[..]),
        ("one header", &long, &[b'x'; 15_000]),
        ("empty frames", &[], &[]),
    ] {
        let mut tcp = TcpStream::connect(crm.address()).await.expect("a connection");
        let flood = [endless(first), frame(9, next).repeat(FRAMES)].concat();
        soon(tcp.write_all(&flood)).await.expect("it is there");
        let mut said = Vec::new();
        soon(tcp.read_to_end(&mut said)).await.expect("an end");
        let mut frames = &said[..];
        let mut kinds = Vec::new();
        while let [0, high, low, kind, _, _, _, _, _, rest @ ..] = frames {
            kinds.push(*kind);
            frames = &rest[usize::from(u16::from_be_bytes([*high, *low])).min(rest.len())..];
        }
        assert!(kinds.contains(&GO_AWAY), "{kind}: {kinds:?}");
    }
    crm.tenant().customer("Others are served").await;
}
