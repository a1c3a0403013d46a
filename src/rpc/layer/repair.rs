//! Errors that tonic made before a handler ran, put into the contract's words; and the request id
//! on all of them.

use http::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::error::DOMAIN;
use crate::pb::ErrorReason;
use crate::rpc::words::Word;

/// Makes an error that ended a call complete. Answers that are no error stay as they are.
pub(super) fn response(response: Response<Body>, id: Uuid) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => complete(&status, id).into_http(),
        _ => response,
    }
}

/// Makes an error that ended a stream complete.
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

fn complete(status: &Status, id: Uuid) -> Status {
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
    Status::with_error_details_and_metadata(code, message, details, status.metadata().clone())
}

/// An error without our details comes from tonic, and is about bytes that never became a request.
fn translate(status: &Status) -> (Code, ErrorReason, String) {
    let text = status.message();
    match status.code() {
        Code::Unimplemented if text.is_empty() => (
            Code::Unimplemented,
            ErrorReason::MethodUnknown,
            "no such RPC; reflection lists those that there are".to_owned(),
        ),
        Code::Unimplemented => (Code::Unimplemented, ErrorReason::RequestMalformed, text.to_owned()),
        Code::OutOfRange | Code::ResourceExhausted => (
            Code::ResourceExhausted,
            ErrorReason::RequestTooLarge,
            "the request is larger than the server accepts; send less at once".to_owned(),
        ),
        Code::Cancelled | Code::DeadlineExceeded => (
            Code::DeadlineExceeded,
            ErrorReason::DeadlineExceeded,
            "the call took longer than its deadline; retry with the same key and more time".to_owned(),
        ),
        Code::Internal | Code::InvalidArgument | Code::Unknown => (
            Code::InvalidArgument,
            ErrorReason::RequestMalformed,
            "the bytes of the request are not the message that this RPC takes".to_owned(),
        ),
        code => (code, ErrorReason::Internal, text.to_owned()),
    }
}
