//! Messages of Connect become those of gRPC: of a body, of a query, and of envelopes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body::Frame;
use prost_reflect::MessageDescriptor;
use tonic::Status;
use tonic::body::Body;

use crate::error::Error;
use crate::pb::ErrorReason;
use crate::web::frames::{self, Frames};
use crate::web::gzip::Coding;
use crate::web::json::{Report, read};
use crate::web::lazy::{Make, poll_part};
use crate::web::limits::too_large;

/// The flag of an envelope that is compressed.
const COMPRESSED: u8 = 0x01;

/// A body of JSON, or of protobuf.
pub(super) struct BodyDecoder {
    pub(super) input: MessageDescriptor,
    pub(super) is_json: bool,
}

impl Make for BodyDecoder {
    fn message(&self, body: &[u8]) -> Result<Vec<u8>, Status> {
        if !self.is_json {
            return Ok(body.to_vec());
        }
        let mut report = Report::default();
        let read = read::read(&self.input, "", body, &mut report)?;
        report.verdict()?;
        Ok(read.bytes)
    }
}

/// A message in a query.
pub(super) struct QueryDecoder {
    pub(super) input: MessageDescriptor,
    pub(super) query: String,
    /// The most bytes of a message.
    pub(super) limit: usize,
}

impl Make for QueryDecoder {
    fn message(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        const LENIENT: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let wrong = |what: &str| {
            Status::from(Error::invalid_because(ErrorReason::RequestMalformed, "message", "connect", what))
        };
        let value = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
            pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
        };
        let coding = Coding::named(&value("compression").unwrap_or_default());
        let coding = coding.ok_or_else(|| wrong("must be compressed by gzip, or not at all"))?;
        let text = value("message").unwrap_or_default();
        let bytes = if value("base64").as_deref() == Some("1") {
            let decoder = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
            decoder.decode(text).map_err(|_| wrong("must be base64 for URLs"))?
        } else {
            text.into_bytes()
        };
        let is_json = value("encoding").as_deref() == Some("json");
        BodyDecoder { input: self.input.clone(), is_json }.message(&coding.decode(&bytes, self.limit)?)
    }
}

/// A body of envelopes with JSON. Each becomes a frame when it is asked for.
pub(super) struct Parts {
    body: Body,
    limit: usize,
    /// How envelopes are coded that say that they are.
    coding: Coding,
    frames: Frames,
    decoder: BodyDecoder,
    ended: bool,
}

impl Parts {
    pub(super) fn new(body: Body, limit: usize, coding: Coding, decoder: BodyDecoder) -> Self {
        Self { body, limit, coding, frames: Frames::default(), decoder, ended: false }
    }

    /// Makes the message of an envelope.
    fn message(&self, flag: u8, bytes: &[u8]) -> Result<Vec<u8>, Status> {
        let coding = match flag & COMPRESSED {
            0 => Coding::Identity,
            _ if self.coding == Coding::Identity => {
                let description = "is compressed, and connect-content-encoding does not say how";
                let error =
                    Error::invalid_because(ErrorReason::RequestMalformed, "envelope", "connect", description);
                return Err(error.into());
            }
            _ => self.coding,
        };
        self.decoder.message(&coding.decode(bytes, self.limit)?)
    }
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if this.frames.announced().is_some_and(|length| length > this.limit) {
                this.ended = true;
                return Poll::Ready(Some(Err(too_large(this.limit))));
            }
            if let Some((flag, bytes)) = this.frames.next_flagged() {
                let message = this.message(flag, &bytes);
                this.ended = message.is_err();
                return Poll::Ready(Some(message.map(|message| Frame::data(frames::frame(&message)))));
            }
            match ready!(poll_part(&mut this.body, context)) {
                Some(Ok(part)) => this.frames.push(&part),
                Some(Err(status)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => this.ended = true,
            }
        }
    }
}
