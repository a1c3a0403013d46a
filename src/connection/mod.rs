//! Connections of clients: accepted within limits, served by HTTP/2 or HTTP/1, and closed without loss.
//!
//! `serve` accepts them. `gate` has a place for each connection, overall and per peer. `opening`
//! secures it and reads its first bytes, within seconds. `speak` has the limits of both versions. `framing`
//! refuses lengths that a proxy could read in another way. `stream` is what
//! HTTP reads and writes.

mod framing;
mod gate;
mod opening;
mod serve;
mod speak;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};

pub(crate) use serve::serve;
pub use tls::{Tls, TlsError};

/// The pause after a connection could not be accepted for lack of files or memory. Retrying at once
/// would use a core and change nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// The certificate of a client, signed by the client CA. It is in the extensions of every request
/// of its connection.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub CertificateDer<'static>);

/// Where clients connect, and whether TLS is used there.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// Plain text.
impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

impl Listener {
    /// Listens for plain text without `tls`, and only for TLS with it.
    pub fn new(tcp: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { tcp, tls }
    }

    /// Returns the next connection. An error of one connection does not affect the others.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a client left before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether the error concerns only the connection that would have been accepted, so that the next
/// one may succeed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
