//! Keeps the part of the tables of `bpe-openai` that counting needs: a third of them.
//!
//! The rest, which encodes and decodes, stays empty. Counting never reads it: the tests of this crate compare counts
//! with those of the reference.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use bpe_openai::byte_pair_encoding::BytePairEncoding;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The tables of an encoding, with the names of the fields of `BytePairEncoding`. If another version has other fields,
/// this build fails.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    all_tokens: Vec<u8>,
    token_starts: Vec<u32>,
    bytes_hash_to_token: HashMap<u32, u32>,
    split_table: Vec<(u32, u32)>,
    pair_lookup: HashMap<(u32, u32), u32>,
    longest_searcher: ByteBuf,
    overlapping_searcher: ByteBuf,
    overlapping_searcher_rev: ByteBuf,
    next_prefix_match: Vec<u32>,
    hash_factor: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR")?;
    let encodings =
        [("cl100k_base", bpe_openai::cl100k_base()), ("o200k_base", bpe_openai::o200k_base())];
    for (name, encoding) in encodings {
        fs::write(Path::new(&out).join(name), packed(&encoding.bpe)?)?;
    }
    Ok(())
}

/// Returns the tables of an encoding without what counting does not need.
fn packed(encoding: &BytePairEncoding) -> Result<Vec<u8>, Box<dyn Error>> {
    // An automaton cannot be without any token.
    let small = tables(&BytePairEncoding::from_dictionary([b"a".to_vec()], None))?;
    let tables = Tables {
        all_tokens: Vec::new(),
        bytes_hash_to_token: HashMap::new(),
        overlapping_searcher: small.overlapping_searcher,
        overlapping_searcher_rev: small.overlapping_searcher_rev,
        ..tables(encoding)?
    };
    Ok(rmp_serde::to_vec_named(&tables)?)
}

fn tables(encoding: &BytePairEncoding) -> Result<Tables, Box<dyn Error>> {
    Ok(rmp_serde::from_slice(&rmp_serde::to_vec_named(encoding)?)?)
}
