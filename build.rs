//! Generates the servers of the contract, what the service knows about its RPCs and requests, the routes and the
//! document of HTTP with its viewer, and the texts of the migrations.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crm_contract_build::{Contract, Error};
use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// The directory of the migrations, with one directory for each.
const MIGRATIONS: &str = "migrations";

/// The files of the viewer of the document (Swagger UI): the ends of their names in its archive, and their names here.
const VIEWER: [(&str, &str); 2] =
    [("/dist/swagger-ui-bundle.js", "viewer.js.gz"), ("/dist/swagger-ui.css", "viewer.css.gz")];

fn main() -> Result<(), Error> {
    for changed in ["build.rs", MIGRATIONS] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let contract = Contract::compile(Path::new(""))?;
    contract.write_servers("crate::rpc::codec::Codec")?;
    contract.write_methods()?;
    contract.write_requests()?;
    contract.write_routes()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let document = contract.openapi(&env::var("CARGO_PKG_VERSION")?)?;
    fs::write(out.join("openapi.json.gz"), compressed(document.as_bytes())?)?;
    write_viewer(&out)?;
    Ok(fs::write(out.join("migrations.rs"), migrations()?)?)
}

/// Takes the files of the viewer out of the archive of its crate. So it needs no internet: the program embeds it.
fn write_viewer(out: &Path) -> Result<(), Error> {
    let mut archive = zip::ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for (end, name) in VIEWER {
        let found = archive.file_names().flatten().find(|name| name.ends_with(end)).map(Cow::into_owned);
        let found = found.ok_or_else(|| format!("the archive of the viewer has no {end}"))?;
        let mut content = Vec::new();
        archive.by_name(&found)?.read_to_end(&mut content)?;
        fs::write(out.join(name), compressed(&content)?)?;
    }
    Ok(())
}

/// Compresses bytes as the program embeds them and clients take them.
fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Generates a table of the names and texts of the migrations, which diesel compiles in but does not expose.
///
/// The compiler, and not this script, adds the directory of the package: two clones that share a target directory then
/// do not read each other's files.
fn migrations() -> Result<String, Error> {
    let folders =
        fs::read_dir(MIGRATIONS)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = folders.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    let mut code = "pub(super) const TEXTS: &[(&str, &str)] = &[\n".to_owned();
    for name in names {
        let path = format!("/{MIGRATIONS}/{name}/up.sql");
        writeln!(code, "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")?;
    }
    code.push_str("];\n");
    Ok(code)
}
