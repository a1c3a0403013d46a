//! Signals as texts of notifications, and back.
//!
//! A text is the base64 of a protobuf message, because replicas of neighbouring versions read each other's
//! texts. Fields may be added, and replicas that do not know them ignore them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::{Signal, Topic};

/// The longest text that Postgres takes, in bytes.
const MAX_TEXT: usize = 7_999;

/// The number of bytes that make such a text.
const MAX_ENVELOPE: usize = MAX_TEXT * 3 / 4;

/// The length of an id in bytes, with tag and length.
const ID: usize = 2 + 16;

/// The length of an envelope's origin, and of its number with a tag.
const HEAD: usize = ID + 1 + 10;

/// The longest tags and lengths of a signal and of its payload.
const FRAMES: usize = 2 * (1 + 2);

/// The longest payload of a signal, in bytes: what a notification has left beside two ids and its origin. A
/// signal with more is not sent.
pub const MAX_PAYLOAD: usize = MAX_ENVELOPE - HEAD - FRAMES - 2 * ID;

/// The content of a notification.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    /// The process that it comes from.
    #[prost(bytes = "vec", tag = "1")]
    origin: Vec<u8>,
    /// Different in every envelope of a process: of equal notifications, Postgres sends only one per
    /// transaction.
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(message, repeated, tag = "3")]
    signals: Vec<Enclosed>,
}

/// A signal in an envelope.
#[derive(Clone, PartialEq, Message)]
struct Enclosed {
    #[prost(bytes = "vec", tag = "1")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    topic: Vec<u8>,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
}

/// Writes the notifications of one process.
pub(super) struct Packer {
    origin: Uuid,
    number: u64,
}

impl Packer {
    pub(super) fn new(origin: Uuid) -> Self {
        Self { origin, number: 0 }
    }

    /// Returns a text without signals. It says that its sender is there, and may not have sent all its signals.
    pub(super) fn hello(&mut self) -> String {
        self.seal(Vec::new())
    }

    /// Returns the fewest texts that hold these signals in their order, each short enough for Postgres. A
    /// signal that is too long for any text is left out.
    pub(super) fn pack(&mut self, signals: impl IntoIterator<Item = Signal>) -> Vec<String> {
        let mut texts = Vec::new();
        let mut enclosed = Vec::new();
        let mut size = HEAD;
        for signal in signals.into_iter().filter(|signal| signal.payload.len() <= MAX_PAYLOAD) {
            let signal = enclose(signal);
            let length = signal.encoded_len();
            let framed = 1 + prost::length_delimiter_len(length) + length;
            if size + framed > MAX_ENVELOPE {
                texts.push(self.seal(std::mem::take(&mut enclosed)));
                size = HEAD;
            }
            size += framed;
            enclosed.push(signal);
        }
        if !enclosed.is_empty() {
            texts.push(self.seal(enclosed));
        }
        texts
    }

    fn seal(&mut self, signals: Vec<Enclosed>) -> String {
        self.number += 1;
        let envelope = Envelope { origin: self.origin.as_bytes().to_vec(), number: self.number, signals };
        STANDARD_NO_PAD.encode(envelope.encode_to_vec())
    }
}

/// Returns the sender of a text, and its signals; `None` if the text is invalid. A signal that cannot be read
/// is left out.
pub(super) fn unpack(text: &str) -> Option<(Uuid, Vec<Signal>)> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    // It decodes from a slice, so that payloads are copies, and a short one does not keep all others alive.
    let Envelope { origin, number: _, signals } = Envelope::decode(bytes.as_slice()).ok()?;
    let origin = Uuid::from_slice(&origin).ok()?;
    Some((origin, signals.into_iter().filter_map(disclose).collect()))
}

fn enclose(signal: Signal) -> Enclosed {
    let Signal { topic: Topic { tenant, id }, payload } = signal;
    Enclosed { tenant: tenant.as_bytes().to_vec(), topic: id.as_bytes().to_vec(), payload }
}

fn disclose(enclosed: Enclosed) -> Option<Signal> {
    let Enclosed { tenant, topic, payload } = enclosed;
    let topic = Topic { tenant: Uuid::from_slice(&tenant).ok()?, id: Uuid::from_slice(&topic).ok()? };
    Some(Signal { topic, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signal(id: u128, payload: Vec<u8>) -> Signal {
        let topic = Topic { tenant: Uuid::from_u128(7), id: Uuid::from_u128(id) };
        Signal { topic, payload: payload.into() }
    }

    fn unpacked(texts: &[String]) -> Vec<Signal> {
        texts.iter().flat_map(|text| unpack(text).expect("an envelope").1).collect()
    }

    proptest! {
        /// Packed signals come out again, in their order. The texts are short enough for Postgres, and no two
        /// of them could have been one.
        #[test]
        fn nothing_is_lost_on_the_way(
            payloads in prop::collection::vec(prop_oneof![
                4 => prop::collection::vec(any::<u8>(), 0..60),
                1 => prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD),
            ], 0..80),
            number in any::<u32>().prop_map(|low| u64::MAX - 1_000 - u64::from(low)),
        ) {
            let signals: Vec<_> = (0..).zip(payloads).map(|(id, payload)| signal(id, payload)).collect();
            let origin = Uuid::from_u128(1);
            let texts = Packer { origin, number }.pack(signals.clone());
            prop_assert!(texts.iter().all(|text| text.len() <= MAX_TEXT && unpack(text).is_some_and(|(from, _)| from == origin)));
            prop_assert!(texts.windows(2).all(|two| two[0].len() + two[1].len() > MAX_TEXT));
            prop_assert_eq!(unpacked(&texts), signals);
        }

        #[test]
        fn nonsense_is_no_envelope(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // The text may happen to be valid. The test is that it does not panic.
            let _ = unpack(&text);
            let _ = unpack(&STANDARD_NO_PAD.encode(bytes));
        }
    }

    #[test]
    fn the_longest_payload_just_fits() {
        let mut packer = Packer { origin: Uuid::max(), number: u64::MAX - 1 };
        let longest = signal(1, vec![255; MAX_PAYLOAD]);
        let texts = packer.pack([longest.clone()]);
        assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [MAX_TEXT]);
        assert_eq!(unpacked(&texts), [longest]);
    }

    #[test]
    fn a_signal_that_is_too_long_is_left_out() {
        let signals = [signal(1, vec![1]), signal(2, vec![0; MAX_PAYLOAD + 1]), signal(3, vec![3])];
        let texts = Packer::new(Uuid::from_u128(1)).pack(signals.clone());
        assert_eq!(texts.len(), 1);
        assert_eq!(unpacked(&texts), [signals[0].clone(), signals[2].clone()]);
    }

    #[test]
    fn no_two_texts_are_equal() {
        let mut packer = Packer::new(Uuid::from_u128(1));
        let same = signal(1, vec![0; MAX_PAYLOAD]);
        let mut texts = packer.pack([same.clone(), same.clone(), same]);
        texts.extend([packer.hello(), packer.hello()]);
        assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), 5);
    }

    /// The envelope of a later version, with fields that this version does not know.
    #[derive(Clone, PartialEq, Message)]
    struct Later {
        #[prost(bytes = "vec", tag = "1")]
        origin: Vec<u8>,
        #[prost(message, repeated, tag = "3")]
        signals: Vec<LaterSignal>,
        #[prost(string, tag = "9")]
        more: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct LaterSignal {
        #[prost(bytes = "vec", tag = "1")]
        tenant: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        topic: Vec<u8>,
        #[prost(uint64, tag = "9")]
        more: u64,
    }

    #[test]
    fn a_later_version_is_understood() {
        let id = |n| Uuid::from_u128(n).as_bytes().to_vec();
        let known = LaterSignal { tenant: id(7), topic: id(2), more: 1 };
        let unknown = LaterSignal { tenant: id(7), topic: vec![1, 2], more: 1 };
        let later = Later { origin: id(1), signals: vec![unknown, known], more: "news".to_owned() };
        let text = STANDARD_NO_PAD.encode(later.encode_to_vec());
        assert_eq!(unpack(&text), Some((Uuid::from_u128(1), vec![signal(2, Vec::new())])));
    }
}
