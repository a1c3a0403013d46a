//! Bytes that are not HTTP/2, not gRPC, or not a request, over raw connections: the service keeps serving all other
//! clients, and its memory does not grow.

mod frames;

use std::net::SocketAddr;
use std::time::Duration;

use crm_testkit::{Random, Server, meter, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, message};
use super::scratch;
use frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, call_headers, claimed, frame, literal, opening,
};

/// The connections per kind of noise in a round.
const CONNECTIONS: usize = 8;

/// The rounds that are measured, after one that is not.
const ROUNDS: usize = 3;

/// How much memory may grow: what an allocator keeps, far less than the noise tries to use.
const GROWTH: u64 = 24 << 20;

/// How long the client listens to the service's answers to noise.
const ENOUGH: Duration = Duration::from_millis(100);

/// The streams that are opened and reset on one connection: more than may be open at once.
const RESETS: u32 = 600;

const GET: &str = "/crm.v1.CustomerService/GetCustomer";
const ADD: &str = "/crm.v1.ConversationService/AddMessage";

/// A frame of any kind, with any bytes.
fn any_frame(random: &mut Random) -> Vec<u8> {
    let length = random.within(0..64);
    let [kind, flags, stream, ..] = random.number().to_be_bytes();
    let payload = random.bytes(length);
    frame(kind % 12, flags, u32::from(stream % 8), &payload)
}

/// Calls whose bodies are not requests, each on a stream of its own.
fn calls() -> Vec<u8> {
    let bodies = [
        frames::message(u32::MAX, &[]),
        frames::message(0x00ff_ffff, b"short"),
        frames::message(4, &[0xff; 4]),
        frames::message(5, &[0x0d, 0, 0, 0, 0]),
        frames::message(4, &[0x0a, 2, 0xc3, 0x28]),
        frames::message(2, &[0x0c, 0x0c]),
        frames::message(10, b"truncated"),
        vec![0, 0, 0],
        vec![1, 0, 0, 0, 1, 0],
        vec![0xff; 64],
        Vec::new(),
    ];
    let mut bytes = opening();
    let paths = [GET, ADD, "/", "*", "/crm.v1.CustomerService/", "//", "/grpc.health.v1.Health/Check"];
    let calls = paths.iter().flat_map(|path| bodies.iter().map(move |body| (path, body)));
    for (stream, (path, body)) in (1..).step_by(2).zip(calls) {
        bytes.extend(call(stream, path, body));
    }
    bytes
}

/// Streams that are opened and reset at once.
fn resets() -> Vec<u8> {
    let mut bytes = opening();
    for stream in (1..).step_by(2).take(RESETS.try_into().expect("a small number")) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &call_headers(ADD)));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    bytes
}

/// Headers that never end.
fn continuations() -> Vec<u8> {
    let mut bytes = opening();
    bytes.extend(frame(HEADERS, 0, 1, &call_headers(GET)));
    let more: Vec<u8> = (0..100).flat_map(|_| literal("x-more", &"x".repeat(100))).collect();
    (0..20).for_each(|_| bytes.extend(frame(CONTINUATION, 0, 1, &more)));
    bytes
}

/// Frames that cost a client little, while each asks for an answer or changes the connection.
fn chatter() -> Vec<u8> {
    let mut bytes = opening();
    for number in 0..500_u32 {
        bytes.extend(frame(PING, 0, 0, &[7; 8]));
        bytes.extend(frame(SETTINGS, 0, 0, &[&[0, 4][..], &number.to_be_bytes()].concat()));
        bytes.extend(frame(DATA, 0, 1, &[]));
    }
    bytes
}

/// One connection's bytes for every kind of noise.
fn noises(noise: &mut Random) -> Vec<(&'static str, Vec<u8>)> {
    let after_opening = |frames: &[Vec<u8>]| [&[opening()], frames].concat().concat();
    vec![
        ("nothing", Vec::new()),
        ("random bytes", noise.bytes(64 * 1024)),
        ("a request of HTTP/1.1", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("the beginning of TLS", [&[0x16, 3, 1, 2, 0, 1][..], &noise.bytes(512)].concat()),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface and random bytes", [PREFACE, &noise.bytes(4_096)].concat()),
        ("random frames", after_opening(&(0..50).map(|_| any_frame(noise)).collect::<Vec<_>>())),
        ("a frame of 16 MiB", after_opening(&[claimed(0x00ff_ffff, DATA, 0, 1, &noise.bytes(20_000))])),
        ("headers of 16 MiB", after_opening(&[claimed(0x00ff_ffff, HEADERS, END_HEADERS, 1, &[])])),
        ("headers that are no HPACK", after_opening(&[frame(HEADERS, END_HEADERS, 1, &noise.bytes(200))])),
        ("a table of 4 GiB", after_opening(&[frame(SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff])])),
        ("headers without an end", continuations()),
        (
            "a window that overflows",
            after_opening(&[
                frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
                frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
            ]),
        ),
        ("a stream of the server's", after_opening(&[frame(HEADERS, END_HEADERS, 2, &call_headers(GET))])),
        (
            "a farewell, and more",
            after_opening(&[
                frame(GOAWAY, 0, 0, &[&[0; 8][..], &noise.bytes(1_000)].concat()),
                call(1, GET, &frames::message(0, &[])),
            ]),
        ),
        ("streams that are reset", resets()),
        ("chatter", chatter()),
        ("bodies that are no requests", calls()),
        ("a call that is cut off", {
            let call = after_opening(&[call(1, ADD, &frames::message(100, &[0x0a; 100]))]);
            call[..call.len() - 50].to_vec()
        }),
        (
            "a body without an end",
            after_opening(&[
                frame(HEADERS, END_HEADERS, 1, &call_headers(ADD)),
                frame(DATA, 0, 1, &frames::message(1 << 20, &noise.bytes(10_000))),
            ]),
        ),
        (
            "headers twice",
            after_opening(&[
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &call_headers(GET)),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &call_headers(GET)),
            ]),
        ),
    ]
}

/// Sends the bytes on a connection of its own, and listens until the service closes it or the time is up.
async fn make(address: SocketAddr, bytes: Vec<u8>) {
    let mut connection = within(TcpStream::connect(address)).await.expect("the service accepts");
    let (mut answers, mut requests) = connection.split();
    let say = async {
        // The service may close before it has read everything.
        let _ = requests.write_all(&bytes).await;
    };
    let listen = async {
        let mut answer = vec![0; 16 * 1024];
        while answers.read(&mut answer).await.is_ok_and(|count| count > 0) {}
    };
    let _ = tokio::time::timeout(ENOUGH, async { tokio::join!(say, listen) }).await;
}

/// Sends all kinds, with several connections at once.
async fn round(address: SocketAddr, noise: &mut Random) {
    for kind in 0..noises(noise).len() {
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (_, bytes) = noises(noise).swap_remove(kind);
            connections.spawn(make(address, bytes));
        }
        within(connections.join_all()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn noise_of_any_kind_harms_nobody_else_and_costs_no_memory() {
    let scratch = scratch();
    let mut server = Server::start_with(&scratch, &["--ephemeral"]);
    let mut client = Client::connect(server.address).await;
    let conversation_id = client.create_conversation().await;
    let (requests, mut responses) = client.add_messages().await.expect("a stream");
    let mut noise = Random::new(1);
    let mut before = None;
    for number in 0..=ROUNDS {
        round(server.address, &mut noise).await;
        // The stream that was open before, and a new connection.
        let key = format!("message-{number}");
        requests.send(message(&conversation_id, &key)).await.expect("the stream is open");
        within(responses.message()).await.expect("the stream lives").expect("an ack");
        Client::connect(server.address).await.create_customer("Café Zoë").await;
        before = before.or_else(|| meter::memory(server.program.pid()));
    }
    assert!(server.program.is_running());
    if let (Some(before), Some(after)) = (before, meter::memory(server.program.pid())) {
        let (from, to) = (meter::mebibytes(before), meter::mebibytes(after));
        println!("memory was {from} after one round and is {to} after {ROUNDS} more");
        assert!(after < before + GROWTH, "memory grew from {from} to {to}");
    }
    assert_eq!(client.count_messages(&conversation_id).await.expect("a count"), ROUNDS as i32 + 1);
    drop((requests, responses));
    let ended = server.terminate();
    ended.succeeded();
    for fault in ["panic", "internal error"] {
        assert!(!ended.stderr.contains(fault), "{}", ended.stderr);
    }
}
