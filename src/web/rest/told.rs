//! A stream of answers, as events (SSE) or as lines of JSON (NDJSON). It is made as the client reads: what is not read
//! stays with the call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body::Frame;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::answer::ended;
use super::asked::Wanted;
use crate::web::frames::Frames;
use crate::web::json::write::Style;
use crate::web::refusal::{self, Refusal};

/// How long nothing is sent at most: less than the minute after which proxies give a connection up.
const BEAT: Duration = Duration::from_secs(20);

/// A line of events that means nothing.
const COMMENT: &[u8] = b":\n\n";

/// The first line of events: how soon a browser comes back after a lost connection, in milliseconds. Its own default is
/// some seconds, in which a reader would see nothing.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// The field of an event that says where to go on after it.
const TOKEN: &str = "resume_token";

/// Returns the answer to a call with a stream of answers.
pub(super) fn stream(response: Response<Body>, wanted: &Wanted) -> Response<Body> {
    if let Err(status) = ended(response.headers()) {
        return Refusal::of_call(status, wanted.if_match).into_response();
    }
    let body = Told {
        call: response.into_body(),
        frames: Frames::default(),
        output: wanted.output.clone(),
        beat: (!wanted.lines).then(|| Box::pin(tokio::time::sleep(BEAT))),
        state: State::New,
    };
    let kind = if wanted.lines { "application/x-ndjson" } else { "text/event-stream" };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx otherwise collects an answer before it sends some of it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Ended,
}

/// The body of a stream of answers.
struct Told {
    call: Body,
    frames: Frames,
    output: MessageDescriptor,
    /// When something must be sent; `None` for lines, which have no comments.
    beat: Option<Pin<Box<Sleep>>>,
    state: State,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.state == State::Ended {
            return Poll::Ready(None);
        }
        if std::mem::replace(&mut this.state, State::Open) == State::New && this.beat.is_some() {
            return sent(RETRY.to_vec());
        }
        loop {
            let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut this.call), context) else {
                return this.poll_beat(context);
            };
            let status = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.frames.push(&data);
                    let chunk = this.chunk();
                    if chunk.is_empty() {
                        continue;
                    }
                    this.rest();
                    return sent(chunk);
                }
                Some(Ok(Err(frame))) => frame.trailers_ref().map_or(Ok(()), ended),
                Some(Err(status)) => Err(status),
                None => Ok(()),
            };
            this.state = State::Ended;
            return match status {
                Ok(()) => Poll::Ready(None),
                Err(status) => sent(this.error(&status)),
            };
        }
    }
}

fn sent(chunk: Vec<u8>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
}

impl Told {
    /// Returns the text of all whole messages.
    fn chunk(&mut self) -> Vec<u8> {
        let mut chunk = Vec::new();
        while let Some(bytes) = self.frames.next() {
            // The service made these bytes.
            let Ok(message) = DynamicMessage::decode(self.output.clone(), bytes.freeze()) else { continue };
            if self.beat.is_some() {
                if let Some(token) = token(&message) {
                    chunk.extend_from_slice(format!("id: {token}\n").as_bytes());
                }
                chunk.extend_from_slice(b"data: ");
            }
            Style::REST.write(&mut chunk, &message);
            chunk.extend_from_slice(if self.beat.is_some() { b"\n\n" } else { b"\n" });
        }
        chunk
    }

    /// Returns the text of an error that ended the stream.
    fn error(&self, status: &Status) -> Vec<u8> {
        let (before, after) =
            if self.beat.is_some() { ("event: error\ndata: ", "\n\n") } else { ("{\"error\":", "}\n") };
        let mut chunk = before.as_bytes().to_vec();
        refusal::write(&mut chunk, status);
        chunk.extend_from_slice(after.as_bytes());
        chunk
    }

    /// Waits for the moment at which something must be sent.
    fn poll_beat(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(beat) = &mut self.beat else { return Poll::Pending };
        if beat.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.rest();
        // Whoever takes a chunk asks again, and so begins to wait for the new moment.
        sent(COMMENT.to_vec())
    }

    /// Begins to wait anew.
    fn rest(&mut self) {
        if let Some(beat) = &mut self.beat {
            beat.as_mut().reset(Instant::now() + BEAT);
        }
    }
}

/// Returns where to go on after a message: its own token, or that of the event in it.
fn token(message: &DynamicMessage) -> Option<String> {
    let of = |message: &DynamicMessage| {
        let token = message.get_field_by_name(TOKEN)?;
        token.as_str().filter(|token| !token.is_empty()).map(str::to_owned)
    };
    of(message).or_else(|| message.fields().find_map(|(_, value)| value.as_message().and_then(of)))
}
