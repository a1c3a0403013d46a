//! A stream of answers, in a format of HTTP. It is made as the client reads: what is not read stays with the call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::answers::ended;
use super::frames::Frames;

/// What is sent if nothing else is.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    /// How long nothing is sent at most.
    pub(super) every: Duration,
    /// What means nothing in the format.
    pub(super) chunk: &'static [u8],
}

/// The format of a stream of answers.
pub(super) trait StreamFormat: Send + Unpin + 'static {
    /// What stands before all messages.
    const BEGINNING: &'static [u8];

    /// Returns what is sent if nothing else is; `None` if the format has no such thing.
    fn keep_alive(&self) -> Option<KeepAlive> {
        None
    }

    /// Writes a message, of which these are the bytes.
    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes);

    /// Writes how the stream ended.
    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>);
}

/// The body of a stream of answers.
pub(super) struct StreamBody<F> {
    call: Body,
    frames: Frames,
    format: F,
    keep_alive: Option<Alarm>,
    state: State,
}

/// When something must be sent.
struct Alarm {
    keep_alive: KeepAlive,
    at: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new(keep_alive: KeepAlive) -> Self {
        Self { keep_alive, at: Box::pin(tokio::time::sleep(keep_alive.every)) }
    }

    /// Begins to wait anew.
    fn reset(&mut self) {
        self.at.as_mut().reset(Instant::now() + self.keep_alive.every);
    }
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Ended,
}

impl<F: StreamFormat> StreamBody<F> {
    /// Returns the body of the answers of a call.
    pub(super) fn body(call: Body, format: F) -> Body {
        let keep_alive = format.keep_alive().map(Alarm::new);
        Body::new(Self { call, frames: Frames::default(), format, keep_alive, state: State::New })
    }

    /// Returns all whole messages that have come.
    fn messages(&mut self) -> Vec<u8> {
        let mut chunk = Vec::new();
        while let Some(bytes) = self.frames.next() {
            self.format.message(&mut chunk, bytes.freeze());
        }
        chunk
    }

    /// Waits for the moment at which something must be sent.
    fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Polled {
        let Some(alarm) = &mut self.keep_alive else { return Poll::Pending };
        if alarm.at.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        alarm.reset();
        // Whoever takes a chunk asks again, and so begins to wait for the new moment.
        sent(alarm.keep_alive.chunk.to_vec())
    }

    fn end(&mut self, end: Result<(), Status>) -> Polled {
        self.state = State::Ended;
        let mut chunk = Vec::new();
        self.format.end(&mut chunk, end);
        if chunk.is_empty() { Poll::Ready(None) } else { sent(chunk) }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

fn sent(chunk: Vec<u8>) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
}

impl<F: StreamFormat> http_body::Body for StreamBody<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        match this.state {
            State::Ended => return Poll::Ready(None),
            State::New => {
                this.state = State::Open;
                if !F::BEGINNING.is_empty() {
                    return sent(F::BEGINNING.to_vec());
                }
            }
            State::Open => {}
        }
        loop {
            let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut this.call), context) else {
                return this.poll_keep_alive(context);
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.frames.push(&data);
                    let chunk = this.messages();
                    if !chunk.is_empty() {
                        if let Some(alarm) = &mut this.keep_alive {
                            alarm.reset();
                        }
                        return sent(chunk);
                    }
                }
                Some(Ok(Err(frame))) => return this.end(frame.trailers_ref().map_or(Ok(()), ended)),
                Some(Err(status)) => return this.end(Err(status)),
                None => return this.end(Ok(())),
            }
        }
    }
}
