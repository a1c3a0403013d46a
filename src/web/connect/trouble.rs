//! Errors as Connect has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::pb::CONTRACT;
use crate::web::json::write::{Style, put_text};
use crate::web::refusal::{JSON, Refusal};

/// Answers with an error.
pub(super) fn response(status: &Status) -> Response<Body> {
    let mut response = Refusal::of_call(status.clone(), false).into_response();
    // Connect has its own words, and no codes of HTTP for what is too large.
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    let mut json = Vec::new();
    write(&mut json, status);
    *response.body_mut() = Body::new(http_body_util::Full::<bytes::Bytes>::from(json));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Writes an error.
pub(super) fn write(out: &mut Vec<u8>, status: &Status) {
    out.extend_from_slice(b"{\"code\":");
    put_text(out, word(status.code()));
    out.extend_from_slice(b",\"message\":");
    put_text(out, status.message());
    let details = pb::Status::decode(status.details()).unwrap_or_default().details;
    out.extend_from_slice(b",\"details\":[");
    for (index, detail) in details.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        out.extend_from_slice(b"{\"type\":");
        put_text(out, name);
        out.extend_from_slice(b",\"value\":");
        put_text(out, &STANDARD_NO_PAD.encode(&detail.value));
        let message = CONTRACT.get_message_by_name(name);
        let message =
            message.and_then(|message| DynamicMessage::decode(message, detail.value.as_slice()).ok());
        if let Some(message) = message {
            out.extend_from_slice(b",\"debug\":");
            Style::CONNECT.write(out, &message);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
