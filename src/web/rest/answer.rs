//! The answer of a call with one message, as JSON.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use prost_reflect::{DynamicMessage, Value};
use tonic::body::Body;
use tonic::{Code, Status};

use super::asked::Wanted;
use crate::error::Error;
use crate::web::frames::Frames;
use crate::web::json::write::Style;
use crate::web::refusal::{JSON, Refusal};

/// Who may keep an answer: the client, which asks whether it is still the same. It is of one tenant, and no cache in
/// between knows tenants.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What else than the path an answer depends on.
const DEPENDS: HeaderValue = HeaderValue::from_static("authorization, x-tenant-id");

/// Above this many bytes, an answer is written on a thread that serves no calls: a page of two mebibytes takes some tens of
/// milliseconds.
const LARGE: usize = 64 << 10;

/// Returns the answer to a call.
pub(super) async fn unary(response: Response<Body>, wanted: Wanted) -> Response<Body> {
    let if_match = wanted.if_match;
    let answered = async {
        let (bytes, call) = message(response).await?;
        Ok(answered(written(bytes, wanted).await?, call))
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

/// Returns the bytes of the message of a response, and the body that had them.
async fn message(response: Response<Body>) -> Result<(Bytes, Body), Status> {
    ended(response.headers())?;
    let (mut body, mut frames) = (response.into_body(), Frames::default());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => frames.push(&data),
            Err(frame) => ended(frame.trailers_ref().unwrap_or(&HeaderMap::new()))?,
        }
    }
    let bytes = frames.next().ok_or_else(|| Error::internal("a call had no answer"))?;
    Ok((bytes.freeze(), body))
}

/// Returns the error that headers or trailers tell, if they tell one.
pub(super) fn ended(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// An answer in words of HTTP.
struct Written {
    /// `None` if the client has it.
    json: Option<Vec<u8>>,
    etag: Option<HeaderValue>,
}

async fn written(bytes: Bytes, wanted: Wanted) -> Result<Written, Status> {
    if bytes.len() <= LARGE {
        return write(bytes, &wanted);
    }
    let writing = tokio::task::spawn_blocking(move || write(bytes, &wanted));
    writing.await.map_err(|_| Error::internal("an answer could not be written"))?
}

fn write(bytes: Bytes, wanted: &Wanted) -> Result<Written, Status> {
    let message = DynamicMessage::decode(wanted.output.clone(), bytes).map_err(Error::internal)?;
    let etag = etag(&message);
    let is_had =
        is_unmodified(&message) || etag.as_ref().is_some_and(|etag| is_among(etag, wanted.has.as_ref()));
    let json = (!is_had).then(|| {
        let mut json = Vec::new();
        Style::REST.write(&mut json, &message);
        json
    });
    Ok(Written { json, etag })
}

fn answered(Written { json, etag }: Written, call: Body) -> Response<Body> {
    let mut response = match json {
        Some(json) => {
            let mut response = Response::new(Body::new(Taken { json: Some(json.into()), _call: call }));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
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

/// The body of an answer. The call has its place until the client has taken it, as in gRPC.
struct Taken {
    json: Option<Bytes>,
    _call: Body,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.json.take().map(|json| Ok(Frame::data(json))))
    }

    fn is_end_stream(&self) -> bool {
        self.json.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.json.as_ref().map_or(0, |json| json.len() as u64))
    }
}
