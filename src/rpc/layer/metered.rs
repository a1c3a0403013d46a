//! The body of a stream's requests, which reads on while there is room for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::room::Meter;

/// How often a body that waits for room looks for itself, in case it is not woken when there is room: short for a
/// client that waits, and long beside what a look costs.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A body that asks its meter before it reads.
pub(super) struct Metered {
    inner: Body,
    meter: Meter,
    /// While it waits.
    look_again: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    pub(super) fn new(inner: Body, meter: Meter) -> Self {
        Self { inner, meter, look_again: None }
    }

    /// Whether it may read on.
    fn poll_may_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.meter.poll_may_read(context).is_pending() {
            let sleep = self.look_again.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_AGAIN)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.look_again = None;
        }
        self.look_again = None;
        Poll::Ready(())
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.poll_may_read(context).is_pending() {
            return Poll::Pending;
        }
        let Self { inner, meter, look_again: _ } = this;
        let frame = Pin::new(inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    meter.read_on(data);
                }
            }
            // It reads no more, or has nothing to read: another that waits may.
            Poll::Ready(_) | Poll::Pending => meter.pass_on(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
