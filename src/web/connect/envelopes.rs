//! Streams of answers of Connect and of gRPC-Web: messages in envelopes, and a last one that says how it ended.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::{Code, Status};

use super::trouble;
use crate::web::frames;
use crate::web::json::write::Style;
use crate::web::stream_body::StreamFormat;

/// The flag of the last envelope of Connect, and that of gRPC-Web.
const END: u8 = 0x02;
const TRAILERS: u8 = 0x80;

/// Answers of Connect: as JSON of this type, or as they are.
pub(super) struct Envelopes(pub(super) Option<MessageDescriptor>);

impl StreamFormat for Envelopes {
    const BEGINNING: &'static [u8] = b"";

    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes) {
        let Some(output) = &self.0 else { return chunk.extend_from_slice(&frames::frame(&bytes)) };
        // The service made these bytes.
        if let Ok(message) = DynamicMessage::decode(output.clone(), bytes) {
            let mut json = Vec::new();
            Style::CONNECT.write(&mut json, &message);
            chunk.extend_from_slice(&frames::frame(&json));
        }
    }

    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>) {
        chunk.extend_from_slice(&self::end(end.err().as_ref()));
    }
}

/// Returns the last envelope of Connect.
pub(super) fn end(status: Option<&Status>) -> Bytes {
    let mut json = b"{".to_vec();
    if let Some(status) = status {
        json.extend_from_slice(b"\"error\":");
        trouble::write(&mut json, status);
    }
    json.push(b'}');
    frames::flagged(END, &json)
}

/// Answers of gRPC-Web.
pub(super) struct Trailers;

impl StreamFormat for Trailers {
    const BEGINNING: &'static [u8] = b"";

    fn message(&self, chunk: &mut Vec<u8>, bytes: Bytes) {
        chunk.extend_from_slice(&frames::frame(&bytes));
    }

    fn end(&self, chunk: &mut Vec<u8>, end: Result<(), Status>) {
        let mut trailers = http::HeaderMap::new();
        let status = end.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", http::HeaderValue::from(i32::from(status.code())));
        }
        let mut text = Vec::new();
        for (name, value) in &trailers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        chunk.extend_from_slice(&frames::flagged(TRAILERS, &text));
    }
}
