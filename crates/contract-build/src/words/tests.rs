//! Tests of what the build accepts and refuses.

use super::*;
use crate::testing;

fn generate_from(declarations: &str) -> Result<String, String> {
    generate(&testing::messages(declarations), "crm.v1")
}

#[test]
fn enums_become_words() {
    let code = generate_from("message Outer { enum Kind { KIND_UNSPECIFIED = 0; KIND_PO_BOX = 1; } }");
    let code = code.expect("a good enum");
    for part in [
        "impl crate::words::Word for crate::pb::outer::Kind",
        "const NAME: &'static str = \"Outer.Kind\"",
        "const PREFIX: &'static str = \"KIND_\"",
        "\"PO_BOX\" => Self::try_from(1).ok()",
    ] {
        assert!(code.contains(part), "{part} in {code}");
    }
    assert!(!code.contains("\"UNSPECIFIED\" =>"), "{code}");
}

#[test]
fn enums_without_order_are_refused() {
    for (declaration, part) in [
        ("enum Kind { KIND_NONE = 0; }", "KIND_NONE"),
        ("enum Kind { UNSPECIFIED = 0; }", "UNSPECIFIED"),
        ("enum Kind { KIND_UNSPECIFIED = 0; OTHER = 1; }", "OTHER"),
        ("enum Kind { KIND_UNSPECIFIED = 0; KIND_ = 1; }", "KIND_"),
        (
            "enum Kind { option allow_alias = true; KIND_UNSPECIFIED = 0; KIND_A = 1; KIND_B = 1; }",
            "repeats the number 1",
        ),
    ] {
        let error = generate_from(declaration).expect_err(declaration);
        assert!(error.starts_with("crm.v1.Kind: ") && error.contains(part), "{error}");
    }
}
