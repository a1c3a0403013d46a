//! Serves each connection in a task, from its acceptance to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::gate::{Gate, Place};
use super::opening::Version;
use super::speak::Protocols;
use super::stream::Connection;
use super::{Listener, Tls, framing, opening};
use crate::metrics::{Metrics, Open};
use crate::settings::ConnectionLimits;

/// How much a connection's maximum age varies, in thousandths of it. So connections that were opened together, as
/// after a restart, do not all reconnect together.
const JITTER: u32 = 100;

/// What all connections share.
struct Server<S> {
    service: S,
    tls: Option<Arc<Tls>>,
    protocols: Protocols,
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
    let protocols = Protocols::new(&limits);
    let server =
        Arc::new(Server { service, tls: listener.tls.clone(), protocols, limits, stop: stop.clone() });
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
            Ok((connection, version)) => self.speak(connection, version, address).await,
            Err(error) => tracing::debug!(peer = %address, "a connection came to nothing: {error}"),
        }
    }

    /// Serves HTTP until the client leaves. If the connection is old or the server stops, it accepts no new calls,
    /// and ends after the calls in progress.
    async fn speak(&self, connection: Connection, version: Version, address: SocketAddr) {
        let certificate = connection.peer_certificate();
        let answer = service_fn(|request: Request<Incoming>| {
            let refusal = (version == Version::Http1).then(|| framing::refusal(request.headers())).flatten();
            let mut request = request.map(Body::new);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            let service = self.service.clone();
            async move {
                match refusal {
                    Some(refusal) => Ok(refusal),
                    None => service.oneshot(request).await,
                }
            }
        });
        let ended = match version {
            Version::Http2 => self.protocols.http2(connection, answer, self.is_enough()).await,
            Version::Http1 => self.protocols.http1(connection, answer, self.is_enough()).await,
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
