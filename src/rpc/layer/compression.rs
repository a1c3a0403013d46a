//! Compresses answers by gzip, for clients that accept it (`grpc-accept-encoding`).
//!
//! tonic compresses every message of a call or none, on the thread that serves it. Most clients always accept gzip,
//! and most messages here are acks and pieces of text, which gzip makes longer. So this layer compresses what tonic
//! has framed, message by message, and only where it saves bytes. Large messages are compressed on other threads than
//! those of the runtime. (tonic itself handles gzip of requests; see `server`.)

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;

/// The header that lists what a client accepts.
const ACCEPTS: &str = "grpc-accept-encoding";
/// The header that names the encoding of the answer's messages.
const ENCODING: &str = "grpc-encoding";
/// The only encoding that is used here.
const GZIP: &str = "gzip";

/// Messages from this size on are compressed: shorter ones fit into one packet anyway.
const WORTH_IT: usize = 1 << 10;

/// From this size on, compressing at some 100 MB a second would block the calls that share the thread.
const TAKES_LONG: usize = 64 << 10;

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Whether the client of a call accepts answers in gzip.
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPTS).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|encoding| encoding.trim().eq_ignore_ascii_case(GZIP))
}

/// Returns the answer with its long messages in gzip. An answer that is only an error has no message.
pub(super) fn compressed(mut response: Response<Body>) -> Response<Body> {
    if Status::from_header_map(response.headers()).is_some() {
        return response;
    }
    response.headers_mut().insert(ENCODING, HeaderValue::from_static(GZIP));
    response.map(|inner| Body::new(Compressed { inner, job: None, is_framed: true }))
}

/// See the module.
struct Compressed {
    inner: Body,
    /// The task that compresses a frame on another thread.
    job: Option<JoinHandle<Bytes>>,
    /// Whether every frame so far had whole messages, as tonic makes them. Other frames are passed on unchanged.
    is_framed: bool,
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(job) = &mut this.job {
            let done = ready!(Pin::new(job).poll(context));
            this.job = None;
            let data = done.map_err(|_| Status::internal("an answer could not be compressed"));
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let Some(longest) = longest(&data).filter(|_| this.is_framed) else {
            this.is_framed = false;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        };
        if longest < WORTH_IT {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if data.len() < TAKES_LONG {
            return Poll::Ready(Some(Ok(Frame::data(shortened(data)))));
        }
        this.job = Some(tokio::task::spawn_blocking(move || shortened(data)));
        Pin::new(this).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.job.is_none() && self.inner.is_end_stream()
    }
}

/// The length of the longest message of a frame. Returns `None` if the frame does not consist of whole messages.
fn longest(mut data: &[u8]) -> Option<usize> {
    let mut longest = 0;
    while !data.is_empty() {
        let (prefix, rest) = data.split_at_checked(PREFIX)?;
        let length = usize::try_from((&prefix[1..]).get_u32()).ok()?;
        data = rest.get(length..)?;
        longest = longest.max(length);
    }
    Some(longest)
}

/// Returns the same messages, with the long ones in gzip if that makes them shorter.
fn shortened(mut data: Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len());
    while data.remaining() >= PREFIX {
        let (flag, length) = (data.get_u8(), data.get_u32());
        let message = data.split_to(data.len().min(length as usize));
        match (flag == 0).then(|| shorter(&message)).flatten() {
            // It is shorter than the message, so its length fits into four bytes.
            Some(gzip) => put(&mut out, 1, &gzip),
            None => put(&mut out, flag, &message),
        }
    }
    out.freeze()
}

/// Returns bytes in gzip; `None` if they are few, or no fewer in gzip.
pub(crate) fn shorter(bytes: &[u8]) -> Option<Vec<u8>> {
    let gzip = (bytes.len() >= WORTH_IT).then(|| gzip(bytes).ok()).flatten();
    gzip.filter(|gzip| gzip.len() < bytes.len())
}

fn put(out: &mut BytesMut, flag: u8, message: &[u8]) {
    out.put_u8(flag);
    #[expect(clippy::expect_used, reason = "messages have far lower limits, and gRPC has no longer ones")]
    out.put_u32(u32::try_from(message.len()).expect("a message of less than 4 GiB"));
    out.put_slice(message);
}

fn gzip(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 2), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn framed(messages: &[&[u8]]) -> Bytes {
        let mut out = BytesMut::new();
        messages.iter().for_each(|message| put(&mut out, 0, message));
        out.freeze()
    }

    fn read(mut data: Bytes) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        while data.has_remaining() {
            let (flag, length) = (data.get_u8(), data.get_u32());
            let bytes = data.split_to(length as usize);
            let mut message = Vec::new();
            match flag {
                0 => message.extend_from_slice(&bytes),
                _ => drop(GzDecoder::new(&bytes[..]).read_to_end(&mut message).expect("gzip")),
            }
            messages.push((flag, message));
        }
        messages
    }

    async fn answered(data: Bytes) -> Bytes {
        let response = compressed(Response::new(Body::new(Full::new(data).map_err(|never| match never {}))));
        assert_eq!(response.headers()[ENCODING], GZIP);
        response.into_body().collect().await.expect("a body").to_bytes()
    }

    #[tokio::test]
    async fn long_messages_are_compressed_and_the_others_of_the_same_frame_are_not() {
        let (short, long) = ([7; WORTH_IT - 1], [7; 2 * TAKES_LONG]);
        let messages: [&[u8]; 4] = [&short, &long, &[], &long[..WORTH_IT]];
        let data = answered(framed(&messages)).await;
        assert!(data.len() < 4 * WORTH_IT, "{} bytes", data.len());
        let read = read(data);
        assert_eq!(read.iter().map(|(flag, _)| *flag).collect::<Vec<_>>(), [0, 1, 0, 1]);
        assert!(read.iter().map(|(_, message)| &message[..]).eq(messages));
    }

    #[tokio::test]
    async fn what_gzip_makes_no_shorter_stays_as_it_is() {
        let random: Vec<u8> = (0..256).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
        let data = framed(&[&random]);
        assert_eq!(answered(data.clone()).await, data);
    }

    #[tokio::test]
    async fn what_is_no_whole_message_is_passed_on() {
        let data = framed(&[&[7; 4 * WORTH_IT]]).slice(..2 * WORTH_IT);
        assert_eq!(answered(data.clone()).await, data);
    }

    #[test]
    fn a_client_says_what_it_takes_in_one_list_or_several() {
        for (values, taken) in [
            (&["gzip"][..], true),
            (&["identity, deflate, gzip"], true),
            (&["identity", "deflate,GZIP"], true),
            (&["identity"], false),
            (&["xgzip"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(ACCEPTS, HeaderValue::from_static(value));
            });
            assert_eq!(is_taken(&headers), taken, "{values:?}");
        }
    }
}
