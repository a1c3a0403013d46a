//! The head of a request of HTTP becomes the head of a call: what is metadata of a call stays, and what belongs to HTTP
//! goes.

use std::time::Duration;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
    IF_MATCH, IF_NONE_MATCH, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, request};

/// The header with the seconds that a client waits.
pub(super) const REQUEST_TIMEOUT: &str = "x-request-timeout";

/// The same in milliseconds, of Connect.
pub(super) const CONNECT_TIMEOUT: &str = "connect-timeout-ms";

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The most that a timeout of gRPC has digits for.
const MAX_TIMEOUT: u128 = 99_999_999;

/// Headers that say how a body is sent, or what the answer should be like. They are not of the call.
static OF_HTTP: [HeaderName; 13] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    IF_MATCH,
    IF_NONE_MATCH,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Makes a head that of a call of this RPC, with the timeout in it.
pub(super) fn become_call(head: &mut request::Parts, rpc: Uri) {
    let headers = &mut head.headers;
    let timeout = timeout_of(headers);
    for name in &OF_HTTP {
        headers.remove(name);
    }
    let of_protocol = |name: &&HeaderName| {
        let name = name.as_str();
        name == REQUEST_TIMEOUT
            || name.starts_with("connect-")
            || (name.starts_with("grpc-") && name != GRPC_TIMEOUT)
    };
    let names: Vec<_> = headers.keys().filter(of_protocol).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    head.method = Method::POST;
    head.uri = rpc;
}

/// Returns how long a client waits, as gRPC writes it, if it says so in another way.
fn timeout_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = match text(REQUEST_TIMEOUT) {
        Some(seconds) => timeout(seconds)?,
        None => Duration::from_millis(text(CONNECT_TIMEOUT)?.parse().ok()?),
    };
    HeaderValue::from_str(&format!("{}m", asked.as_millis().min(MAX_TIMEOUT))).ok()
}

/// Returns a timeout of seconds: `1.5`, or `1.5s`.
pub(super) fn timeout(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.strip_suffix('s').unwrap_or(text);
    let is_plain = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Duration::try_from_secs_f64(seconds.parse().ok().filter(|_| is_plain)?).ok()
}
