//! Bodies of calls that are made of bodies of HTTP when they are asked for, which is after the layer of calls knows the
//! caller and has a place for the call. Nothing of a stranger's body is decoded, nor even read.
//!
//! What is wrong with a body is its error. tonic gives it to the layer as it is, so a client gets it with all details.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::frames;
use super::gzip::Coding;
use super::limits::too_large;
use crate::error::Error;
use crate::pb::ErrorReason;

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

/// How a body, or a line of it, becomes the bytes of a message.
pub(super) trait Make: Send + Unpin + 'static {
    /// Makes the message.
    ///
    /// # Errors
    ///
    /// All that is wrong with the request.
    fn message(&self, body: &[u8]) -> Result<Vec<u8>, Status>;
}

/// The body of a call with one message.
pub(super) struct Whole<M> {
    body: Body,
    limit: usize,
    coding: Coding,
    read: BytesMut,
    /// `None` once the message was given out.
    make: Option<M>,
}

impl<M: Make> Whole<M> {
    /// Returns the body of a call whose message is made of this body, of up to `limit` bytes, coded or not.
    pub(super) fn new(body: Body, limit: usize, coding: Coding, make: M) -> Self {
        Self { body, limit, coding, read: BytesMut::new(), make: Some(make) }
    }
}

impl<M: Make> http_body::Body for Whole<M> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.make.is_none() {
            return Poll::Ready(None);
        }
        while let Some(part) = ready!(poll_part(&mut this.body, context)) {
            let room = this.limit.saturating_sub(this.read.len());
            match part {
                Ok(part) if part.len() <= room => this.read.extend_from_slice(&part),
                Ok(_) => return this.end_with(too_large(this.limit)),
                Err(status) => return this.end_with(status),
            }
        }
        let Some(make) = this.make.take() else { return Poll::Ready(None) };
        let message = this.coding.decode(&this.read, this.limit).and_then(|body| make.message(&body));
        this.read = BytesMut::new();
        Poll::Ready(Some(message.map(|message| Frame::data(frames::frame(&message)))))
    }
}

impl<M: Make> Whole<M> {
    fn end_with(&mut self, status: Status) -> Polled {
        self.make = None;
        Poll::Ready(Some(Err(status)))
    }
}

/// The body of a call with a message in each line.
pub(super) struct Lines<M> {
    body: Body,
    limit: usize,
    read: BytesMut,
    /// How much of what was read has no end of a line.
    searched: usize,
    make: M,
    /// Whether there is nothing more to read.
    ended: bool,
}

impl<M: Make> Lines<M> {
    pub(super) fn new(body: Body, limit: usize, make: M) -> Self {
        Self { body, limit, read: BytesMut::new(), searched: 0, make, ended: false }
    }

    /// Returns the next whole line; at the end, what is left.
    fn line(&mut self) -> Option<BytesMut> {
        let unsearched = self.read.get(self.searched..).unwrap_or_default();
        match unsearched.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.read.split_to(self.searched + end);
                self.read.advance(1);
                self.searched = 0;
                Some(line)
            }
            None if self.ended && !self.read.is_empty() => Some(self.read.split()),
            None => {
                self.searched = self.read.len();
                None
            }
        }
    }

    fn end_with(&mut self, status: Status) -> Polled {
        (self.ended, self.read) = (true, BytesMut::new());
        Poll::Ready(Some(Err(status)))
    }
}

impl<M: Make> http_body::Body for Lines<M> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        loop {
            while let Some(line) = this.line() {
                let Some(json) = json(&line) else { continue };
                return match this.make.message(json) {
                    Ok(message) => Poll::Ready(Some(Ok(Frame::data(frames::frame(&message))))),
                    Err(status) => this.end_with(status),
                };
            }
            if this.ended {
                return Poll::Ready(None);
            }
            match ready!(poll_part(&mut this.body, context)) {
                Some(Ok(part)) => this.read.extend_from_slice(&part),
                Some(Err(status)) => return this.end_with(status),
                None => this.ended = true,
            }
            // The limit is of a line. Whole lines are given out before more is read.
            if this.read.len() > this.limit && !this.read.contains(&b'\n') {
                return this.end_with(too_large(this.limit));
            }
        }
    }
}

/// Returns the JSON of a line; `None` if it has none. A producer may send the lines of events (SSE) as it gets them from
/// a model: those with data count.
fn json(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"data:").map_or(line, <[u8]>::trim_ascii);
    let is_of_events = [&b":"[..], b"event:", b"id:", b"retry:"].iter().any(|start| line.starts_with(start));
    (!line.is_empty() && !is_of_events).then_some(line)
}

/// Returns the next part of a body. Its trailers mean nothing here.
pub(super) fn poll_part(body: &mut Body, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
    loop {
        match ready!(http_body::Body::poll_frame(Pin::new(&mut *body), context)) {
            Some(Ok(frame)) => {
                if let Ok(part) = frame.into_data() {
                    return Poll::Ready(Some(Ok(part)));
                }
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(cut_off()))),
            None => return Poll::Ready(None),
        }
    }
}

fn cut_off() -> Status {
    let description = "does not end as HTTP says that it would";
    Error::invalid_because(ErrorReason::RequestMalformed, "body", "http", description).into()
}
