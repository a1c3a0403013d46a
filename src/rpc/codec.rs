//! How messages become bytes, and bytes messages: as tonic's own codec has it, with little memory for each
//! stream, and none for what is refused.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{self, BufferSettings, DecodeBuf, EncodeBuf};
use tonic_prost::ProstEncoder;

use super::ids::FoldIds;
use super::incoming::{self, Incoming};

/// Bytes that each direction of a call has from the beginning. It grows for a message that needs more.
/// tonic takes 8 KiB, which ten thousand idle streams would have for nothing.
const BUFFER: usize = 2 << 10;

/// Bytes of ready messages that go on their way together. What a stream holds that is not read is about
/// twice as much. tonic takes 32 KiB.
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

/// Makes room for a message before it is written: room that is made while it is written doubles, and a stream
/// that is not read would have up to twice a large message, and keep it.
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

/// Makes a message of bytes that may be one, with its ids in one form before anybody looks at it.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Incoming + FoldIds> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic has the whole message in one piece.
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
