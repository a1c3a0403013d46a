//! The compiled protos, and everything that is generated from them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use prost_types::FileDescriptorSet;
use protox::Compiler;
use tonic_prost_build::Builder;

use crate::{ids, methods, openapi, requests, routes, shapes, validation, words};

/// The package for which code is generated; imported packages are only read.
const PACKAGE: &str = "crm.v1";

/// Where the contract and its vendored imports are, below the repository's root.
const INCLUDES: [&str; 2] = ["proto", "third_party/proto"];

/// Why a build fails: a text for the person who changed the protos, or an error of the tools.
pub type Error = Box<dyn std::error::Error>;

type Result<T, E = Error> = std::result::Result<T, E>;

/// The compiled contract.
#[derive(Debug)]
pub struct Contract {
    files: FileDescriptorSet,
    /// The same with all options, which `files` has lost.
    encoded: Vec<u8>,
    pool: DescriptorPool,
    out: PathBuf,
}

impl Contract {
    /// Compiles the contract of the repository whose root is `root`. Tells Cargo to run the build script again when a
    /// proto changes. Generated files go to the `OUT_DIR` of the build script.
    ///
    /// # Errors
    ///
    /// If a proto cannot be read or is invalid, or outside of a build script.
    pub fn compile(root: &Path) -> Result<Self> {
        let includes = INCLUDES.map(|include| root.join(include));
        for include in &includes {
            println!("cargo::rerun-if-changed={}", include.display());
        }
        let out = PathBuf::from(env::var("OUT_DIR")?);
        let mut compiler = Compiler::new(&includes)?;
        compiler.include_imports(true).include_source_info(true).open_files(files(&includes[0])?)?;
        let encoded = compiler.encode_file_descriptor_set();
        let pool = DescriptorPool::decode(encoded.as_slice())?;
        Ok(Self { files: compiler.file_descriptor_set(), encoded, pool, out })
    }

    /// Writes `descriptor.bin`: the contract as a `google.protobuf.FileDescriptorSet`, with our comments only.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_descriptor(&self) -> Result<()> {
        self.write("descriptor.bin", without_foreign_comments(&self.encoded)?)
    }

    /// Writes `crm.v1.rs`: the messages; the clients, under `feature = "client"`; and the servers, under
    /// `feature = "server"`. A method that an implementation of a server does not have answers UNIMPLEMENTED.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_messages(&self) -> Result<()> {
        let builder = tonic_prost_build::configure()
            .generate_default_stubs(true)
            .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
            .server_mod_attribute(".", "#[cfg(feature = \"server\")]");
        self.generate(builder)
    }

    /// Writes `crm.v1.rs`: the servers alone, with the codec of this path. An implementation must have every method.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_servers(&self, codec: &str) -> Result<()> {
        let builder = tonic_prost_build::configure()
            .build_client(false)
            .extern_path(format!(".{PACKAGE}"), "crate::pb")
            .codec_path(codec);
        self.generate(builder)
    }

    /// Writes `validation.rs`: a `Validate` for every message.
    ///
    /// # Errors
    ///
    /// If a rule is not supported, or contradicts another one.
    pub fn write_validation(&self) -> Result<()> {
        self.write("validation.rs", validation::generate(&self.pool, PACKAGE)?)
    }

    /// Writes `words.rs`: a `Word` for every enum.
    ///
    /// # Errors
    ///
    /// If the values of an enum have no common prefix.
    pub fn write_words(&self) -> Result<()> {
        self.write("words.rs", words::generate(&self.pool, PACKAGE)?)
    }

    /// Writes what the service knows about its RPCs: `methods.rs` (what a caller needs, and what a call costs),
    /// `rpcs.rs` (their names, for series) and `fuzzing.rs` (the list of all requests).
    ///
    /// # Errors
    ///
    /// If an RPC does not say what it needs, changes or costs.
    pub fn write_methods(&self) -> Result<()> {
        self.write("methods.rs", methods::generate(&self.pool, PACKAGE)?)?;
        self.write("rpcs.rs", methods::series(&self.pool, PACKAGE))?;
        self.write("fuzzing.rs", requests::list(&self.pool, PACKAGE))
    }

    /// Writes what the service knows about its requests: `requests.rs` (the traits that they share), `shapes.rs` (how
    /// many items their lists may have) and `ids.rs` (where they have UUIDs).
    ///
    /// # Errors
    ///
    /// If a list of a request has no limit, or a request that changes something cannot be retried safely.
    pub fn write_requests(&self) -> Result<()> {
        self.write("requests.rs", requests::generate(&self.pool, PACKAGE)?)?;
        self.write("shapes.rs", shapes::generate(&self.pool, PACKAGE)?)?;
        self.write("ids.rs", ids::generate(&self.pool, PACKAGE)?)
    }

    /// Writes `routes.rs`: the table of the routes of HTTP.
    ///
    /// # Errors
    ///
    /// If an RPC has no binding to HTTP, a binding is not supported or does not fit its request, or two collide.
    pub fn write_routes(&self) -> Result<()> {
        self.write("routes.rs", routes::generate(&self.pool, PACKAGE)?)
    }

    /// Returns the OpenAPI document of the contract. `version` is that of the product.
    ///
    /// # Errors
    ///
    /// If a binding or a rule is not supported.
    pub fn openapi(&self, version: &str) -> Result<String> {
        Ok(openapi::generate(&self.pool, PACKAGE, version)?)
    }

    /// Runs prost and tonic.
    fn generate(&self, builder: Builder) -> Result<()> {
        // Vendored options are left out: prost would generate code for them that is never called.
        let mut files = self.files.clone();
        files.file.retain(|file| file.package() == PACKAGE || file.package().starts_with("google."));
        let mut messages = prost_build::Config::new();
        messages.enable_type_names();
        let builder =
            builder.out_dir(&self.out).extern_path(".google.rpc", "::tonic_types::pb").btree_map(".");
        Ok(builder.compile_fds_with_config(files, messages)?)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        Ok(fs::write(self.out.join(name), content)?)
    }
}

/// Returns the contract's own files below the include directory `protos`, in a fixed order. Also the details of errors:
/// no file imports them, but clients look them up through reflection to show them.
fn files(protos: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("google/rpc/error_details.proto")];
    for entry in fs::read_dir(protos.join("crm/v1"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path.strip_prefix(protos)?.to_path_buf());
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
fn without_foreign_comments(encoded: &[u8]) -> Result<Vec<u8>> {
    const FILE: u32 = 1;
    let descriptor = DescriptorPool::global()
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .ok_or("google.protobuf.FileDescriptorSet is not known")?;
    let mut set = DynamicMessage::decode(descriptor, encoded)?;
    if let Some(files) = set.get_field_by_number_mut(FILE).and_then(Value::as_list_mut) {
        for file in files.iter_mut().filter_map(Value::as_message_mut) {
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
