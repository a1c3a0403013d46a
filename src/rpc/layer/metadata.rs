//! How much metadata a call may have.
//!
//! HTTP/2 accepts far more than is allowed here (`connection::serve`), so that a call with too much is refused by a
//! gRPC error on its own stream. A limit of HTTP/2 alone would answer with an HTTP status, which gRPC clients show as
//! UNKNOWN, or end the connection with every other call on it.

use http::HeaderMap;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::contract::Word;
use crate::error::DOMAIN;
use crate::pb::ErrorReason;

/// The maximum bytes of names and values of a call's metadata: 16 KiB for the caller, whose token may have 8 KiB, and
/// 1 KiB for what gRPC clients add to every call.
pub(super) const MAX_BYTES: usize = (16 << 10) + (1 << 10);

/// Refuses a call with more metadata than [`MAX_BYTES`].
///
/// # Errors
///
/// RESOURCE_EXHAUSTED / REQUEST_TOO_LARGE, with the limit in words and as `limit_bytes`.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Status> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(
        ErrorReason::RequestTooLarge.word(),
        DOMAIN,
        [("limit_bytes".to_owned(), MAX_BYTES.to_string())],
    );
    let message = format!(
        "the metadata of the call has {bytes} bytes, names and values together, of at most {MAX_BYTES}; \
         send less metadata, or a shorter token"
    );
    Err(Status::with_error_details(tonic::Code::ResourceExhausted, message, details))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_and_values_count_and_the_limit_itself_is_taken() {
        let mut headers = HeaderMap::new();
        headers.insert("ab", HeaderValue::from_bytes(&vec![b'x'; MAX_BYTES - 2]).expect("a value"));
        check(&headers).expect("as much as there may be");
        headers.append("c", HeaderValue::from_static(""));
        let refused = check(&headers).expect_err("one byte more");
        assert!(refused.message().contains(&MAX_BYTES.to_string()), "{refused:?}");
    }
}
