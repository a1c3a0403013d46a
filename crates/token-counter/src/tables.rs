//! The tables of an encoding, which the build packed.

use std::fmt::Display;
use std::io::Read as _;

use bpe_openai::byte_pair_encoding::BytePairEncoding;
use flate2::read::GzDecoder;
use serde::de::value::{self, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

type Result<T> = std::result::Result<T, value::Error>;

/// Unpacks the tables of an encoding, and fills the fields that counting does not read with nothing.
///
/// # Errors
///
/// If the tables are not those that the build packs.
pub(crate) fn unpack(packed: &[u8]) -> Result<BytePairEncoding> {
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut unpacked).map_err(wrong)?;
    let mut sections = Sections(&unpacked);
    let lengths = sections.next()?;
    let splits = pairs(sections.next()?);
    let fields = [
        ("all_tokens", Field::Numbers(Vec::new())),
        ("token_starts", Field::Numbers(starts(lengths))),
        ("bytes_hash_to_token", Field::Merges(Vec::new())),
        ("pair_lookup", Field::Merges(merges(&splits)?)),
        ("split_table", Field::Pairs(splits)),
        ("next_prefix_match", Field::Numbers(numbers(sections.next()?).collect())),
        ("longest_searcher", Field::Bytes(sections.next()?)),
        // Counting uses neither of them, but they must be automata.
        ("overlapping_searcher", Field::Bytes(sections.0)),
        ("overlapping_searcher_rev", Field::Bytes(sections.0)),
        ("hash_factor", Field::Number(1)),
    ];
    BytePairEncoding::deserialize(MapDeserializer::new(fields.into_iter()))
}

fn wrong(error: impl Display) -> value::Error {
    value::Error::custom(error)
}

/// Sections, each with its length before it, and what comes after them.
struct Sections<'t>(&'t [u8]);

impl<'t> Sections<'t> {
    fn next(&mut self) -> Result<&'t [u8]> {
        let (length, rest) = self.0.split_first_chunk().ok_or_else(|| wrong("no section"))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(wrong)?;
        let (section, rest) = rest.split_at_checked(length).ok_or_else(|| wrong("a short section"))?;
        self.0 = rest;
        Ok(section)
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().copied().map(u32::from_le_bytes)
}

fn pairs(bytes: &[u8]) -> Vec<(u32, u32)> {
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs
        .iter()
        .map(|&[a, b, c, d, e, f, g, h]| (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
        .collect()
}

/// Returns where each token begins among all of them, and where the last one ends.
fn starts(lengths: &[u8]) -> Vec<u32> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += u32::from(*length);
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Returns the token that each two tokens make. A token that no two make is split into itself.
fn merges(splits: &[(u32, u32)]) -> Result<Vec<((u32, u32), u32)>> {
    let mut merges = Vec::with_capacity(splits.len());
    for (token, pair) in splits.iter().enumerate() {
        let token = u32::try_from(token).map_err(wrong)?;
        if *pair != (token, token) {
            merges.push((*pair, token));
        }
    }
    Ok(merges)
}

/// A field of [`BytePairEncoding`], as serde reads it.
enum Field<'t> {
    Number(u64),
    Bytes(&'t [u8]),
    Numbers(Vec<u32>),
    Pairs(Vec<(u32, u32)>),
    Merges(Vec<((u32, u32), u32)>),
}

impl<'de> IntoDeserializer<'de> for Field<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Number(number) => visitor.visit_u64(number),
            Self::Bytes(bytes) => visitor.visit_bytes(bytes),
            Self::Numbers(list) => visitor.visit_seq(SeqDeserializer::new(list.into_iter())),
            Self::Pairs(list) => visitor.visit_seq(SeqDeserializer::new(list.into_iter().map(Pair))),
            Self::Merges(map) => {
                let entries = map.into_iter().map(|(pair, token)| (Pair(pair), token));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Two tokens.
struct Pair((u32, u32));

impl<'de> IntoDeserializer<'de> for Pair {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Pair {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Self((first, second)) = self;
        visitor.visit_seq(SeqDeserializer::new([first, second].into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
