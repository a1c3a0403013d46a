//! Generates the Rust code of the contract: messages and services, the checks of its rules, the shapes of requests,
//! common traits of enums and requests, and the table of RPCs. Also generates the texts of the migrations.

#[path = "build/ids.rs"]
mod ids;
#[path = "build/methods.rs"]
mod methods;
#[path = "build/migrations.rs"]
mod migrations;
#[path = "build/requests.rs"]
mod requests;
#[path = "build/shapes.rs"]
mod shapes;
#[path = "build/validation.rs"]
mod validation;
#[path = "build/words.rs"]
mod words;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

/// The package for which code is generated; imported packages are only read.
const PACKAGE: &str = "crm.v1";
/// Where the contract and its vendored imports are.
const INCLUDES: [&str; 2] = ["proto", "third_party/proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for changed in ["build", "build.rs", "migrations", "proto", "third_party"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(INCLUDES)?;
    compiler.include_imports(true).include_source_info(true).open_files(contract_files()?)?;
    let encoded = compiler.encode_file_descriptor_set();
    let pool = prost_reflect::DescriptorPool::decode(encoded.as_slice())?;

    fs::write(out.join("descriptor.bin"), without_foreign_comments(&encoded)?)?;
    fs::write(out.join("methods.rs"), methods::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("rpcs.rs"), methods::series(&pool, PACKAGE))?;
    fs::write(out.join("validation.rs"), validation::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("shapes.rs"), shapes::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("words.rs"), words::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("requests.rs"), requests::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("ids.rs"), ids::generate(&pool, PACKAGE)?)?;
    fs::write(out.join("migrations.rs"), migrations::generate()?)?;
    fs::write(out.join("fuzzing.rs"), requests::list(&pool, PACKAGE))?;

    // Vendored options are left out: prost would generate code for them that is never called.
    let mut contract = compiler.file_descriptor_set();
    contract.file.retain(|file| file.package() == PACKAGE || file.package().starts_with("google."));
    let mut messages = prost_build::Config::new();
    messages.enable_type_names();
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .btree_map(".")
        .codec_path("crate::rpc::codec::Codec")
        .compile_fds_with_config(contract, messages)?;
    Ok(())
}

/// The contract's own files, as paths below their include directory, in a fixed order. Also the details of errors: no
/// file imports them, but clients look them up through reflection to show them.
fn contract_files() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = vec![PathBuf::from("google/rpc/error_details.proto")];
    for entry in fs::read_dir("proto/crm/v1")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path.strip_prefix(Path::new("proto"))?.to_path_buf());
        }
    }
    files.sort();
    Ok(files)
}

/// Returns what reflection serves: our own comments, but not those of vendored files. The latter are most of the
/// bytes, and are documented elsewhere.
///
/// Works on the bytes' own descriptor, because decoding them into plain structs would lose the options, which are our
/// annotations.
fn without_foreign_comments(encoded: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    const FILE: u32 = 1;
    let set = prost_reflect::DescriptorPool::global();
    let descriptor = set
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .ok_or("google.protobuf.FileDescriptorSet is not known")?;
    let mut set = prost_reflect::DynamicMessage::decode(descriptor, encoded)?;
    if let Some(files) = set.get_field_by_number_mut(FILE).and_then(prost_reflect::Value::as_list_mut) {
        for file in files.iter_mut().filter_map(prost_reflect::Value::as_message_mut) {
            let ours =
                file.get_field_by_name("package").is_some_and(|package| package.as_str() == Some(PACKAGE));
            if !ours {
                file.clear_field_by_name("source_code_info");
            }
        }
    }
    let bytes = set.encode_to_vec();
    FileDescriptorSet::decode(bytes.as_slice())?;
    Ok(bytes)
}
