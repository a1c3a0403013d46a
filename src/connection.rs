//! A connection of a client, which begins with words and ends without loss.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a client may take to its first bytes: it has connected because it has something to say.
const FIRST_BYTES: Duration = Duration::from_secs(5);

/// How long a client may take to close after us. A close with bytes of the client's unread is a reset,
/// which can cost it what we sent last.
const LINGER: Duration = Duration::from_secs(2);

/// What is read at once of what nobody wants any more.
const DISCARD: usize = 8 * 1024;

/// See the module.
pub(crate) struct Connection {
    tcp: TcpStream,
    /// Until the first bytes: when to give up.
    silence: Option<Silence>,
    /// From our end on: when to give up waiting for the client's.
    linger: Option<Pin<Box<Sleep>>>,
}

type Silence = (Pin<Box<Sleep>>, Pin<Box<WaitForCancellationFutureOwned>>);

impl Connection {
    pub(crate) fn new(tcp: TcpStream, stop: CancellationToken) -> Self {
        let silence = (Box::pin(tokio::time::sleep(FIRST_BYTES)), Box::pin(stop.cancelled_owned()));
        Self { tcp, silence: Some(silence), linger: None }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.tcp).poll_read(context, buffer);
        let Some((limit, stop)) = &mut this.silence else { return read };
        if read.is_ready() {
            this.silence = None;
            return read;
        }
        if limit.as_mut().poll(context).is_ready() || stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    /// Ends our half, and reads until the client ends its own.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(context))?;
        }
        let limit = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut discarded = [0; DISCARD];
        while limit.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut this.tcp).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp.connect_info()
    }
}
