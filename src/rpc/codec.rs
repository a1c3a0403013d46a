//! How messages become bytes: as tonic's own codec has it, with little memory for each stream.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{self, BufferSettings, EncodeBuf};
use tonic_prost::{ProstCodec, ProstEncoder};

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
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = <ProstCodec<T, U> as codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(ProstEncoder::new(BufferSettings::new(BUFFER, TOGETHER)))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, TOGETHER))
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
