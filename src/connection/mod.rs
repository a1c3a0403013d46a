//! Connections of clients: taken in within limits, given to HTTP/2, and ended without loss.
//!
//! [`serve`] accepts; `gate` has a place for each connection, in all and per peer; `opening` secures
//! it and hears its first bytes, within seconds; `stream` is what HTTP/2 reads and writes.

mod gate;
mod opening;
mod serve;
mod stream;
mod tls;

#[cfg(test)]
#[path = "../../tests/process/certificates.rs"]
mod certificates;
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

/// How long is waited before the next connection is accepted when one could not be, for want of files
/// or memory: trying again at once would take a core and change nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// The certificate that a client has shown, and that the client CA has signed. It is among the
/// extensions of every request of its connection.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub CertificateDer<'static>);

/// Where clients connect, and whether they speak TLS there.
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
    /// Plain text without `tls`, and nothing but TLS with it.
    pub fn new(tcp: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { tcp, tls }
    }

    /// The next connection. What goes wrong with one is not the end of the others.
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

/// Whether the error is about the connection that would have been accepted, so that the next may well
/// be.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
