//! Which web pages may call (CORS). A browser asks before it lets a page of another origin send a call, and again before
//! it lets the page read the answer. Without the setting, no such page may.
//!
//! Callers prove who they are by headers that a page sets itself, and not by cookies. So a page that may call has no
//! rights but those of the credential it has.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::mcp::Entrance;
use crate::settings::{ANY_ORIGIN, WebSettings};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// How long a browser may keep the answer to its question, in seconds: as long as the strictest of them keeps any.
const KEPT: HeaderValue = HeaderValue::from_static("7200");

/// The headers of answers that a page may read. Browsers that know `*` add the trailers of Connect, whose names are not
/// known here.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding, content-encoding, accept-encoding, connect-accept-encoding, etag, retry-after, \
     x-request-id, x-read-position, www-authenticate, allow, accept-post, \
     mcp-session-id, mcp-protocol-version, *",
);

/// An answer that is being made.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The origins whose pages may call. As a layer, it answers the questions of browsers, and marks the answers to pages.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Arc<[String]>,
    /// The door for agents, which has origins of its own.
    agents: Arc<Entrance>,
}

impl Cors {
    /// Takes the settings, and the door for agents.
    pub fn new(settings: &WebSettings, agents: &Entrance) -> Self {
        Self { origins: settings.cors_origins.as_slice().into(), agents: Arc::new(agents.clone()) }
    }

    /// Returns the origin that an answer names, if the page of this request may read it.
    fn allowed(&self, request: &Request<Body>) -> Option<HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        if let Some(admits) = self.agents.admits_page(request.uri(), request.headers()) {
            return admits.then(|| origin.clone());
        }
        if self.origins.iter().any(|allowed| allowed == ANY_ORIGIN) {
            return Some(HeaderValue::from_static(ANY_ORIGIN));
        }
        self.origins.iter().any(|allowed| origin == allowed.as_str()).then(|| origin.clone())
    }
}

impl<S> Layer<S> for Cors {
    type Service = Crossing<S>;

    fn layer(&self, inner: S) -> Crossing<S> {
        Crossing { cors: self.clone(), inner }
    }
}

/// A service that pages of other origins may call.
#[derive(Debug, Clone)]
pub struct Crossing<S> {
    cors: Cors,
    inner: S,
}

impl<S> Service<Request<Body>> for Crossing<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let Some(origin) = self.cors.allowed(&request) else { return self.inner.call(request) };
        if is_question(&request) {
            return Box::pin(std::future::ready(Ok(permission(request.headers(), origin))));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            allow(response.headers_mut(), origin);
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            Ok(response)
        })
    }
}

/// Whether a browser asks if a page may send a request.
fn is_question(request: &Request<Body>) -> bool {
    *request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Allows a page to send what it wants to send: any header may be metadata of a call.
fn permission(asked: &HeaderMap, origin: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(headers, origin);
    headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, KEPT);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
}
