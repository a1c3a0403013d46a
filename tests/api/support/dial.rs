//! A client's own connections to the service: with or without TLS, and counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

/// The host name of the tests' servers.
pub(crate) const NAME: &str = "localhost";

/// The stream of a client.
pub(crate) type Socket = Either<TcpStream, TlsStream<TcpStream>>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    connections: Arc<AtomicUsize>,
}

impl Dialer {
    /// Plain text.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, connections: Arc::default() }
    }

    /// TLS.
    pub(crate) fn tls(address: SocketAddr, config: ClientConfig) -> Self {
        Self { tls: Some(Arc::new(config).into()), ..Self::plain(address) }
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Opens a connection.
    pub(crate) async fn dial(&self) -> io::Result<Socket> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let tcp = TcpStream::connect(self.address).await?;
        let Some(tls) = &self.tls else { return Ok(Either::Left(tcp)) };
        let name = ServerName::try_from(NAME).expect("a name");
        tls.connect(name, tcp).await.map(Either::Right)
    }

    /// Returns a channel that connects now, and again whenever its connection has ended.
    pub(crate) async fn channel(&self) -> Result<Channel, Error> {
        let dialer = self.clone();
        let dial = service_fn(move |_| {
            let dialer = dialer.clone();
            async move { dialer.dial().await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(dial).await
    }
}
