//! Packs the part of the tables of `bpe-openai` that counting needs: 5.7 MB in place of 47.
//!
//! The rest, which encodes and decodes, is left out. Counting never reads it: the tests of this crate compare counts
//! with those of the reference.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use bpe_openai::byte_pair_encoding::BytePairEncoding;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_bytes::ByteBuf;

/// The tables of an encoding, with the names of the fields of `BytePairEncoding`. If another version has other fields,
/// this build fails.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(rename = "all_tokens")]
    _all_tokens: IgnoredAny,
    token_starts: Vec<u32>,
    #[serde(rename = "bytes_hash_to_token")]
    _bytes_hash_to_token: IgnoredAny,
    split_table: Vec<(u32, u32)>,
    /// What `split_table` says, the other way round.
    #[serde(rename = "pair_lookup")]
    _pair_lookup: IgnoredAny,
    longest_searcher: ByteBuf,
    overlapping_searcher: ByteBuf,
    #[serde(rename = "overlapping_searcher_rev")]
    _overlapping_searcher_rev: IgnoredAny,
    next_prefix_match: Vec<u32>,
    #[serde(rename = "hash_factor")]
    _hash_factor: IgnoredAny,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR")?;
    let encodings = [("cl100k_base", bpe_openai::cl100k_base()), ("o200k_base", bpe_openai::o200k_base())];
    for (name, encoding) in encodings {
        fs::write(Path::new(&out).join(name), packed(&encoding.bpe)?)?;
    }
    Ok(())
}

/// Returns what counting needs of the tables of an encoding, in the order in which `tables::unpack` reads it.
fn packed(encoding: &BytePairEncoding) -> Result<Vec<u8>, Box<dyn Error>> {
    let Tables { token_starts, split_table, next_prefix_match, longest_searcher, .. } = tables(encoding)?;
    let lengths = token_starts.windows(2).map(|ends| u8::try_from(ends[1] - ends[0]));
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    write(&mut packed, &lengths.collect::<Result<Vec<u8>, _>>()?)?;
    write(&mut packed, &bytes(split_table.iter().flat_map(|(first, second)| [*first, *second])))?;
    write(&mut packed, &bytes(next_prefix_match.into_iter()))?;
    write(&mut packed, &longest_searcher)?;
    // For the fields that counting does not read. An automaton cannot be without any token.
    let smallest = tables(&BytePairEncoding::from_dictionary([b"a".to_vec()], None))?;
    packed.write_all(&smallest.overlapping_searcher)?;
    Ok(packed.finish()?)
}

/// Writes a section: its length, and then its bytes.
fn write(packed: &mut impl Write, section: &[u8]) -> Result<(), Box<dyn Error>> {
    packed.write_all(&u32::try_from(section.len())?.to_le_bytes())?;
    packed.write_all(section)?;
    Ok(())
}

fn bytes(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn tables(encoding: &BytePairEncoding) -> Result<Tables, Box<dyn Error>> {
    Ok(rmp_serde::from_slice(&rmp_serde::to_vec_named(encoding)?)?)
}
