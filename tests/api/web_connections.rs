//! Connections of HTTP/1: what is too much, too slow, or two things at once.

use std::time::{Duration, Instant};

use crm_backend::config::Limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::conversations::message;
use crate::support::web::{Web, told};
use crate::support::{Crm, Settings, eventually, soon};

/// The most bytes of a request in these tests.
const MOST: usize = 64 << 10;

async fn start(limits: fn(&mut Limits)) -> Crm {
    Crm::with(Settings { limits, ..Settings::default() }).await
}

/// Returns the head of a request that creates a customer, without the empty line after it.
fn head(crm: &Crm, tenant: uuid::Uuid, headers: &str) -> String {
    format!(
        "POST /api/v1/customers HTTP/1.1\r\nhost: {}\r\nx-tenant-id: {tenant}\r\ncontent-type: application/json\r\n{headers}",
        crm.address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_and_not_read_to_its_end() {
    let crm = start(|limits| limits.max_request_bytes = MOST).await;
    let tenant = crm.tenant();
    let web = Web::new(&crm, tenant.id);
    let of = |bytes: usize| json!({ "business_name": "Zoe", "contact_name": "x".repeat(bytes) });
    for web in [web.clone(), web.over_http_2()] {
        web.post("/api/v1/customers", of(MOST)).await.is(413, "REQUEST_TOO_LARGE");
        // It is small enough to be read, and the rules say what is wrong.
        web.post("/api/v1/customers", of(MOST / 2)).await.is(400, "FIELD_INVALID");
    }
    // A body without end, of which a part comes.
    let endless = format!(
        "{}transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
        head(&crm, tenant.id, ""),
        MOST + 1,
        " ".repeat(MOST + 1)
    );
    let answer = told(&crm, endless.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let crm = Crm::start().await;
    let web = Web::new(&crm, crm.tenant().id);
    // More than a call may have, and then more than is read.
    web.with("x-large", &"x".repeat(20 << 10)).get("/api/v1/customers").await.is(413, "REQUEST_TOO_LARGE");
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    for headers in [format!("x-large: {}\r\n", "x".repeat(100 << 10)), many] {
        let answer = told(&crm, format!("GET /api/v1/customers HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let long = told(&crm, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10)).as_bytes()).await;
    assert!(long.starts_with("HTTP/1.1 431 ") || long.starts_with("HTTP/1.1 414 "), "{long}");
    web.get("/api/v1/customers").await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_with_a_head_or_says_nothing_is_gone() {
    let crm = start(|limits| limits.connections.http1_idle = Duration::from_millis(400)).await;
    for bytes in ["GET /", "GET /api/v1/customers HTTP/1.1\r\nhost: x\r\nx-a: "] {
        let began = Instant::now();
        told(&crm, bytes.as_bytes()).await;
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
    // An answered connection that asks for nothing more.
    let began = Instant::now();
    let answer = told(&crm, b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_ends_with_the_deadline() {
    let crm = start(|limits| limits.default_deadline = Duration::from_millis(500)).await;
    let tenant = crm.tenant();
    let slow = format!("{}\r\n{{\"bus", head(&crm, tenant.id, "content-length: 100\r\n"));
    let answer = told(&crm, slow.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("DEADLINE_EXCEEDED"), "{answer}");
}

/// What becomes of a request whose length is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is answered with 400.
    Refused,
    /// Its chunks count.
    Read,
}

/// Heads of requests of which a proxy could read another length than the service does.
const DOUBTFUL: [(&str, Fate); 27] = [
    // Both lengths, in any order: the chunks count, whatever a proxy thinks.
    ("content-length: 7\r\ntransfer-encoding: chunked\r\n", Fate::Read),
    ("transfer-encoding: chunked\r\ncontent-length: 7\r\n", Fate::Read),
    ("content-length: 7\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n", Fate::Read),
    ("transfer-encoding: chunked\r\ncontent-length: x\r\n", Fate::Read),
    ("content-length: 7\r\nTRANSFER-ENCODING:\tChunked\t\r\n", Fate::Read),
    // A line may end with LF alone, so a header that a proxy took for a part of another counts.
    ("content-length: 7\r\nx-a: b\ntransfer-encoding: chunked\r\n", Fate::Read),
    ("content-length: 2\r\ncontent-length: 7\r\n", Fate::Refused),
    ("content-length: 2, 2\r\n", Fate::Refused),
    ("content-length: +2\r\n", Fate::Refused),
    ("content-length: -1\r\n", Fate::Refused),
    ("content-length: 0x2\r\n", Fate::Refused),
    ("content-length: 2 2\r\n", Fate::Refused),
    ("content-length: \r\n", Fate::Refused),
    ("content-length: 18446744073709551618\r\n", Fate::Refused),
    ("content-length : 2\r\n", Fate::Refused),
    ("transfer-encoding: chunked, identity\r\n", Fate::Refused),
    ("transfer-encoding: identity, chunked\r\n", Fate::Refused),
    ("transfer-encoding: gzip, chunked\r\n", Fate::Refused),
    ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", Fate::Refused),
    ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", Fate::Refused),
    ("transfer-encoding: xchunked\r\n", Fate::Refused),
    ("transfer-encoding: \"chunked\"\r\n", Fate::Refused),
    ("transfer-encoding: \x0bchunked\r\n", Fate::Refused),
    ("transfer-encoding : chunked\r\n", Fate::Refused),
    (" transfer-encoding: chunked\r\n", Fate::Refused),
    // A line that goes on in the next (obs-fold).
    ("transfer-encoding:\r\n chunked\r\n", Fate::Refused),
    ("x-a: b\r\n\tcontent-length: 2\r\n", Fate::Refused),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_second_request_is_hidden_in_a_first() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let name = "{\"business_name\": \"Hidden\"}";
    let hidden = format!(
        "{}\r\n{name}",
        head(&crm, tenant.id, &format!("connection: close\r\ncontent-length: {}\r\n", name.len()))
    );
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    let ask = async |head: &str| {
        let answer = told(&crm, format!("{head}\r\n{chunked}{hidden}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
        assert!(answer.contains("connection: close"), "{head:?}: {answer}");
        answer
    };
    for (lengths, fate) in DOUBTFUL {
        let answer = ask(&head(&crm, tenant.id, lengths)).await;
        // The object in the chunks is a visitor.
        let expected = if fate == Fate::Read { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(expected), "{lengths:?}: {answer}");
    }
    let old = head(&crm, tenant.id, "transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0");
    let answer = told(&crm, format!("{old}\r\n{chunked}{hidden}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "), "{answer}");
    // Chunks that are cut in another way than by CR LF.
    for wrong in ["2\n{}\n0\n\n", "2\r\n{}0\r\n\r\n", "02;\n\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n"] {
        let head = head(&crm, tenant.id, "transfer-encoding: chunked\r\n");
        let answer = told(&crm, format!("{head}\r\n{wrong}{hidden}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{wrong:?}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong:?}: {answer}");
    }
    let all = Web::new(&crm, tenant.id).get("/api/v1/customers").await.good().to_string();
    assert!(all.contains("visitor") && !all.contains("Hidden"), "nothing after such a head is run: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_may_have_trailers_which_mean_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let body = "19\r\n{\"business_name\": \"Zoe\"}\n\r\n0\r\nx-tenant-id: nobody\r\nx-a: b\r\n\r\n";
    let head = head(&crm, tenant.id, "connection: close\r\ntransfer-encoding: chunked\r\n");
    let answer = told(&crm, format!("{head}\r\n{body}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Zoe"), "{answer}");
    for wrong in ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}x\r\n0\r\n\r\n", "ffffffffffffffffff\r\n{}\r\n"] {
        let answer = told(&crm, format!("{head}\r\n{wrong}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_are_answered_in_their_order() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut bytes = String::new();
    for number in 0..50 {
        let body = json!({ "business_name": format!("Zoe {number}.") }).to_string();
        let last = if number == 49 { "connection: close\r\n" } else { "" };
        bytes += &format!(
            "{}\r\n{body}",
            head(&crm, tenant.id, &format!("{last}content-length: {}\r\n", body.len()))
        );
    }
    let answer = told(&crm, bytes.as_bytes()).await;
    let at: Vec<_> =
        (0..50).map(|number| answer.find(&format!("Zoe {number}.")).expect("an answer")).collect();
    assert!(at.is_sorted(), "{at:?}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_for_only_if_its_caller_may_call() {
    let crm = crate::support::credentials::with_keys().await;
    let tenant = crm.tenant();
    let waiting = format!("{}\r\n", head(&crm, tenant.id, "expect: 100-continue\r\ncontent-length: 2\r\n"));
    let answer = told(&crm, waiting.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let crm = Crm::start().await;
    let mut tcp = TcpStream::connect(crm.address()).await.expect("it listens");
    let waiting = head(&crm, crm.tenant().id, "expect: 100-continue\r\ncontent-length: 2\r\n");
    tcp.write_all(format!("{waiting}\r\n").as_bytes()).await.expect("sent");
    let mut asked = [0; 12];
    soon(tcp.read_exact(&mut asked)).await.expect("an answer");
    assert_eq!(&asked, b"HTTP/1.1 100");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_as_http_1_and_is_none_is_refused() {
    let crm = Crm::start().await;
    for bytes in [
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\n no: name\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "HELLO WORLD\r\n\r\n",
        "GET / HTTP/1.1\r\nx: \0\r\n\r\n",
    ] {
        let answer = told(&crm, bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    Web::new(&crm, crm.tenant().id).get("/api/v1/customers").await.good();
}

/// Returns the head of a request of a tenant that reads this path.
fn reading(crm: &Crm, tenant: uuid::Uuid, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\nx-tenant-id: {tenant}\r\n\r\n", crm.address())
}

/// Whether there is a place for another connection.
async fn has_place(crm: &Crm) -> bool {
    let asked = async {
        let mut tcp = TcpStream::connect(crm.address()).await?;
        tcp.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 404 "))
    };
    soon(asked).await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_its_half_has_left() {
    // One is that of the tenant itself.
    let crm = start(|limits| limits.connections.max_connections_per_peer = 2).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    let mut tcp = TcpStream::connect(crm.address()).await.expect("it listens");
    let events = reading(&crm, tenant.id, &format!("/api/v1/conversations/{talk}/events"));
    tcp.write_all(events.as_bytes()).await.expect("sent");
    let mut first = [0; 15];
    soon(tcp.read_exact(&mut first)).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    assert!(!has_place(&crm).await, "the stream has it");
    tcp.shutdown().await.expect("an open connection");
    let mut rest = Vec::new();
    let _ = soon(tcp.read_to_end(&mut rest)).await;
    eventually("its place is free", async || has_place(&crm).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_is_gone() {
    /// Far more than fits between a client with a small buffer and the server.
    const MESSAGES: usize = 150;
    let crm = start(|limits| {
        limits.connections.http1_stall = Duration::from_millis(500);
        // One is that of the tenant itself.
        limits.connections.max_connections_per_peer = 2;
    })
    .await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await.id;
    for number in 0..MESSAGES {
        let message = message(&number.to_string(), &"x".repeat(20_000));
        tenant.add(&talk, message).await.expect("added");
    }
    let stream = reading(&crm, tenant.id, &format!("/api/v1/conversations/{talk}/events?after_sequence=0"));
    let pages = reading(&crm, tenant.id, &format!("/api/v1/conversations/{talk}/messages?page_size=100"));
    let begin = async |requests: &str| {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4 << 10)?;
        let mut tcp = socket.connect(crm.address()).await?;
        tcp.write_all(requests.as_bytes()).await?;
        let mut first = [0; 15];
        tcp.read_exact(&mut first).await?;
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        Ok::<_, std::io::Error>(tcp)
    };
    for requests in [stream, pages.repeat(20)] {
        // The last one that asked for a place may still have it.
        let mut reader = None;
        eventually("a place", async || {
            reader = soon(begin(&requests)).await.ok();
            reader.is_some()
        })
        .await;
        assert!(!has_place(&crm).await, "the answer has it");
        let began = Instant::now();
        eventually("its place is free", async || has_place(&crm).await).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(reader);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_its_answer_when_the_server_stops() {
    let mut crm = Crm::start().await;
    let mut tcp = TcpStream::connect(crm.address()).await.expect("it listens");
    tcp.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut first = [0; 12];
    soon(tcp.read_exact(&mut first)).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 404");
    crm.begin_shutdown();
    let mut rest = Vec::new();
    soon(tcp.read_to_end(&mut rest)).await.expect("its end");
    soon(crm.shut_down()).await.expect("nothing holds it up");
}
