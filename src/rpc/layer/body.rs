//! The body of an answer, which keeps the call's place until it is taken. Both bodies of a stream end at a deadline,
//! with the caller's credential, or when the server stops. Errors of a response are completed.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use uuid::Uuid;

use super::admission::Place;
use super::repair;
use crate::auth::Validity;
use crate::error::Error;

/// What ends a stream, regardless of its handler.
#[derive(Clone)]
pub(super) struct Ends {
    /// How much longer the client waits, if it has a deadline.
    pub(super) deadline: Option<Duration>,
    /// Cancelled when the server stops; for handlers that do not know about the stop.
    pub(super) stop: Option<CancellationToken>,
    /// How long the client's credential is valid.
    pub(super) validity: Validity,
}

/// Resolves with the reason why a stream ends.
type End = Pin<Box<dyn Future<Output = Error> + Send>>;

impl Ends {
    /// Returns the body of a response. With an `id`, its errors are completed with the id of the call.
    pub(super) fn response(self, inner: Body, id: Option<Uuid>, place: Option<Place>) -> Body {
        Body::new(Bounded { inner, end: self.end(), id, is_response: true, _place: place, ended: false })
    }

    /// Returns the body of a request. Without a limit, a client that does not read the response could go on sending.
    pub(super) fn request(&self, inner: Body) -> Body {
        match self.clone().end() {
            Some(end) => Body::new(Bounded {
                inner,
                end: Some(end),
                id: None,
                is_response: false,
                _place: None,
                ended: false,
            }),
            None => inner,
        }
    }

    /// Returns `None` if nothing can end the stream.
    fn end(self) -> Option<End> {
        let Self { deadline, stop, validity } = self;
        if deadline.is_none() && stop.is_none() && validity.is_unlimited() {
            return None;
        }
        Some(Box::pin(async move {
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep(deadline).await,
                    None => pending().await,
                }
            };
            let stopped = async {
                match stop {
                    Some(stop) => stop.cancelled_owned().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = passed => Error::DeadlineExceeded,
                () = stopped => Error::shutting_down(),
                error = validity.end() => error,
            }
        }))
    }
}

/// Returns the body of a finished unary answer, which keeps its place until it is taken.
pub(super) fn answer(inner: Body, place: Place) -> Body {
    let place = Some(place);
    Body::new(Bounded { inner, end: None, id: None, is_response: true, _place: place, ended: false })
}

/// See the module.
struct Bounded {
    inner: Body,
    end: Option<End>,
    /// The call's id, if its errors must be completed.
    id: Option<Uuid>,
    is_response: bool,
    /// Released when the body is dropped: taken, reset, or its connection lost.
    _place: Option<Place>,
    ended: bool,
}

impl Bounded {
    fn complete(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match (self.id, frame.into_trailers()) {
            (Some(id), Ok(trailers)) => Frame::trailers(repair::trailers(trailers, id)),
            (None, Ok(trailers)) => Frame::trailers(trailers),
            (_, Err(data)) => data,
        }
    }

    /// Whether a frame that is ready is sent before the end: a client that watches health must learn that the service
    /// stops. Health and reflection do not always have more frames.
    fn has_last_word(&self) -> bool {
        self.is_response && self.id.is_none()
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.inner), context);
        frame.map(|frame| frame.map(|frame| frame.map(|frame| self.complete(frame))))
    }

    /// Returns the last frame: for the client as trailers, for a handler as an error of its request stream.
    fn last(&self, error: Error) -> Result<Frame<Bytes>, Status> {
        let status = Status::from(error);
        if !self.is_response {
            return Err(status);
        }
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(self.complete(Frame::trailers(trailers)))
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let last_word = if this.has_last_word() { this.poll_inner(context) } else { Poll::Pending };
        if matches!(&last_word, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            return last_word;
        }
        // Checked before the body, so that a body that always has more does not outlive its end.
        let Some(Poll::Ready(error)) = this.end.as_mut().map(|end| end.as_mut().poll(context)) else {
            return if this.has_last_word() { last_word } else { this.poll_inner(context) };
        };
        this.ended = true;
        // Dropping the body tells the other side of it.
        this.inner = Body::empty();
        Poll::Ready(Some(this.last(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
