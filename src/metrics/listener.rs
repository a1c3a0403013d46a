//! The endpoint for Prometheus: `GET /metrics` on an address of its own, and nothing else.
//!
//! It is for the operator's machines, so it has neither TLS nor credentials, and its metrics contain no tenants and
//! none of their data. Still it is limited in connections, seconds and bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// The maximum number of connections: two Prometheus servers, and a person with curl. One more is closed at once.
const CONNECTIONS: usize = 8;

/// How long a client may take to send its request, and then to read the answer, together. Prometheus itself gives up
/// after ten seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum bytes of a request with its headers: the least that hyper allows. Prometheus sends some 300.
const REQUEST_BYTES: usize = 8 << 10;

/// The maximum number of headers of a request.
const HEADERS: usize = 32;

/// The pause if a connection cannot be accepted for lack of files.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers scrapes until `stop`.
pub async fn serve(listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    serve_within(PATIENCE, listener, metrics, stop).await;
}

async fn serve_within(patience: Duration, listener: TcpListener, metrics: Metrics, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((tcp, _)), Ok(place)) => {
                let metrics = metrics.clone();
                connections.spawn(async move {
                    answer(patience, tcp, metrics).await;
                    drop(place);
                });
            }
            (Ok((_, peer)), Err(_)) => tracing::debug!(%peer, "a scrape was refused: too many at once"),
            (Err(error), _) => {
                tracing::debug!(%error, "a scrape cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one request, and closes.
async fn answer(patience: Duration, tcp: TcpStream, metrics: Metrics) {
    let service = service_fn(|request| {
        let metrics = metrics.clone();
        async move { Ok::<_, Infallible>(respond(&request, metrics).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(tcp), service);
    match tokio::time::timeout(patience, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a scrape came to nothing"),
        Err(_) => tracing::debug!("a scrape took too long"),
    }
}

async fn respond(request: &Request<Incoming>, metrics: Metrics) -> Response<Full<Bytes>> {
    let reply = |status, content_type, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    };
    if request.uri().path() != "/metrics" {
        return reply(StatusCode::NOT_FOUND, PLAIN, "There is only /metrics here.\n".to_owned());
    }
    if request.method() != Method::GET {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Use GET.\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    // It takes some milliseconds, so it runs on a thread that serves no calls.
    match tokio::task::spawn_blocking(move || metrics.scrape()).await {
        Ok(scrape) => reply(StatusCode::OK, OPEN_METRICS, scrape),
        Err(_) => {
            reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "The scrape failed; see the log.\n".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Longer than any step here takes.
    const LIMIT: Duration = Duration::from_secs(20);

    struct Served {
        address: SocketAddr,
        _server: JoinSet<()>,
    }

    async fn served(patience: Duration) -> Served {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(serve_within(patience, listener, Metrics::default(), CancellationToken::new()));
        Served { address, _server: server }
    }

    impl Served {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("it listens")
        }

        /// Sends a request, and returns the answer until the end of the connection.
        async fn ask(&self, request: &str) -> String {
            let mut tcp = self.connect().await;
            tcp.write_all(request.as_bytes()).await.expect("room to write");
            rest(&mut tcp).await
        }
    }

    /// Reads until the end. A connection may end with a reset if it had unread bytes.
    async fn rest(tcp: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(LIMIT, tcp.read_to_end(&mut bytes)).await;
        let _ = ended.expect("an end");
        String::from_utf8(bytes).expect("text")
    }

    #[tokio::test]
    async fn there_is_nothing_but_metrics() {
        let served = served(LIMIT).await;
        let scrape = served.ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(scrape.starts_with("HTTP/1.1 200 "), "{scrape}");
        assert!(scrape.contains("application/openmetrics-text; version=1.0.0"), "{scrape}");
        assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", "405"),
        ] {
            let answer = served.ask(request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(2 * REQUEST_BYTES));
        let answer = served.ask(&long).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        let answer = served.ask(&many).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }

    #[tokio::test]
    async fn so_many_connections_and_no_more_and_none_stays() {
        let served = served(Duration::from_millis(500)).await;
        let began = Instant::now();
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(served.connect().await);
        }
        // One client is in the middle of a request.
        idle[0].write_all(b"GET /met").await.expect("room to write");
        assert_eq!(served.ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await, "", "no room");
        for tcp in &mut idle {
            rest(tcp).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(400), "they had their time");
        let scrape = served.ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(scrape.starts_with("HTTP/1.1 200 "), "there is room again: {scrape}");
    }
}
