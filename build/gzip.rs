//! gzip, as the program embeds what it serves.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Compresses bytes.
pub(crate) fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Wraps bytes that are compressed already, by DEFLATE. `checksum` (CRC-32) and `length` are those of the bytes before.
pub(crate) fn wrapped(deflated: &[u8], checksum: u32, length: u32) -> Vec<u8> {
    // The magic number, DEFLATE, no name, no time, and no system.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    gzip.extend_from_slice(deflated);
    gzip.extend(checksum.to_le_bytes());
    gzip.extend(length.to_le_bytes());
    gzip
}
