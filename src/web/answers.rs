//! The answer of a call, taken out of the frames of gRPC.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

use super::frames::Frames;
use super::gzip::GZIP;
use crate::error::Error;
use crate::rpc::layer::shorter;

/// Returns the bytes of the one message of a response, and the body that had them.
///
/// # Errors
///
/// The error of the call.
pub(super) async fn message(response: Response<Body>) -> Result<(Bytes, Body), Status> {
    ended(response.headers())?;
    let (mut body, mut frames) = (response.into_body(), Frames::default());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => frames.push(&data),
            Err(frame) => ended(frame.trailers_ref().unwrap_or(&HeaderMap::new()))?,
        }
    }
    let bytes = frames.next().ok_or_else(|| Error::internal("a call had no answer"))?;
    Ok((bytes.freeze(), body))
}

/// Returns the error that headers or trailers tell, if they tell one.
///
/// # Errors
///
/// That error.
pub(super) fn ended(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// Above this many bytes, an answer is written on a thread that serves no calls: a page of two mebibytes takes some tens of
/// milliseconds.
const LARGE: usize = 64 << 10;

/// Writes an answer that is made of this many bytes.
///
/// # Errors
///
/// Those of writing it.
pub(super) async fn written<T: Send + 'static>(
    bytes: usize,
    write: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    if bytes <= LARGE {
        return write();
    }
    let writing = tokio::task::spawn_blocking(write);
    writing.await.map_err(|_| Error::internal("an answer could not be written"))?
}

/// The bytes of an answer.
pub(super) struct Content {
    bytes: Bytes,
    in_gzip: bool,
}

impl Content {
    /// Takes bytes, and compresses them if the client takes that and they become fewer.
    pub(super) fn new(bytes: Bytes, takes_gzip: bool) -> Self {
        match takes_gzip.then(|| shorter(&bytes)).flatten() {
            Some(gzip) => Self { bytes: gzip.into(), in_gzip: true },
            None => Self { bytes, in_gzip: false },
        }
    }

    /// Returns the answer with these bytes, of this type.
    pub(super) fn into_response(self, kind: HeaderValue, call: Body) -> Response<Body> {
        let mut response = Response::new(taken(self.bytes, call));
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if self.in_gzip {
            response.headers_mut().insert(CONTENT_ENCODING, GZIP);
        }
        response
    }
}

/// Returns the body of an answer. The call has its place until the client has taken it, as in gRPC.
fn taken(answer: Bytes, call: Body) -> Body {
    Body::new(Taken { answer: Some(answer), _call: call })
}

struct Taken {
    answer: Option<Bytes>,
    _call: Body,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.answer.take().map(|answer| Ok(Frame::data(answer))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.answer.as_ref().map_or(0, |answer| answer.len() as u64))
    }
}
