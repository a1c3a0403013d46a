//! The first look at a request: its content type and its path say whether it is gRPC, REST, or nothing.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use super::limits::WebLimits;
use super::probes::Probes;
use super::refusal::Refusal;
use super::{connect, pages, rest};

/// What the paths of RPCs begin with: those of the contract, and those of health and reflection.
const RPCS: [&str; 2] = ["/crm.v1.", "/grpc."];

/// What the paths of REST begin with.
const REST: &str = "/api/";

/// An answer that is being made.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Puts the doors of HTTP before a service of gRPC.
#[derive(Debug, Clone)]
pub struct WebLayer {
    /// The limits of the doors.
    pub limits: WebLimits,
    /// What answers the probes.
    pub probes: Probes,
}

impl<S> Layer<S> for WebLayer {
    type Service = Web<S>;

    fn layer(&self, inner: S) -> Web<S> {
        Web { inner, layer: self.clone() }
    }
}

/// A service of gRPC behind the doors of HTTP.
#[derive(Debug, Clone)]
pub struct Web<S> {
    inner: S,
    layer: WebLayer,
}

impl<S> Service<Request<Body>> for Web<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if is_grpc(request.headers()) && request.version() == Version::HTTP_2 {
            return self.inner.call(request);
        }
        let Self { inner, layer } = self.clone();
        Box::pin(async move { Ok(answer(inner, request, layer).await) })
    }
}

async fn answer<S>(inner: S, request: Request<Body>, layer: WebLayer) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
{
    let (path, limits) = (request.uri().path(), layer.limits);
    if is_grpc(request.headers()) {
        return no_grpc_over_http_1();
    }
    if RPCS.iter().any(|rpcs| path.starts_with(rpcs)) {
        if let Some(kind) = connect::Kind::of(&request) {
            return connect::answer(inner, kind, request, limits.request_bytes).await;
        }
        // The layer of calls says what it takes.
        let Ok(response) = inner.oneshot(request).await;
        return response;
    }
    if path.starts_with(REST) {
        return rest::answer(inner, request, limits).await;
    }
    if let Some(answer) = layer.probes.answer(request.method(), path) {
        return answer;
    }
    match pages::find(path) {
        Some(page) => {
            page.answer(request.method(), request.headers()).map(|page| Body::new(Full::from(page)))
        }
        None => nothing(request.method()),
    }
}

/// Whether the client speaks gRPC itself, and not its form for browsers.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], header::HeaderValue::as_bytes);
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| !rest.starts_with(b"-"))
}

fn no_grpc_over_http_1() -> Response<Body> {
    const TEXT: &str =
        "gRPC needs HTTP/2, and this is HTTP/1: use a gRPC client, such as grpcurl, or REST below /api/v1.";
    Refusal::malformed(StatusCode::HTTP_VERSION_NOT_SUPPORTED, TEXT).into_response()
}

fn nothing(method: &Method) -> Response<Body> {
    let text = "there is nothing at this path; REST is below /api/v1, gRPC at the paths of its RPCs";
    let mut response = Refusal::unknown(StatusCode::NOT_FOUND, text).into_response();
    if *method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}
