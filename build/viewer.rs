//! Takes the viewer of the OpenAPI document (Swagger UI) out of the ZIP archive of its crate. So it needs no internet: the
//! program embeds it, compressed as it is in the archive.

use std::fs;
use std::path::Path;

use crm_contract_build::Error;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

use crate::gzip;

/// The files of the viewer: the ends of their names in the archive, and their names here.
const FILES: [(&str, &str); 2] =
    [("/dist/swagger-ui-bundle.js", "viewer.js.gz"), ("/dist/swagger-ui.css", "viewer.css.gz")];

/// The method of compression that gzip has too.
const DEFLATE: u16 = 8;

/// A file in the archive.
struct Entry<'a> {
    name: &'a [u8],
    method: u16,
    checksum: u32,
    length: u32,
    compressed: &'a [u8],
}

/// Writes the files of the viewer, each as gzip.
pub(crate) fn write(out: &Path) -> Result<(), Error> {
    let entries = entries().ok_or("the archive of the viewer is no ZIP")?;
    for (end, name) in FILES {
        let entry = entries.iter().find(|entry| entry.name.ends_with(end.as_bytes()));
        let entry = entry.filter(|entry| entry.method == DEFLATE);
        let entry = entry.ok_or_else(|| format!("the archive of the viewer has no compressed {end}"))?;
        fs::write(out.join(name), gzip::wrapped(entry.compressed, entry.checksum, entry.length))?;
    }
    Ok(())
}

/// Reads the directory at the end of the archive; `None` if there is none.
fn entries() -> Option<Vec<Entry<'static>>> {
    let end = ARCHIVE.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let count = short(end + 10)?;
    let mut at = usize::try_from(long(end + 16)?).ok()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        ARCHIVE.get(at..at + 4).filter(|bytes| bytes == b"PK\x01\x02")?;
        let [name, extra, comment] = [short(at + 28)?, short(at + 30)?, short(at + 32)?].map(usize::from);
        entries.push(Entry {
            name: ARCHIVE.get(at + 46..at + 46 + name)?,
            method: short(at + 10)?,
            checksum: long(at + 16)?,
            length: long(at + 24)?,
            compressed: content(
                usize::try_from(long(at + 42)?).ok()?,
                usize::try_from(long(at + 20)?).ok()?,
            )?,
        });
        at += 46 + name + extra + comment;
    }
    Some(entries)
}

/// Returns the bytes of a file whose header is at this place.
fn content(header: usize, length: usize) -> Option<&'static [u8]> {
    let names = usize::from(short(header + 26)?) + usize::from(short(header + 28)?);
    let start = header + 30 + names;
    ARCHIVE.get(start..start + length)
}

fn short(at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(ARCHIVE.get(at..at + 2)?.try_into().ok()?))
}

fn long(at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(ARCHIVE.get(at..at + 4)?.try_into().ok()?))
}
