//! What fails the build, and what does not.

use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use super::*;

const FILE: &str = "test.proto";

/// Finds the one file whose text it holds.
struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

fn generate_from(methods: &str) -> Result<String, String> {
    let source = format!(
        "syntax = \"proto3\"; package crm.v1; import \"crm/v1/access.proto\"; \
         message M {{}} service Things {{ {methods} }}"
    );
    let mut files = ChainFileResolver::new();
    files.add(Source(source));
    files.add(IncludeFileResolver::new(concat!(env!("CARGO_MANIFEST_DIR"), "/proto").into()));
    files.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(files);
    compiler.include_imports(true);
    compiler.open_file(FILE).expect("the test's proto compiles");
    let set = compiler.encode_file_descriptor_set();
    let pool = DescriptorPool::decode(set.as_slice()).expect("the descriptors fit together");
    generate(&pool, "crm.v1")
}

#[test]
fn an_rpc_with_a_scope_is_in_the_table() {
    let code = generate_from(
        "rpc Get(M) returns (M) { option (crm.v1.access) = {scope: SCOPE_READ}; } \
         rpc Add(stream M) returns (M) { option (crm.v1.access) = {scope: SCOPE_WRITE}; }",
    );
    let code = code.expect("a good service");
    for part in [
        "\"/crm.v1.Things/Get\" => Some(&Method { name: \"Things/Get\", scope: crate::pb::Scope::Read, streaming: false })",
        "\"/crm.v1.Things/Add\" => Some(&Method { name: \"Things/Add\", scope: crate::pb::Scope::Write, streaming: true })",
    ] {
        assert!(code.contains(part), "{part} in {code}");
    }
}

#[test]
fn an_rpc_without_a_scope_is_refused() {
    for method in [
        "rpc Get(M) returns (M);",
        "rpc Get(M) returns (M) { option (crm.v1.access) = {}; }",
        "rpc Get(M) returns (M) { option (crm.v1.access) = {scope: SCOPE_UNSPECIFIED}; }",
    ] {
        let error = generate_from(method).expect_err(method);
        assert!(error.starts_with("crm.v1.Things.Get: say what a caller needs"), "{error}");
    }
}
