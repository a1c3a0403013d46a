//! How both versions of HTTP are spoken: their limits, and how a connection ends.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;

use super::stream::Connection;
use crate::settings::ConnectionLimits;

/// The maximum size of a request's headers in bytes, as HTTP/2 counts them. It is far more than a call may have
/// (`rpc::layer::metadata`), so that a call with too much gets a gRPC error. Above this limit the stream is answered
/// with status 431. Above four times the limit, or with endless frames of headers, the connection ends. Clients are
/// told this number, and most send no more. A connection keeps at most about this much, for one request at a time.
const MAX_HEADER_LIST: u32 = 256 * 1024;

/// How much a client may send on a stream before the server reads it. A connection has this much for each of its
/// streams. With less, streams that are not read would block the others.
const STREAM_WINDOW: u32 = 64 * 1024;

/// How often the client of an idle connection is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the client may take to answer. With the interval, a lost client's streams are freed within 40 seconds.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The least number of unprocessed streams that a client may have opened and reset. It applies if the client may have
/// fewer streams open: a busy server processes nothing for some milliseconds, while calls with short deadlines come
/// and go.
const MIN_PENDING_RESETS: u32 = 100;

/// The maximum number of a connection's streams that were reset because of the client's errors. A client with more is
/// attacking (CVE-2025-8671), and its connection ends.
const MAX_ERROR_RESETS: usize = 1024;

/// The maximum bytes of a request's head in HTTP/1. It is more than a call may have (`rpc::layer::metadata`), so that a
/// call with too much gets an error that says so. Above this limit the request is answered with status 431, and the
/// connection ends.
const MAX_HEAD: usize = 32 * 1024;

/// The most bytes of a connection of HTTP/1 that are in memory, each way: as many as of a stream of HTTP/2.
const BUFFER: usize = 64 * 1024;

/// Both versions of HTTP, with their limits.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// How long a client of HTTP/1 may take nothing.
    stall: Duration,
}

impl Protocols {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        Self { http1: http1(limits), http2: http2(limits), stall: limits.http1_stall }
    }

    /// Serves HTTP/2 until the client leaves. After `enough` it accepts no new calls, and ends after those in progress.
    pub(super) async fn http2<S>(
        &self,
        connection: Connection,
        answer: S,
        enough: impl Future<Output = ()>,
    ) -> hyper::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
    {
        let served = pin!(self.http2.serve_connection(TokioIo::new(connection), answer));
        until(served, enough, http2::Connection::graceful_shutdown).await
    }

    /// The same for HTTP/1.
    pub(super) async fn http1<S>(
        &self,
        connection: Connection,
        answer: S,
        enough: impl Future<Output = ()>,
    ) -> hyper::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    {
        if let Err(error) = connection.expect_reader(self.stall) {
            tracing::debug!(%error, "a client that reads nothing is found later");
        }
        let served = pin!(self.http1.serve_connection(TokioIo::new(connection), answer));
        until(served, enough, http1::Connection::graceful_shutdown).await
    }
}

/// Serves a connection to its end, which begins after `enough`.
async fn until<C>(
    mut served: Pin<&mut C>,
    enough: impl Future<Output = ()>,
    end: fn(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::select! {
        ended = served.as_mut() => ended,
        () = enough => {
            end(served.as_mut());
            served.await
        }
    }
}

fn http1(limits: &ConnectionLimits) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        // hyper has one limit for a head that does not come and for one that comes slowly.
        .header_read_timeout(limits.http1_idle)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER)
        // A client that ends its half has left, as far as HTTP can tell: its stream ends, as it does with a reset.
        .half_close(false);
    http1
}

fn http2(limits: &ConnectionLimits) -> http2::Builder<TokioExecutor> {
    let streams = limits.max_streams_per_connection;
    let window = STREAM_WINDOW.saturating_mul(streams);
    // A client that cancels everything that it may have open has changed its mind. A client that goes on makes the
    // server work for nothing (CVE-2023-44487), and its connection ends.
    let pending_resets = streams.max(MIN_PENDING_RESETS);
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window.min(i32::MAX.cast_unsigned()))
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(pending_resets as usize)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    http2
}
