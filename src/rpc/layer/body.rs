//! The body of an answer: it has its call's place until it is taken. The two bodies of a stream end at a
//! deadline, with the caller's credential, or when the server stops; and the error of a response is complete.

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

/// What ends a stream whether its handler wants it or not.
#[derive(Clone)]
pub(super) struct Ends {
    /// How much longer the client waits, where it says.
    pub(super) deadline: Option<Duration>,
    /// Cancelled when the server stops, where the handler does not know of it.
    pub(super) stop: Option<CancellationToken>,
    /// How long the client's credential holds.
    pub(super) validity: Validity,
}

/// Resolves with why a stream ends.
type End = Pin<Box<dyn Future<Output = Error> + Send>>;

impl Ends {
    /// The body of a response, complete with the id of its call where the errors are ours to complete.
    pub(super) fn response(self, inner: Body, id: Option<Uuid>, place: Option<Place>) -> Body {
        Body::new(Bounded { inner, end: self.end(), id, is_response: true, _place: place, ended: false })
    }

    /// The body of a request. A client that reads no response could otherwise go on sending.
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

    /// Nothing where nothing can end it.
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

/// The answer of a unary call, which is there already, and has its place until it is taken.
pub(super) fn answer(inner: Body, place: Place) -> Body {
    let place = Some(place);
    Body::new(Bounded { inner, end: None, id: None, is_response: true, _place: place, ended: false })
}

/// See the module.
struct Bounded {
    inner: Body,
    end: Option<End>,
    /// The call's id, where its errors are ours to complete.
    id: Option<Uuid>,
    is_response: bool,
    /// Free when the body is dropped: taken, reset, or its connection gone.
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

    /// Whether what is there is told before the end: who watches health is to hear that it is over. Health
    /// and reflection do not always have more.
    fn has_last_word(&self) -> bool {
        self.is_response && self.id.is_none()
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.inner), context);
        frame.map(|frame| frame.map(|frame| frame.map(|frame| self.complete(frame))))
    }

    /// The last that is told: to the client as trailers, to a handler as an error of what it reads.
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
        // Before the body, so that one that always has more does not outlive its end.
        let Some(Poll::Ready(error)) = this.end.as_mut().map(|end| end.as_mut().poll(context)) else {
            return if this.has_last_word() { last_word } else { this.poll_inner(context) };
        };
        this.ended = true;
        // Whoever is at the other end of it learns of it by the drop.
        this.inner = Body::empty();
        Poll::Ready(Some(this.last(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
