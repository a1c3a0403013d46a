//! gRPC-Web as text (`application/grpc-web-text`): its frames in base64, for browsers that give a page only text while an
//! answer still comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use crate::error::Error;
use crate::pb::ErrorReason;
use crate::web::lazy::poll_part;

/// How many characters are decoded together.
const GROUP: usize = 4;

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

/// The body of a request, decoded as it is read.
pub(super) struct Decoded {
    body: Body,
    /// What has come of the next group.
    rest: Vec<u8>,
    ended: bool,
}

impl Decoded {
    /// Returns the bytes that this body has in base64.
    pub(super) fn body(body: Body) -> Body {
        Body::new(Self { body, rest: Vec::with_capacity(GROUP), ended: false })
    }

    /// Returns the bytes of all whole groups.
    fn decode(&mut self, part: &[u8]) -> Result<Vec<u8>, Status> {
        self.rest.extend_from_slice(part);
        let whole = self.rest.len() / GROUP * GROUP;
        let rest = self.rest.split_off(whole);
        decode(&std::mem::replace(&mut self.rest, rest)).ok_or_else(invalid)
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        while !this.ended {
            let decoded = match ready!(poll_part(&mut this.body, context)) {
                Some(Ok(part)) => this.decode(&part),
                Some(Err(status)) => Err(status),
                None => {
                    this.ended = true;
                    if this.rest.is_empty() { Ok(Vec::new()) } else { Err(invalid()) }
                }
            };
            this.ended |= decoded.is_err();
            if decoded.as_ref().map_or(true, |bytes| !bytes.is_empty()) {
                return Poll::Ready(Some(decoded.map(|bytes| Frame::data(bytes.into()))));
            }
        }
        Poll::Ready(None)
    }
}

/// Returns the bytes of whole groups. A client encodes each part of a body by itself, so padding may stand within.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut out) = (text, Vec::with_capacity(text.len() / GROUP * 3));
    while !rest.is_empty() {
        let padded = rest.chunks(GROUP).position(|group| group.contains(&b'='));
        let (part, after) = rest.split_at(padded.map_or(rest.len(), |index| (index + 1) * GROUP));
        STANDARD.decode_vec(part, &mut out).ok()?;
        rest = after;
    }
    Some(out)
}

fn invalid() -> Status {
    let description = "must be base64, as the content type says; or send application/grpc-web+proto";
    Error::invalid_because(ErrorReason::RequestMalformed, "body", "base64", description).into()
}

/// The body of an answer, encoded part by part.
pub(super) struct Encoded(Body);

impl Encoded {
    /// Returns this body in base64. Its trailers, if it has some, are left out: gRPC-Web has them among its frames.
    pub(super) fn body(body: Body) -> Body {
        Body::new(Self(body))
    }
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut this.0).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(Frame::data(STANDARD.encode(data).into()))),
                    Err(_) => continue,
                },
                end => end,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    async fn decoded(parts: &[&'static str]) -> Result<Bytes, Status> {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok::<_, Status>(Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        let body = Decoded::body(Body::new(StreamBody::new(stream::iter(frames))));
        body.collect().await.map(|all| all.to_bytes())
    }

    #[tokio::test]
    async fn text_comes_in_any_parts_and_with_padding_within() {
        for parts in [
            &["SGVsbG8="][..],
            &["S", "GV", "sbG", "8="],
            &["SA==ZWw=bG8="],
            &["SA==", "ZWxs", "bw=="],
            &["SA=", "=", "ZWxsbw=="],
        ] {
            assert_eq!(decoded(parts).await.expect("base64"), "Hello", "{parts:?}");
        }
        assert_eq!(decoded(&[]).await.expect("nothing"), "");
    }

    #[tokio::test]
    async fn what_is_no_base64_is_an_error() {
        for parts in [&["SGVsbG8"][..], &["SGVs", "bG"], &["S-Vs"], &["===="], &["SG=sbG8="], &["SGVs\n"]] {
            assert!(decoded(parts).await.is_err(), "{parts:?}");
        }
    }
}
