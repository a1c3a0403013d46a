//! The Rust names that prost gives to the declarations of the protos.
//!
//! prost takes its case conversion from heck; this is the part of it that proto identifiers need.

/// Returns the Rust path of a message or an enum of `package`: `crm.v1.Outer.Inner` becomes
/// `crate::pb::outer::Inner`.
///
/// # Errors
///
/// If the type belongs to another package.
pub(crate) fn rust_path(full_name: &str, package: &str) -> Result<String, String> {
    let local = full_name
        .strip_prefix(package)
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or_else(|| format!("{full_name} is not of package {package}"))?;
    let (outer, name) = local.rsplit_once('.').unwrap_or(("", local));
    let modules = outer.split('.').filter(|part| !part.is_empty());
    let modules: String = modules.map(|part| snake(part) + "::").collect();
    Ok(format!("crate::pb::{modules}{}", camel(name)))
}

/// Returns the name of a field or a module: `snake_case`, escaped if it is a keyword.
pub(crate) fn snake(name: &str) -> String {
    let words: Vec<String> = words(name).iter().map(|w| w.to_lowercase()).collect();
    escaped(words.join("_"))
}

/// Returns the name of a type or a variant: `UpperCamelCase`, escaped if it is a keyword.
pub(crate) fn camel(name: &str) -> String {
    let capitalized = |word: &&str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + &rest.to_lowercase()
    };
    escaped(words(name).iter().map(capitalized).collect())
}

/// Splits an ASCII identifier at underscores and where its case shows that a word begins:
/// `HTTPServer_v2Name` becomes HTTP, Server, v2, Name.
fn words(name: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in name.split('_').filter(|part| !part.is_empty()) {
        let bytes = part.as_bytes();
        let (mut start, mut case) = (0, None);
        for at in 0..bytes.len() - 1 {
            let next_case = case_of(bytes[at]).or(case);
            let ends = next_case == Some(Case::Lower) && case_of(bytes[at + 1]) == Some(Case::Upper);
            let begins = case == Some(Case::Upper)
                && case_of(bytes[at]) == Some(Case::Upper)
                && case_of(bytes[at + 1]) == Some(Case::Lower);
            case = if ends || begins { None } else { next_case };
            if ends || begins {
                let end = if ends { at + 1 } else { at };
                words.push(&part[start..end]);
                start = end;
            }
        }
        words.push(&part[start..]);
    }
    words
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Lower,
    Upper,
}

fn case_of(byte: u8) -> Option<Case> {
    match byte {
        b'a'..=b'z' => Some(Case::Lower),
        b'A'..=b'Z' => Some(Case::Upper),
        _ => None,
    }
}

fn escaped(name: String) -> String {
    match name.as_str() {
        "as" | "break" | "const" | "continue" | "else" | "enum" | "false" | "fn" | "for" | "if" | "impl"
        | "in" | "let" | "loop" | "match" | "mod" | "move" | "mut" | "pub" | "ref" | "return" | "static"
        | "struct" | "trait" | "true" | "type" | "unsafe" | "use" | "where" | "while" | "dyn"
        | "abstract" | "become" | "box" | "do" | "final" | "macro" | "override" | "priv" | "typeof"
        | "unsized" | "virtual" | "yield" | "async" | "await" | "try" | "gen" => format!("r#{name}"),
        "super" | "self" | "Self" | "extern" | "crate" => format!("{name}_"),
        _ => name,
    }
}
