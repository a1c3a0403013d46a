//! Connections: how they begin, how many there may be, and how old they become.

use std::io;
use std::time::{Duration, Instant};

use crm_backend::config::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::conversations::message;
use crate::support::dial::Dialer;
use crate::support::watch::BEGINNING;
use crate::support::{Crm, PATIENCE, Settings, eventually, soon};

/// The first bytes of every HTTP/2 client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An HTTP/2 frame without a payload: settings without changes.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Returns the server's bytes until it ends the connection; a reset is an end too.
async fn answer(tcp: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = soon(tcp.read_to_end(&mut answer)).await;
    answer
}

async fn is_well(crm: &Crm) {
    crm.tenant().customer("Others are served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_begin_in_time_is_gone() {
    let limits = |limits: &mut Limits| limits.connections.opening = Duration::from_millis(300);
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    for words in [&b""[..], b"P", &PREFACE[..23]] {
        let mut tcp = TcpStream::connect(crm.address()).await.expect("a connection");
        tcp.write_all(words).await.expect("it is there");
        let began = Instant::now();
        assert_eq!(answer(&mut tcp).await, b"", "{words:?}");
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    }
    // Single bytes are as valid as any other split.
    let mut slow = TcpStream::connect(crm.address()).await.expect("a connection");
    for byte in PREFACE.iter().chain(SETTINGS) {
        slow.write_all(&[*byte]).await.expect("it is there");
    }
    let mut settings = [0; 9];
    soon(slow.read_exact(&mut settings)).await.expect("the server's settings");
    assert_eq!(settings[3], 4, "{settings:?}");
    is_well(&crm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_gone_at_once() {
    let limits = |limits: &mut Limits| limits.connections.opening = PATIENCE * 2;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let client_hello = [&[0x16, 3, 1, 2, 0, 1][..], &[7; 512]].concat();
    for words in [&client_hello[..], b"\0\0\0\0", b"hello\r\n", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"] {
        let mut tcp = TcpStream::connect(crm.address()).await.expect("a connection");
        tcp.write_all(words).await.expect("it is there");
        let answer = answer(&mut tcp).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 400 "), "{words:?}: {text}");
    }
    is_well(&crm).await;
}

/// Opens a connection that the server serves.
async fn connect(crm: &Crm) -> io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(crm.address()).await?;
    tcp.write_all(&[PREFACE, SETTINGS].concat()).await?;
    let mut header = [0; 9];
    soon(tcp.read_exact(&mut header)).await?;
    let mut settings = vec![0; usize::from(header[2])];
    soon(tcp.read_exact(&mut settings)).await?;
    Ok(tcp)
}

async fn at_most(limits: fn(&mut Limits), count: usize) {
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    // The tenant's own connection is one of them.
    let mut connections = Vec::new();
    for _ in 1..count {
        connections.push(connect(&crm).await.expect("there is room"));
    }
    for _ in 0..3 {
        connect(&crm).await.expect_err("there is no room");
    }
    is_well(&crm).await;
    connections.pop();
    let mut again = None;
    eventually("a place is free again", async || {
        again = connect(&crm).await.ok();
        again.is_some()
    })
    .await;
    connect(&crm).await.expect_err("there is no room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_there_may_be_is_refused_at_once() {
    at_most(|limits| limits.connections.max_connections = 4, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_a_peer_may_have_is_refused_at_once() {
    at_most(|limits| limits.connections.max_connections_per_peer = 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_takes_no_new_calls_and_ends_with_those_that_it_has() {
    let limits = |limits: &mut Limits| limits.connections.max_connection_age = Duration::from_millis(400);
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let dialer = Dialer::plain(crm.address());
    let tenant = crm.tenant().over(dialer.channel().await.expect("a connection"));
    let talk = tenant.conversation().await.id;
    let mut watch = tenant.watch(&talk, BEGINNING).await;
    let mut stream = tenant.stream().await;
    let before = dialer.connections();
    let mut sent = 0;
    eventually("calls go over another connection", async || {
        // Open streams continue, whichever connection new calls use.
        sent += 1;
        stream.send(&talk, message(&sent.to_string(), "Hello"));
        stream.outcome().await.expect("an ack");
        // If a connection ends before this client has sent a call on it, the client reports CANCELLED.
        let answer = tenant.read(&talk).await.map_err(|error| error.code());
        assert!(matches!(answer, Ok(_) | Err(Code::Cancelled)), "{answer:?}");
        dialer.connections() > before + 1
    })
    .await;
    watch.until_messages(sent).await;
}

/// Returns an HTTP/2 opening, and frames that open streams and reset them.
fn resets(count: u32) -> Vec<u8> {
    // POST, http, and / from the static table.
    const HEADERS: [u8; 3] = [0x83, 0x86, 0x84];
    let mut frames = Vec::new();
    for stream in (0..count).map(|number| (2 * number + 1).to_be_bytes()) {
        frames.extend([&[0, 0, 3, 1, 4][..], &stream, &HEADERS].concat());
        frames.extend([&[0, 0, 4, 3, 0][..], &stream, &8_u32.to_be_bytes()].concat());
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_all_that_it_may_have_open_keeps_its_connection() {
    const STREAMS: u32 = 300;
    let limits = |limits: &mut Limits| limits.connections.max_streams_per_connection = STREAMS;
    let crm = Crm::with(Settings { limits, ..Settings::default() }).await;
    let mut tcp = connect(&crm).await.expect("a connection");
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"is there"].concat();
    tcp.write_all(&[resets(STREAMS), ping].concat()).await.expect("it is there");
    let mut said = Vec::new();
    while !said.windows(8).any(|bytes| bytes == b"is there") {
        let read = soon(tcp.read_buf(&mut said)).await.expect("it is there");
        assert!(read > 0, "the connection ended: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_and_resets_without_end_loses_its_connection() {
    const GO_AWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u8 = 11;
    let crm = Crm::start().await;
    let mut tcp = connect(&crm).await.expect("a connection");
    let _ = tcp.write_all(&resets(10_000)).await;
    let said = answer(&mut tcp).await;
    let mut frames = &said[..];
    let mut gone = None;
    while let [0, high, low, kind, _, _, _, _, _, rest @ ..] = frames {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        if *kind == GO_AWAY {
            gone = rest[..length].get(7).copied();
        }
        frames = &rest[length..];
    }
    assert_eq!(gone, Some(ENHANCE_YOUR_CALM), "{} bytes", said.len());
    is_well(&crm).await;
}
