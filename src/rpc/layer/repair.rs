//! Rewrites errors that tonic made before a handler ran in the contract's terms, and adds the
//! request id to all errors.

use http::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::contract::Word;
use crate::error::{self, DOMAIN, TOO_LATE};
use crate::pb::ErrorReason;

/// Completes an error that ended a call. Other answers stay as they are.
pub(super) fn response(response: Response<Body>, id: Uuid) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => complete(&status, id).into_http(),
        _ => response,
    }
}

/// Completes an error that ended a stream.
pub(super) fn trailers(trailers: HeaderMap, id: Uuid) -> HeaderMap {
    let Some(status) = Status::from_header_map(&trailers).filter(|status| status.code() != Code::Ok) else {
        return trailers;
    };
    let mut repaired = HeaderMap::new();
    match complete(&status, id).add_header(&mut repaired) {
        Ok(()) => repaired,
        Err(_) => trailers,
    }
}

pub(crate) fn complete(status: &Status, id: Uuid) -> Status {
    let mut details = status.get_error_details();
    let (code, message) = match details.error_info() {
        Some(_) => (status.code(), status.message().to_owned()),
        None => {
            let (code, reason, message) = translate(status);
            details = ErrorDetails::new();
            details.set_error_info(reason.word(), DOMAIN, []);
            (code, message)
        }
    };
    details.set_request_info(id.to_string(), "");
    error::status(code, &message, details, status.metadata())
}

/// tonic's text for a unary call without a message.
const NO_MESSAGE: &str = "Missing request message";

/// Returns the limit that tonic names if a message is too large: "… the limit is: 1048576 bytes".
fn limit(text: &str) -> Option<&str> {
    let number = text.rsplit("limit is: ").next()?;
    let digits = number.find(|char: char| !char.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits).filter(|digits| !digits.is_empty())
}

/// Translates an error without our details. It comes from tonic, and is about bytes that never
/// became a request.
fn translate(status: &Status) -> (Code, ErrorReason, String) {
    let text = status.message();
    match status.code() {
        Code::Unimplemented if text.is_empty() => (
            Code::Unimplemented,
            ErrorReason::MethodUnknown,
            "there is no such service or RPC; reflection lists those that there are".to_owned(),
        ),
        Code::Unimplemented => (Code::Unimplemented, ErrorReason::RequestMalformed, text.to_owned()),
        Code::OutOfRange | Code::ResourceExhausted => (
            Code::ResourceExhausted,
            ErrorReason::RequestTooLarge,
            match limit(text) {
                Some(limit) => {
                    format!("the request is larger than {limit} bytes, which the server takes at most; send less at once")
                }
                None => "the request is larger than the server takes; send less at once".to_owned(),
            },
        ),
        Code::Cancelled | Code::DeadlineExceeded => (
            Code::DeadlineExceeded,
            ErrorReason::DeadlineExceeded,
            TOO_LATE.to_owned(),
        ),
        Code::Internal if text.starts_with(NO_MESSAGE) => (
            Code::InvalidArgument,
            ErrorReason::RequestMalformed,
            "the call has no message; send one, empty if it has nothing to say".to_owned(),
        ),
        Code::Internal | Code::InvalidArgument | Code::Unknown => (
            Code::InvalidArgument,
            ErrorReason::RequestMalformed,
            "the request is not a gRPC message: each has a flag of one byte and a length of four before it; make \
             the client from the server's protos"
                .to_owned(),
        ),
        code => (code, ErrorReason::Internal, text.to_owned()),
    }
}
