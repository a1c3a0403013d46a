//! Serves each connection in a task, from its acceptance to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::gate::{Gate, Place};
use super::stream::Connection;
use super::{Listener, Tls, opening};
use crate::metrics::{Metrics, Open};
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

/// How much a connection's maximum age varies, in thousandths of it. So connections that were opened together, as
/// after a restart, do not all reconnect together.
const JITTER: u32 = 100;

/// What all connections share.
struct Server<S> {
    service: S,
    tls: Option<Arc<Tls>>,
    http2: http2::Builder<TokioExecutor>,
    limits: ConnectionLimits,
    stop: CancellationToken,
}

/// Accepts connections until `stop`, and serves each as a task of `connections`. The task ends when the last call of
/// the connection has ended.
pub(crate) async fn serve<S>(
    listener: Listener,
    service: S,
    limits: ConnectionLimits,
    connections: &TaskTracker,
    metrics: &Metrics,
    stop: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let gate = Gate::new(limits.max_connections, limits.max_connections_per_peer);
    let http2 = http2(&limits);
    let server = Arc::new(Server { service, tls: listener.tls.clone(), http2, limits, stop: stop.clone() });
    loop {
        let (tcp, address) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match gate.enter(address.ip()) {
            Ok(place) => {
                metrics.connections.accepted.inc();
                let place = (place, Open::count(metrics.connections.open.clone()));
                connections.spawn(Arc::clone(&server).attend(tcp, address, place));
            }
            Err(full) => {
                metrics.refusals[full.limit()].inc();
                if gate.tells() {
                    tracing::warn!(peer = %address, "a connection was refused: {full}");
                } else {
                    tracing::debug!(peer = %address, "a connection was refused: {full}");
                }
            }
        }
    }
}

impl<S> Server<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Serves one connection, which has its place until it ends.
    async fn attend(self: Arc<Self>, tcp: TcpStream, address: SocketAddr, _place: (Place, Open)) {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(peer = %address, %error, "what is small waits for more");
        }
        let opening = opening::open(tcp, self.tls.as_deref(), self.limits.opening);
        let opened = tokio::select! {
            () = self.stop.cancelled() => return,
            opened = opening => opened,
        };
        match opened {
            Ok(connection) => self.speak(connection, address).await,
            Err(error) => tracing::debug!(peer = %address, "a connection came to nothing: {error}"),
        }
    }

    /// Serves HTTP/2 until the client leaves. If the connection is old or the server stops, it accepts no new calls,
    /// and ends after the calls in progress.
    async fn speak(&self, connection: Connection, address: SocketAddr) {
        let certificate = connection.peer_certificate();
        let answer = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            self.service.clone().oneshot(request)
        });
        let mut served = std::pin::pin!(self.http2.serve_connection(TokioIo::new(connection), answer));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = self.is_enough() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(peer = %address, %error, cause, "a connection ended badly");
        }
    }

    /// Resolves when a connection that begins now is old, or the server stops.
    async fn is_enough(&self) {
        tokio::select! {
            () = tokio::time::sleep(jittered(self.limits.max_connection_age)) => {}
            () = self.stop.cancelled() => {}
        }
    }
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

/// Returns the age, up to [`JITTER`] more or less.
fn jittered(age: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() % u128::from(2 * JITTER + 1);
    let share = u32::try_from(random).unwrap_or(JITTER);
    age / 1000 * (1000 - JITTER + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_moment_are_not_old_in_one_moment() {
        let age = Duration::from_secs(1000);
        let ages: Vec<_> = (0..100).map(|_| jittered(age)).collect();
        let within = Duration::from_secs(900)..=Duration::from_secs(1100);
        assert!(ages.iter().all(|age| within.contains(age)), "{ages:?}");
        assert!(ages.iter().any(|other| *other != ages[0]), "{ages:?}");
    }
}
