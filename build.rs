//! Generates the servers of the contract, what the service knows about its RPCs and requests, and the texts of the
//! migrations.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crm_contract_build::{Contract, Error};

/// The directory of the migrations, with one directory for each.
const MIGRATIONS: &str = "migrations";

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
    Ok(fs::write(out.join("migrations.rs"), migrations()?)?)
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
