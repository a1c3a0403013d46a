//! The body of a stream's requests, which reads on while there is room for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::room::Meter;

/// A body that asks its meter before it reads.
pub(super) struct Metered {
    pub(super) inner: Body,
    pub(super) meter: Meter,
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { inner, meter } = self.get_mut();
        ready!(meter.poll_may_read(context));
        let frame = Pin::new(inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    meter.read_on(data);
                }
            }
            Poll::Ready(_) => {}
            Poll::Pending => meter.pass_on(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
