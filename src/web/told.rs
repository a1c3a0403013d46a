//! A stream of answers, in a form of HTTP. It is made as the client reads: what is not read stays with the call.

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

/// How long nothing is sent at most: less than the minute after which proxies give a connection up.
const BEAT: Duration = Duration::from_secs(20);

/// The form of a stream of answers.
pub(super) trait Form: Send + Unpin + 'static {
    /// What stands before all messages.
    const BEGINNING: &'static [u8];

    /// What means nothing, and is sent if nothing else is; empty if there is no such thing.
    const NOTHING: &'static [u8];

    /// Writes a message, of which these are the bytes.
    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes);

    /// Writes how the stream ended.
    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>);
}

/// The body of a stream of answers.
pub(super) struct Told<F> {
    call: Body,
    frames: Frames,
    form: F,
    /// When something must be sent; `None` if nothing means nothing.
    beat: Option<Pin<Box<Sleep>>>,
    state: State,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Ended,
}

impl<F: Form> Told<F> {
    /// Returns the body of the answers of a call.
    pub(super) fn body(call: Body, form: F) -> Body {
        let beat = (!F::NOTHING.is_empty()).then(|| Box::pin(tokio::time::sleep(BEAT)));
        Body::new(Self { call, frames: Frames::default(), form, beat, state: State::New })
    }

    /// Returns all whole messages that have come.
    fn messages(&mut self) -> Vec<u8> {
        let mut chunk = Vec::new();
        while let Some(bytes) = self.frames.next() {
            self.form.message(&mut chunk, bytes.freeze());
        }
        chunk
    }

    /// Waits for the moment at which something must be sent.
    fn poll_beat(&mut self, context: &mut Context<'_>) -> Polled {
        let Some(beat) = &mut self.beat else { return Poll::Pending };
        if beat.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.rest();
        // Whoever takes a chunk asks again, and so begins to wait for the new moment.
        sent(F::NOTHING.to_vec())
    }

    /// Begins to wait anew.
    fn rest(&mut self) {
        if let Some(beat) = &mut self.beat {
            beat.as_mut().reset(Instant::now() + BEAT);
        }
    }

    fn end(&mut self, end: Result<(), Status>) -> Polled {
        self.state = State::Ended;
        let mut chunk = Vec::new();
        self.form.end(&mut chunk, end);
        if chunk.is_empty() { Poll::Ready(None) } else { sent(chunk) }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

fn sent(chunk: Vec<u8>) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
}

impl<F: Form> http_body::Body for Told<F> {
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
                return this.poll_beat(context);
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    this.frames.push(&data);
                    let chunk = this.messages();
                    if !chunk.is_empty() {
                        this.rest();
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
