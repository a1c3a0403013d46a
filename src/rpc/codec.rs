//! Encodes and decodes messages, as tonic's own codec does, but with little memory per stream and none for refused
//! requests.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{self, BufferSettings, DecodeBuf, EncodeBuf};
use tonic_prost::ProstEncoder;

use super::ids::FoldIds;
use super::incoming::{self, Incoming};

/// The initial buffer of each direction of a call, in bytes. It grows if a message needs more. tonic takes 8 KiB,
/// which ten thousand idle streams would waste.
const BUFFER: usize = 2 << 10;

/// How many bytes of ready messages are sent together. A stream that is not read holds about twice as much. tonic
/// takes 32 KiB.
const TOGETHER: usize = 8 << 10;

/// The codec of all services and clients: protobuf by prost.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Incoming + FoldIds + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(ProstEncoder::new(BufferSettings::new(BUFFER, TOGETHER)))
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(PhantomData)
    }
}

/// Reserves space for a message before it is encoded. Otherwise the buffer doubles while it grows, and a stream that
/// is not read would hold up to twice the size of a large message.
#[derive(Debug)]
pub struct Encoder<T>(ProstEncoder<T>);

impl<T: Message> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        self.0.encode(item, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Decodes bytes that may be a message, and brings its ids into one form before any other code sees them.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Incoming + FoldIds> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic passes the whole message in one piece.
        let message = incoming::read::<U>(buffer.chunk());
        buffer.advance(buffer.remaining());
        let mut message = message?;
        message.fold_ids();
        Ok(Some(message))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, TOGETHER)
    }
}
