//! MCP over HTTP: who sends a request is known before its body is read.

mod hosts;
mod refusal;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};

use self::hosts::Hosts;
use self::refusal::Refusal;
use super::PATH;
use super::calls::{Calls, Passed};
use super::handler::{Agent, Handler};
use super::protected_resource::{METADATA_PATHS, ProtectedResource};
use crate::auth::{AuthConfig, Mode};
use crate::rpc::layer::{CallLayer, Envelope};
use crate::settings::McpSettings;

/// The media types of the protocol. Answers are always the first, but the protocol wants clients to take both.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// The id of a request, which the log of the server has too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer that is being made.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What the settings say about the door.
#[derive(Debug, Clone)]
pub struct Entrance {
    hosts: Hosts,
    resource: Option<ProtectedResource>,
}

impl Entrance {
    /// Takes the settings. `is_secure` says whether connections are encrypted.
    pub fn new(settings: &McpSettings, auth: &AuthConfig, is_secure: bool) -> Self {
        let hosts = Hosts::new(settings, auth.takes(Mode::Insecure));
        let issuer = auth.jwt_issuer.as_deref().filter(|_| auth.takes(Mode::Jwt));
        let resource =
            issuer.and_then(|issuer| ProtectedResource::new(issuer, settings.mcp_url.as_deref(), is_secure));
        Self { hosts, resource }
    }

    /// Whether a page may read what is answered to a request with this URI and these headers; `None` if the request is not
    /// for agents. The metadata is for everyone.
    pub fn admits_page(&self, uri: &Uri, headers: &HeaderMap) -> Option<bool> {
        match uri.path() {
            PATH => Some(self.hosts.check(uri, headers).is_ok()),
            path => self.has_metadata(path).then_some(true),
        }
    }

    fn has_metadata(&self, path: &str) -> bool {
        self.resource.is_some() && METADATA_PATHS.contains(&path)
    }
}

/// Serves MCP over HTTP. As a layer, it takes the requests for its paths, and leaves all others to the service within.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    layer: CallLayer,
    entrance: Entrance,
    max_bytes: usize,
    service: StreamableHttpService<Handler, NeverSessionManager>,
}

impl Door {
    /// Creates the door to tools that call through `calls`, which must be behind `layer`. Requests have at most
    /// `max_bytes`.
    pub fn new(layer: CallLayer, calls: Calls, entrance: Entrance, max_bytes: usize) -> Self {
        // Hosts, origins and sizes are checked here, with errors that say what to set.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_keep_alive(None)
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(max_bytes);
        let handler = Handler::over_http(calls);
        let sessions = Arc::new(NeverSessionManager::default());
        let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        Self(Arc::new(Shared { layer, entrance, max_bytes, service }))
    }

    /// Whether a request is for this door.
    fn takes<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        path == PATH || self.0.entrance.has_metadata(path)
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let resource = self.0.entrance.resource.as_ref();
        if let Some(resource) = resource.filter(|_| head.uri.path() != PATH) {
            return resource.metadata(&head);
        }
        let answered = self.0.admit_and_answer(&head, body).await;
        answered.unwrap_or_else(|refusal| refusal.response(resource, &head))
    }
}

impl<S> Layer<S> for Door {
    type Service = Doorway<S>;

    fn layer(&self, inner: S) -> Doorway<S> {
        Doorway { door: self.clone(), inner }
    }
}

/// A service with MCP beside it.
#[derive(Clone)]
pub struct Doorway<S> {
    door: Door,
    inner: S,
}

impl<S> Service<Request<Body>> for Doorway<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, poller: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(poller)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if !self.door.takes(&request) {
            return self.inner.call(request);
        }
        let door = self.door.clone();
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}

impl Shared {
    async fn admit_and_answer(&self, head: &request::Parts, body: Body) -> Result<Response<Body>, Refusal> {
        if head.method != Method::POST {
            return Err(Refusal::method());
        }
        self.entrance.hosts.check(&head.uri, &head.headers)?;
        let envelope = self.layer.admit_envelope(head).await?;
        let mut answered = self.answer_admitted(&envelope, head, body).await;
        if let Ok(response) = &mut answered {
            response.headers_mut().insert(REQUEST_ID, envelope.request_id());
        }
        // It has its place until here: its answer is in memory.
        envelope.end(code(answered.as_ref().map_or_else(Refusal::status, Response::status)));
        answered
    }

    async fn answer_admitted(
        &self,
        envelope: &Envelope,
        head: &request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        if !is_json(&head.headers) {
            return Err(Refusal::content_type());
        }
        let message = self.read(body, envelope.until()).await?;
        let passed = Passed::of(&head.headers, head.extensions.clone(), envelope.until());
        let agent = Agent { passed, scopes: envelope.principal().scopes() };
        let mut request = Request::new(Full::new(message));
        request.method_mut().clone_from(&head.method);
        request.uri_mut().clone_from(&head.uri);
        request.headers_mut().clone_from(&head.headers);
        request.headers_mut().insert(header::ACCEPT, BOTH);
        request.extensions_mut().insert(Arc::new(agent));
        let response = self.service.handle(request).await;
        if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // It has the right media type, so it is JSON that is no message of the protocol.
            return Err(Refusal::no_message());
        }
        Ok(response.map(Body::new))
    }

    /// Reads a body that is one JSON object.
    async fn read(&self, body: Body, until: Instant) -> Result<Bytes, Refusal> {
        let reading = Limited::new(body, self.max_bytes).collect();
        let read = tokio::time::timeout_at(until.into(), reading).await.map_err(|_| Refusal::slow())?;
        let message = match read {
            Ok(read) => read.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::too_large(self.max_bytes)),
            Err(_) => return Err(Refusal::broken()),
        };
        match serde_json::from_slice(&message) {
            Ok(Value::Object(_)) => Ok(message),
            Ok(Value::Array(_)) => Err(Refusal::batch()),
            Ok(_) => Err(Refusal::no_message()),
            Err(error) => Err(Refusal::no_json(&error)),
        }
    }
}

/// Returns how a request ended, as metrics and the log write it.
fn code(status: StatusCode) -> Code {
    match status {
        status if status.is_success() => Code::Ok,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// Whether the body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
