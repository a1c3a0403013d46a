//! The body of an answer: it has its call's place until it is taken. That of a stream ends at a deadline,
//! or when the server stops, and its error is complete.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use uuid::Uuid;

use super::admission::Place;
use super::repair;
use crate::error::Error;
use crate::pb::ErrorReason;

/// See the module.
pub(super) struct Bounded {
    inner: Body,
    expiry: Option<Pin<Box<Sleep>>>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// The call's id, where its errors are ours to complete.
    id: Option<Uuid>,
    /// Free when the body is dropped: taken, reset, or its connection gone.
    _place: Option<Place>,
    ended: bool,
}

impl Bounded {
    /// The answer of a unary call, which is there already.
    pub(super) fn answer(inner: Body, place: Place) -> Self {
        Self { inner, expiry: None, stop: None, id: None, _place: Some(place), ended: false }
    }

    /// A stream of this contract.
    pub(super) fn ours(inner: Body, expiry: Option<Duration>, id: Uuid, place: Place) -> Self {
        let expiry = expiry.map(|expiry| Box::pin(tokio::time::sleep(expiry)));
        Self { inner, expiry, stop: None, id: Some(id), _place: Some(place), ended: false }
    }

    /// A stream of health or reflection, which knows nothing of the server's end.
    pub(super) fn foreign(
        inner: Body,
        expiry: Option<Duration>,
        stop: CancellationToken,
        place: Option<Place>,
    ) -> Self {
        let expiry = expiry.map(|expiry| Box::pin(tokio::time::sleep(expiry)));
        let stop = Some(Box::pin(stop.cancelled_owned()));
        Self { inner, expiry, stop, id: None, _place: place, ended: false }
    }

    /// Why the body ends now, if it does.
    fn end(&mut self, context: &mut Context<'_>) -> Option<Error> {
        if self.expiry.as_mut().is_some_and(|expiry| expiry.as_mut().poll(context).is_ready()) {
            return Some(Error::DeadlineExceeded);
        }
        if self.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(context).is_ready()) {
            return Some(Error::Unavailable {
                reason: ErrorReason::ShuttingDown,
                message: "the server is stopping; another replica will answer",
                cause: None,
            });
        }
        None
    }

    fn complete(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match (self.id, frame.into_trailers()) {
            (Some(id), Ok(trailers)) => Frame::trailers(repair::trailers(trailers, id)),
            (None, Ok(trailers)) => Frame::trailers(trailers),
            (_, Err(data)) => data,
        }
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
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map(|frame| this.complete(frame))));
        }
        let Some(error) = this.end(context) else { return Poll::Pending };
        this.ended = true;
        // The handler learns of it by the drop of its stream.
        this.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Status::from(error).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(this.complete(Frame::trailers(trailers)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
