//! Generates the messages, clients and servers of the contract, the checks of its rules and the words of its enums.

use std::path::Path;

use crm_contract_build::{Contract, Error};

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    let contract = Contract::compile(Path::new("../.."))?;
    contract.write_descriptor()?;
    contract.write_messages()?;
    contract.write_validation()?;
    contract.write_words()
}
