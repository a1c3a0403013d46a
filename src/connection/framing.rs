//! How long a request of HTTP/1 says that it is. Where a proxy in front of the service could read a length in another way,
//! the bytes after it could be a request that nobody has sent, so such a request is the last of its connection.
//!
//! hyper refuses most of it: two different `Content-Length`, an encoding that does not end with `chunked`, one in HTTP/1.0.
//! `Content-Length` beside `Transfer-Encoding` it removes, reads the chunks, and ends the connection (RFC 9112, section
//! 6.3); so that cannot be seen here.

use http::header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::body::Body;

const TEXT: &str = "The only Transfer-Encoding is chunked, once.\n";

/// Returns the answer to a request with another encoding than `chunked`, such as `gzip, chunked`, or with two; `None` if
/// it has none of these.
pub(super) fn refusal(headers: &HeaderMap) -> Option<Response<Body>> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = encodings.next()?.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && encodings.next().is_none() {
        return None;
    }
    let mut response = Response::new(Body::new(TEXT.to_owned()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_encoding_is_chunked() {
        for (values, is_refused) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked "], false),
            (&["gzip, chunked"], true),
            (&["chunked, chunked"], true),
            (&["chunked", "chunked"], true),
            (&["identity", "chunked"], true),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(refusal(&headers).is_some(), is_refused, "{values:?}");
        }
    }
}
