//! MCP over HTTP: who sends a request is known before its body is read.

mod hosts;
mod refusal;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tonic::body::Body;

use self::hosts::Hosts;
use self::refusal::Refusal;
use super::calls::{Calls, Passed};
use super::handler::{Agent, Handler};
use super::protected_resource::ProtectedResource;
use crate::rpc::layer::CallLayer;
use crate::settings::McpSettings;

/// The path of MCP.
pub const PATH: &str = "/mcp";

/// The media types of the protocol. Answers are always the first, but the protocol wants clients to take both.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Serves MCP over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    layer: CallLayer,
    hosts: Hosts,
    resource: Option<ProtectedResource>,
    max_bytes: usize,
    service: StreamableHttpService<Handler, NeverSessionManager>,
}

impl Door {
    /// Creates the door to tools that call through `calls`, which must be behind `layer`. Requests have at most
    /// `max_bytes`. `anyone` says that callers need not prove who they are.
    pub fn new(
        layer: CallLayer,
        calls: Calls,
        settings: &McpSettings,
        anyone: bool,
        resource: Option<ProtectedResource>,
        max_bytes: usize,
    ) -> Self {
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
        let hosts = Hosts::new(settings, anyone);
        Self(Arc::new(Shared { layer, hosts, resource, max_bytes, service }))
    }

    /// Answers a request for [`PATH`].
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let answered = self.0.admit_and_answer(&head, body).await;
        answered.unwrap_or_else(|refusal| refusal.response(self.0.resource.as_ref(), &head))
    }
}

impl Shared {
    async fn admit_and_answer(&self, head: &request::Parts, body: Body) -> Result<Response<Body>, Refusal> {
        if head.method != Method::POST {
            return Err(Refusal::method());
        }
        self.hosts.check(head)?;
        let envelope = self.layer.admit_envelope(head).await?;
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
        // The envelope has its place until here: its answer is in memory.
        drop(envelope);
        if response.status() == http::StatusCode::UNSUPPORTED_MEDIA_TYPE {
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

/// Whether the body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
