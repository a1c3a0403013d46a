//! The first moments of a connection: TLS, and the first bytes, which say which HTTP the client speaks.
//!
//! A client that does not send them in time, or sends something else, is disconnected before
//! anything is allocated for it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::stream::Connection;
use super::tls::Tls;

/// The first bytes of every client of HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of a client that speaks TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1, and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

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
    /// The client speaks another protocol.
    #[error("it does not speak HTTP")]
    Foreign,
    /// The connection was lost.
    #[error("it left: {0}")]
    Lost(#[from] io::Error),
}

/// Opens a connection, within `limit` from now.
pub(super) async fn open(
    tcp: TcpStream,
    tls: Option<&Tls>,
    limit: Duration,
) -> Result<(Connection, Version), Unopened> {
    let deadline = Instant::now() + limit;
    let mut connection = match tls {
        None => Connection::plain(tcp),
        Some(tls) => secure(tcp, tls, limit, deadline).await?,
    };
    let greeted = timeout_at(deadline, greet(&mut connection)).await;
    match greeted.unwrap_or(Err(Unopened::Silent(limit))) {
        Ok(version) => Ok((connection, version)),
        Err(refused) => {
            connection.shutdown().await?;
            Err(refused)
        }
    }
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

/// Reads until the version is known: the whole preface of HTTP/2, a part of which does not count, or the first letters
/// of another method than its `PRI`.
async fn greet(connection: &mut Connection) -> Result<Version, Unopened> {
    let mut heard = [0; PREFACE.len()];
    let mut count = 0;
    while count < PREFACE.len() {
        let read = connection.read(&mut heard[count..]).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        count += read;
        if !PREFACE.starts_with(&heard[..count]) {
            let version = otherwise(&heard[..count])?;
            connection.put_back(Bytes::copy_from_slice(&heard[..count]));
            return Ok(version);
        }
    }
    connection.put_back(Bytes::from_static(PREFACE));
    Ok(Version::Http2)
}

/// Returns the version of bytes that are not the preface. HTTP/1 begins with a method in capital letters.
fn otherwise(heard: &[u8]) -> Result<Version, Unopened> {
    match heard.first() {
        Some(&TLS_HANDSHAKE) => Err(Unopened::Tls),
        Some(first) if first.is_ascii_uppercase() => Ok(Version::Http1),
        _ => Err(Unopened::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_preface_is_known_by_its_first_byte() {
        assert!(matches!(otherwise(b"GET / HTTP/1.1\r\n"), Ok(Version::Http1)));
        assert!(matches!(otherwise(b"POST"), Ok(Version::Http1)));
        assert!(matches!(otherwise(&[0x16, 3, 1]), Err(Unopened::Tls)));
        assert!(matches!(otherwise(b"\0\0\0\0"), Err(Unopened::Foreign)));
    }
}
