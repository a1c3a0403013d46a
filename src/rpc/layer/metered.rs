//! The body of a stream's requests, which is read only while there is room for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::room::Meter;

/// A body that asks its meter before it reads.
pub(super) struct Metered {
    inner: Body,
    meter: Meter,
}

impl Metered {
    pub(super) fn new(inner: Body, meter: Meter) -> Self {
        Self { inner, meter }
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
        if this.meter.poll_may_read(context).is_pending() {
            return Poll::Pending;
        }
        let frame = Pin::new(&mut this.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.meter.read_on(data);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
