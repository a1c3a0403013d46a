//! The stream that HTTP reads and writes: a socket, with or without TLS, that closes without loss.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::PeerCertificate;

/// How long a client may take to close its half after us. Closing while bytes of the client are unread is a reset,
/// which can cost it our last bytes.
const LINGER: Duration = Duration::from_secs(2);

/// How many bytes are discarded at once.
const DISCARD: usize = 8 * 1024;

/// See the module.
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    /// Bytes that were read already and must be read again.
    put_back: Bytes,
    /// Set when our half ends: when to stop waiting for the client's half.
    linger: Option<Pin<Box<Sleep>>>,
    /// Whether our half has ended.
    ended: bool,
}

impl Connection {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self { stream: Either::Left(tcp), put_back: Bytes::new(), linger: None, ended: false }
    }

    pub(super) fn secure(tls: TlsStream<TcpStream>) -> Self {
        Self { stream: Either::Right(Box::new(tls)), put_back: Bytes::new(), linger: None, ended: false }
    }

    /// Ends the connection if its client takes nothing of what was sent for this long, or cannot be reached.
    #[cfg(target_os = "linux")]
    pub(super) fn expect_reader(&self, limit: Duration) -> io::Result<()> {
        let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(self.tcp(), milliseconds)?)
    }

    /// Other systems have no such limit, and end the connection when their own is reached.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn expect_reader(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    /// The certificate of the client.
    pub(super) fn peer_certificate(&self) -> Option<PeerCertificate> {
        let Either::Right(tls) = &self.stream else { return None };
        let (_, session) = tls.get_ref();
        session.peer_certificates()?.first().cloned().map(PeerCertificate)
    }

    #[cfg(target_os = "linux")]
    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    /// Makes these bytes be read again, before any others.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.put_back = bytes;
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.put_back.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let now = self.put_back.len().min(buffer.remaining());
        buffer.put_slice(&self.put_back[..now]);
        self.put_back.advance(now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends our half, and reads until the client ends its half.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let limit = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        // TLS sends a last message, for which a client that does not read leaves no room.
        if !this.ended && limit.as_mut().poll(context).is_pending() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.ended = true;
        }
        // The remaining bytes are discarded without decryption.
        let tcp = match &mut this.stream {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.get_mut().0,
        };
        let mut discarded = [0; DISCARD];
        while limit.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut *tcp).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
