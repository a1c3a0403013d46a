//! Streams of answers of REST: events (SSE) and lines of JSON (NDJSON).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::body::Body;

use super::request::AnswerOptions;
use crate::web::answers::ended;
use crate::web::json::write::Style;
use crate::web::refusal::{self, Refusal};
use crate::web::stream_body::{KeepAlive, StreamBody, StreamFormat};

/// The field of an event that says where to go on after it.
const TOKEN: &str = "resume_token";

/// Returns the answer to a call with a stream of answers.
pub(super) fn stream(
    response: Response<Body>,
    options: AnswerOptions,
    keep_alive: Duration,
) -> Response<Body> {
    if let Err(status) = ended(response.headers()) {
        return Refusal::of_call(status, options.if_match).into_response();
    }
    let call = response.into_body();
    let (kind, body) = match options.lines {
        true => ("application/x-ndjson", StreamBody::body(call, Lines(options.output))),
        false => ("text/event-stream", StreamBody::body(call, Events { output: options.output, keep_alive })),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx otherwise collects an answer before it sends some of it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Answers of this type as lines.
struct Lines(MessageDescriptor);

impl StreamFormat for Lines {
    const BEGINNING: &'static [u8] = b"";

    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes) {
        if let Some(message) = read(&self.0, bytes) {
            Style::REST.write(chunk, &message);
            chunk.push(b'\n');
        }
    }

    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>) {
        if let Err(status) = end {
            chunk.extend_from_slice(b"{\"error\":");
            refusal::write(chunk, &status);
            chunk.extend_from_slice(b"}\n");
        }
    }
}

/// Answers of this type as events.
struct Events {
    output: MessageDescriptor,
    keep_alive: Duration,
}

impl StreamFormat for Events {
    /// How soon a browser comes back after a lost connection, in milliseconds. Its own default is some seconds, in which
    /// a reader would see nothing.
    const BEGINNING: &'static [u8] = b"retry: 1000\n\n";

    /// A comment, which readers pass over.
    fn keep_alive(&self) -> Option<KeepAlive> {
        Some(KeepAlive { every: self.keep_alive, chunk: b":\n\n" })
    }

    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes) {
        let Some(message) = read(&self.output, bytes) else { return };
        if let Some(token) = token(&message) {
            chunk.extend_from_slice(format!("id: {token}\n").as_bytes());
        }
        chunk.extend_from_slice(b"data: ");
        Style::REST.write(chunk, &message);
        chunk.extend_from_slice(b"\n\n");
    }

    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>) {
        if let Err(status) = end {
            chunk.extend_from_slice(b"event: error\ndata: ");
            refusal::write(chunk, &status);
            chunk.extend_from_slice(b"\n\n");
        }
    }
}

/// Returns the message of these bytes, which the service made.
fn read(output: &MessageDescriptor, bytes: Bytes) -> Option<DynamicMessage> {
    DynamicMessage::decode(output.clone(), bytes).ok()
}

/// Returns where to go on after a message: its own token, or that of the event in it.
fn token(message: &DynamicMessage) -> Option<String> {
    let of = |message: &DynamicMessage| {
        let token = message.get_field_by_name(TOKEN)?;
        token.as_str().filter(|token| !token.is_empty()).map(str::to_owned)
    };
    of(message).or_else(|| message.fields().find_map(|(_, value)| value.as_message().and_then(of)))
}
