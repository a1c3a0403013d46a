//! The Rust names that prost gives to the declarations of the protos. prost converts their case with heck too.

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};

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
    escaped(name.to_snake_case())
}

/// Returns the name of a type or a variant: `UpperCamelCase`, escaped if it is a keyword.
pub(crate) fn camel(name: &str) -> String {
    escaped(name.to_upper_camel_case())
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
