//! The answer of a call with one message, as JSON.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use prost_reflect::{DynamicMessage, Value};
use tonic::Status;
use tonic::body::Body;

use super::request::AnswerOptions;
use crate::error::Error;
use crate::web::answers::{Content, message, written};
use crate::web::json::write::Style;
use crate::web::refusal::{JSON, Refusal};

/// Who may keep an answer: the client, which asks whether it is still the same. It is of one tenant, and no cache in
/// between knows tenants.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What else than the path an answer depends on.
const DEPENDS: HeaderValue = HeaderValue::from_static("authorization, x-tenant-id, accept-encoding");

/// Returns the answer to a call.
pub(super) async fn unary(response: Response<Body>, options: AnswerOptions) -> Response<Body> {
    let if_match = options.if_match;
    let answered = async {
        let (bytes, call) = message(response).await?;
        let written = written(bytes.len(), move || write(bytes, &options)).await?;
        Ok(answered(written, call))
    };
    let mut response = match answered.await {
        Ok(response) => response,
        Err(status) => Refusal::of_call(status, if_match).into_response(),
    };
    keep(response.headers_mut());
    response
}

/// Says who may keep an answer.
fn keep(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, KEPT);
    headers.insert(VARY, DEPENDS);
}

/// An answer in words of HTTP.
struct Written {
    /// `None` if the client has it.
    json: Option<Content>,
    etag: Option<HeaderValue>,
}

fn write(bytes: Bytes, options: &AnswerOptions) -> Result<Written, Status> {
    let message = DynamicMessage::decode(options.output.clone(), bytes).map_err(Error::internal)?;
    let etag = etag(&message);
    let is_had = is_unmodified(&message)
        || etag.as_ref().is_some_and(|etag| is_among(etag, options.if_none_match.as_ref()));
    let json = (!is_had).then(|| {
        let mut json = Vec::new();
        Style::REST.write(&mut json, &message);
        Content::new(json.into(), options.takes_gzip)
    });
    Ok(Written { json, etag })
}

fn answered(Written { json, etag }: Written, call: Body) -> Response<Body> {
    let mut response = match json {
        Some(json) => json.into_response(JSON, call),
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
    };
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Returns the etag of an answer: its own, or that of the resource that it has.
fn etag(message: &DynamicMessage) -> Option<HeaderValue> {
    let of = |message: &DynamicMessage| {
        ["etag", "context_etag"].into_iter().find_map(|name| {
            let value = message.get_field_by_name(name)?;
            value.as_str().filter(|etag| !etag.is_empty()).map(|etag| format!("\"{etag}\""))
        })
    };
    let found = of(message).or_else(|| {
        let mut inner = message.fields().filter_map(|(_, value)| value.as_message());
        let only = inner.next().filter(|_| inner.next().is_none())?;
        of(only)
    });
    HeaderValue::from_str(&found?).ok()
}

/// Whether the RPC itself says that the client has the answer.
fn is_unmodified(message: &DynamicMessage) -> bool {
    message.get_field_by_name("not_modified").is_some_and(|value| *value == Value::Bool(true))
}

/// Whether an etag is among those of `If-None-Match`.
fn is_among(etag: &HeaderValue, has: Option<&HeaderValue>) -> bool {
    let (Ok(etag), Some(Ok(has))) = (etag.to_str(), has.map(HeaderValue::to_str)) else { return false };
    has.split(',').map(str::trim).any(|has| has == "*" || has.strip_prefix("W/").unwrap_or(has) == etag)
}
