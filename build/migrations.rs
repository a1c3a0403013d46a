//! The names and texts of the migrations.

use std::fmt::Write;
use std::{fs, io};

use crm_contract_build::Error;

/// The directory of the migrations, with one directory for each.
pub(crate) const FOLDER: &str = "migrations";

/// Generates a table of the names and texts of the migrations, which diesel compiles in but does not expose.
///
/// The compiler, and not this script, adds the directory of the package: two clones that share a target directory then
/// do not read each other's files.
pub(crate) fn table() -> Result<String, Error> {
    let folders = fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = folders.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    let mut code = "pub(super) const TEXTS: &[(&str, &str)] = &[\n".to_owned();
    for name in names {
        let path = format!("/{FOLDER}/{name}/up.sql");
        writeln!(code, "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")?;
    }
    code.push_str("];\n");
    Ok(code)
}
