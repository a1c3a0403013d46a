//! The texts of the migrations, which diesel compiles in but does not expose.

use std::error::Error;
use std::fmt::Write;
use std::{env, fs};

/// The directory of the migrations, with one directory for each.
const FOLDER: &str = "migrations";

/// Generates a table of their names and texts.
pub(crate) fn generate() -> Result<String, Box<dyn Error>> {
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let folders = fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = folders.collect::<Result<Vec<_>, std::io::Error>>()?;
    names.sort();
    let mut code = "pub(super) const TEXTS: &[(&str, &str)] = &[\n".to_owned();
    for name in names {
        writeln!(code, "    ({name:?}, include_str!({:?})),", format!("{root}/{FOLDER}/{name}/up.sql"))?;
    }
    code.push_str("];\n");
    Ok(code)
}
