//! Generates the servers of the contract, what the service knows about its RPCs and requests, the routes and the
//! document of HTTP with its viewer, and the texts of the migrations.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crm_contract_build::{Contract, Error};

mod gzip;
mod migrations;
mod viewer;

fn main() -> Result<(), Error> {
    for changed in ["build", migrations::FOLDER] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let contract = Contract::compile(Path::new(""))?;
    contract.write_servers("crate::rpc::codec::Codec")?;
    contract.write_methods()?;
    contract.write_requests()?;
    contract.write_routes()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let document = contract.openapi(&env::var("CARGO_PKG_VERSION")?)?;
    fs::write(out.join("openapi.json.gz"), gzip::compressed(document.as_bytes())?)?;
    viewer::write(&out)?;
    Ok(fs::write(out.join("migrations.rs"), migrations::table()?)?)
}
