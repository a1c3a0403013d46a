//! The frames of gRPC: a flag of one byte, a length of four, and a message.

use bytes::{Buf, Bytes, BytesMut};

const HEADER: usize = 5;

/// Returns the frame of a message, which is not compressed.
pub(super) fn frame(message: &[u8]) -> Bytes {
    flagged(0, message)
}

/// Returns a frame with this flag. gRPC-Web and Connect end their streams with one.
pub(super) fn flagged(flag: u8, message: &[u8]) -> Bytes {
    // A request is bounded far below four gibibytes.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEADER + message.len());
    frame.push(flag);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// The frames of an answer, which come in parts of any size.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    /// Takes a part.
    pub(super) fn push(&mut self, part: &[u8]) {
        self.0.extend_from_slice(part);
    }

    /// Returns how long the next message says that it is.
    pub(super) fn announced(&self) -> Option<usize> {
        let length = self.0.get(1..HEADER)?.try_into().ok()?;
        Some(u32::from_be_bytes(length) as usize)
    }

    /// Returns the next message, if it is whole. It is not compressed: the way in does not ask for that.
    pub(super) fn next(&mut self) -> Option<BytesMut> {
        self.next_flagged().map(|(_, message)| message)
    }

    /// Returns the next message, if it is whole, and its flag.
    pub(super) fn next_flagged(&mut self) -> Option<(u8, BytesMut)> {
        let (flag, length) = (*self.0.first()?, self.announced()?);
        if self.0.len() < HEADER + length {
            return None;
        }
        self.0.advance(HEADER);
        Some((flag, self.0.split_to(length)))
    }
}
