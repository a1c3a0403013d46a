//! Errors as HTTP has them: `google.rpc.Status` as JSON, and the code and headers that belong to it.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use prost_reflect::DynamicMessage;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::json::write::{Style, put_text};
use crate::contract::Word;
use crate::error::DOMAIN;
use crate::pb::{CONTRACT, ErrorReason};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The id of the call, which the log of the server has too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a client that is not known has to show.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"crm\"");

/// Not a code of the standard, but what servers answer to a client that has left.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Status,
    code: StatusCode,
}

impl Refusal {
    /// Of a call. `if_match` says whether the client made it depend on an etag.
    pub(super) fn of_call(status: Status, if_match: bool) -> Self {
        let code = code(&status, if_match);
        Self { status, code }
    }

    /// Of a request that means no RPC.
    pub(super) fn unknown(code: StatusCode, text: &str) -> Self {
        Self::before(code, Code::Unimplemented, ErrorReason::MethodUnknown, text)
    }

    /// Of a request in another form than HTTP here has.
    pub(super) fn malformed(code: StatusCode, text: &str) -> Self {
        Self::before(code, Code::InvalidArgument, ErrorReason::RequestMalformed, text)
    }

    /// Of a request that does not become a call.
    fn before(http: StatusCode, code: Code, reason: ErrorReason, text: &str) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason.word(), DOMAIN, []);
        Self { status: Status::with_error_details(code, text, details), code: http }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut json = Vec::new();
        write(&mut json, &self.status);
        let mut response = Response::new(Body::new(http_body_util::Full::from(json)));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        let details = self.status.get_error_details();
        if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
            // HTTP has whole seconds. None at all would make a client retry at once.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        let id = details.request_info().and_then(|info| HeaderValue::from_str(&info.request_id).ok());
        if let Some(id) = id {
            headers.insert(REQUEST_ID, id);
        }
        if self.code == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

/// Writes `google.rpc.Status` as JSON, with the details.
pub(super) fn write(out: &mut Vec<u8>, status: &Status) {
    let message = CONTRACT.get_message_by_name("google.rpc.Status");
    let message = message.and_then(|message| DynamicMessage::decode(message, status.details()).ok());
    // An error that has no details is none of ours: of HTTP/2 itself.
    match message.filter(|_| !status.details().is_empty()) {
        Some(message) => Style::ERROR.write(out, &message),
        None => {
            out.extend_from_slice(format!("{{\"code\":{},\"message\":", i32::from(status.code())).as_bytes());
            put_text(out, status.message());
            out.push(b'}');
        }
    }
}

/// Returns the code of HTTP, as `google.rpc.Code` says, with two that say more: a request that is too large will not be
/// smaller later, and a client that sent `If-Match` expects the code of that header.
fn code(status: &Status, if_match: bool) -> StatusCode {
    let details = status.get_error_details();
    let is = |reason: ErrorReason| details.error_info().is_some_and(|info| info.reason == reason.word());
    if is(ErrorReason::RequestTooLarge) {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    if if_match && is(ErrorReason::EtagStale) {
        return StatusCode::PRECONDITION_FAILED;
    }
    match status.code() {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => {
            StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
