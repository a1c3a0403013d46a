//! Small contracts for the tests.

use std::path::Path;

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use protox::{Compiler, Error};

const FILE: &str = "crm/v1/test.proto";

/// Resolves the single file with this text.
struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == FILE { File::from_source(name, &self.0) } else { Err(Error::file_not_found(name)) }
    }
}

/// Returns the descriptors of a file of the package with these imports and declarations.
pub(crate) fn compile(imports: &[&str], declarations: &str) -> Vec<u8> {
    let imports: String = imports.iter().map(|name| format!("import {name:?};\n")).collect();
    let mut files = ChainFileResolver::new();
    files.add(Source(format!("syntax = \"proto3\";\npackage crm.v1;\n{imports}{declarations}")));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for include in ["proto", "third_party/proto"] {
        files.add(IncludeFileResolver::new(root.join(include)));
    }
    files.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(files);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(FILE).expect("the test's proto compiles");
    compiler.encode_file_descriptor_set()
}

/// Returns the descriptors of a file with these declarations, which may have rules.
pub(crate) fn compile_messages(declarations: &str) -> Vec<u8> {
    let imports = [
        "buf/validate/validate.proto",
        "google/protobuf/descriptor.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/timestamp.proto",
        "google/protobuf/wrappers.proto",
    ];
    let option = "extend google.protobuf.FieldOptions { bool per_item = 83217; }";
    compile(&imports, &format!("{option}\n{declarations}"))
}

/// Returns the contract of a file with these declarations, which may have rules.
pub(crate) fn messages(declarations: &str) -> DescriptorPool {
    pool(&compile_messages(declarations))
}

/// Returns the contract of a service with these methods.
pub(crate) fn service(methods: &str) -> DescriptorPool {
    let declarations = format!(
        "message Thing {{ string id = 1; int32 size = 2; repeated string names = 3; }} \
         message M {{ string id = 1; Thing thing = 2; string request_id = 3; }} message N {{}} \
         message Sized {{ string id = 1; string etag = 2; int32 size = 3; }} \
         message Set {{ Sized sized = 1; google.protobuf.FieldMask update_mask = 2; string request_id = 3; }} \
         message SetSize {{ string id = 1; Sized sized = 2; google.protobuf.FieldMask update_mask = 3; \
                            string etag = 4; string request_id = 5; }} \
         message Bare {{ string id = 1; google.protobuf.FieldMask update_mask = 2; string request_id = 3; }} \
         message Done {{ Sized sized = 1; }} \
         message Loop {{ Loop inner = 1; }} \
         service Things {{ {methods} }}"
    );
    pool(&compile(&["crm/v1/access.proto", "google/protobuf/field_mask.proto"], &declarations))
}

/// Returns the contract of a service with these methods, which have bindings to HTTP.
pub(crate) fn http(methods: &str) -> DescriptorPool {
    let declarations = format!(
        "enum Kind {{ KIND_UNSPECIFIED = 0; }} \
         message Thing {{ string id = 1; string name = 2; }} \
         message Act {{ string id = 1; Thing thing = 2; repeated Thing things = 3; repeated string names = 4; \
                        Kind kind = 5; int32 size = 6; double weight = 7; }} \
         message Done {{ Thing thing = 1; }} \
         service Things {{ {methods} }}"
    );
    pool(&compile(&["google/api/annotations.proto"], &declarations))
}

/// Returns the contract of a service with these methods, which have bindings and comments, and of these declarations.
pub(crate) fn documented(methods: &str, declarations: &str) -> DescriptorPool {
    let imports = [
        "buf/validate/validate.proto",
        "crm/v1/access.proto",
        "google/api/annotations.proto",
        "google/api/field_behavior.proto",
        "google/protobuf/struct.proto",
        "google/protobuf/timestamp.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    ];
    let own = "// Kind is a kind.\nenum Kind { KIND_UNSPECIFIED = 0; KIND_A = 1; }\n\
               message Thing { string id = 1 [(google.api.field_behavior) = OUTPUT_ONLY]; \
               string name = 2 [(google.api.field_behavior) = REQUIRED]; } message Done {}\n";
    let service = format!("\n// Things are there.\nservice Things {{\n  {methods}\n}}");
    pool(&compile(&imports, &format!("{own}{declarations}{service}")))
}

/// Returns the pool of these descriptors.
pub(crate) fn pool(encoded: &[u8]) -> DescriptorPool {
    DescriptorPool::decode(encoded).expect("the descriptors fit together")
}
