//! The first moments of a connection: TLS, and the preface of HTTP/2.
//!
//! A client that does not send them in time, or sends something else, is disconnected before
//! anything is allocated for it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::stream::Connection;
use super::tls::Tls;

/// The first bytes of every client (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of a client that speaks TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// The answer that a browser or curl shows.
const TO_HTTP_1: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 62\r\n\
    connection: close\r\n\r\n\
    This is gRPC over HTTP/2: use a gRPC client, such as grpcurl.\n";

/// Why a connection was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unopened {
    /// The client did not begin in time.
    #[error("it did not begin within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The TLS handshake failed: plain text, a missing client certificate, or one of another CA.
    #[error("no TLS handshake: {0}")]
    Handshake(io::Error),
    /// The client speaks TLS on a plain-text port.
    #[error("it speaks TLS, and this port plain text")]
    Tls,
    /// The client speaks HTTP, but not version 2.
    #[error("it speaks HTTP/1")]
    Http1,
    /// The client speaks another protocol.
    #[error("it does not speak HTTP/2")]
    Foreign,
    /// The connection was lost.
    #[error("it left: {0}")]
    Lost(#[from] io::Error),
}

/// Opens a connection, within `limit` from now.
pub(super) async fn open(tcp: TcpStream, tls: Option<&Tls>, limit: Duration) -> Result<Connection, Unopened> {
    let deadline = Instant::now() + limit;
    let mut connection = match tls {
        None => Connection::plain(tcp),
        Some(tls) => secure(tcp, tls, limit, deadline).await?,
    };
    let greeted = timeout_at(deadline, greet(&mut connection)).await;
    let refused = match greeted.unwrap_or(Err(Unopened::Silent(limit))) {
        Ok(()) => return Ok(connection),
        Err(refused) => refused,
    };
    if matches!(refused, Unopened::Http1) {
        connection.write_all(TO_HTTP_1).await?;
    }
    connection.shutdown().await?;
    Err(refused)
}

async fn secure(
    tcp: TcpStream,
    tls: &Tls,
    limit: Duration,
    deadline: Instant,
) -> Result<Connection, Unopened> {
    let handshake = tls.acceptor().accept(tcp).into_fallible();
    match timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => Ok(Connection::secure(stream)),
        Ok(Err((error, tcp))) => {
            // A reset could discard the alert that tells the client the reason.
            Connection::plain(tcp).shutdown().await?;
            Err(Unopened::Handshake(error))
        }
        Err(_) => Err(Unopened::Silent(limit)),
    }
}

/// Reads the whole preface: a part of it does not count.
async fn greet(connection: &mut Connection) -> Result<(), Unopened> {
    let mut heard = [0; PREFACE.len()];
    let mut count = 0;
    while count < PREFACE.len() {
        let read = connection.read(&mut heard[count..]).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        count += read;
        if !PREFACE.starts_with(&heard[..count]) {
            return Err(unexpected(&heard[..count]));
        }
    }
    connection.put_back(PREFACE);
    Ok(())
}

/// Returns what the bytes are instead of the preface. HTTP/1 begins with a method in capital
/// letters.
fn unexpected(heard: &[u8]) -> Unopened {
    match heard.first() {
        Some(&TLS_HANDSHAKE) => Unopened::Tls,
        Some(first) if first.is_ascii_uppercase() => Unopened::Http1,
        _ => Unopened::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_http_1_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TO_HTTP_1).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn what_is_not_the_preface_is_known_by_its_first_byte() {
        assert!(matches!(unexpected(b"GET / HTTP/1.1\r\n"), Unopened::Http1));
        assert!(matches!(unexpected(b"POST"), Unopened::Http1));
        assert!(matches!(unexpected(&[0x16, 3, 1]), Unopened::Tls));
        assert!(matches!(unexpected(b"\0\0\0\0"), Unopened::Foreign));
    }
}
