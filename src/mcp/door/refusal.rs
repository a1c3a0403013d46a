//! Requests that do not reach a tool.

use http::{HeaderValue, Response, StatusCode, header, request};
use serde_json::json;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::contract::{Failure, Word};
use crate::mcp::protected_resource::ProtectedResource;

/// The codes of JSON-RPC.
const NO_JSON: i32 = -32_700;
const NO_REQUEST: i32 = -32_600;
const NOT_ADMITTED: i32 = -32_000;

/// Why a request is refused.
pub(super) struct Refusal {
    status: StatusCode,
    code: i32,
    message: String,
    reason: Option<&'static str>,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), reason: None, retry_after: None }
    }

    pub(super) fn method() -> Self {
        let message = "MCP takes POST alone: this server opens no stream of its own and keeps no session.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, NO_REQUEST, message)
    }

    pub(super) fn host() -> Self {
        let message = "This host is not one of the server's. Its operator names hosts with --mcp-hosts.";
        Self::new(StatusCode::FORBIDDEN, NOT_ADMITTED, message)
    }

    pub(super) fn origin() -> Self {
        let message =
            "Pages of this origin may not use the server. Its operator names origins with --mcp-origins.";
        Self::new(StatusCode::FORBIDDEN, NOT_ADMITTED, message)
    }

    pub(super) fn content_type() -> Self {
        let message = "Send content-type application/json.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_REQUEST, message)
    }

    pub(super) fn too_large(most: usize) -> Self {
        let message = format!("The request has more than {most} bytes; send less at once.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, NO_REQUEST, message)
    }

    pub(super) fn slow() -> Self {
        let message = "The request did not arrive in time; send it again.";
        Self::new(StatusCode::REQUEST_TIMEOUT, NO_REQUEST, message)
    }

    pub(super) fn broken() -> Self {
        let message = "The request broke off; send it again.";
        Self::new(StatusCode::BAD_REQUEST, NO_REQUEST, message)
    }

    pub(super) fn no_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = format!("The body is not JSON: see line {line}, column {column}.");
        Self::new(StatusCode::BAD_REQUEST, NO_JSON, message)
    }

    pub(super) fn batch() -> Self {
        let message = "The body is a batch, which the protocol has no more; send each message by itself.";
        Self::new(StatusCode::BAD_REQUEST, NO_REQUEST, message)
    }

    pub(super) fn no_message() -> Self {
        let message = "The body is not a message of MCP: it needs \"jsonrpc\": \"2.0\", \"method\", and for a request \
                       \"id\", with \"params\" as the method has them.";
        Self::new(StatusCode::BAD_REQUEST, NO_REQUEST, message)
    }

    /// Returns the status of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the response. Without a credential, it says where to get one.
    pub(super) fn response(
        self,
        resource: Option<&ProtectedResource>,
        head: &request::Parts,
    ) -> Response<Body> {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(reason) = self.reason {
            error["data"] = json!({"reason": reason});
        }
        let body = json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string();
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = resource.and_then(|resource| resource.challenge(head));
            let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let failure = Failure::of(&status);
        let http = match status.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::ResourceExhausted if failure.retry_after().is_none() => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after =
            failure.retry_after().map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let reason = failure.reason().map(Word::word);
        Self { reason, retry_after, ..Self::new(http, NOT_ADMITTED, failure.message()) }
    }
}
