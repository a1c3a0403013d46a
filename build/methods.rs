//! Writes the table of the contract's RPCs: how each is called, and what a caller needs for it.

use prost_reflect::{DescriptorPool, MethodDescriptor, ReflectMessage};

use super::validation::names;

/// The option that says what a call needs.
const ACCESS: &str = "crm.v1.access";

/// The Rust code of `methods.rs` in the build's output directory: a function `find` from a path to the
/// RPC that is called by it.
///
/// # Errors
///
/// An RPC that does not say which scope it needs: the build fails with a text that names it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut arms = String::new();
    for service in pool.services().filter(|service| service.package_name() == package) {
        for method in service.methods() {
            arms += &arm(pool, &method)?;
        }
    }
    Ok(format!(
        "pub(super) fn find(path: &str) -> Option<&'static Method> {{
    match path {{
{arms}        _ => None,
    }}
}}
"
    ))
}

fn arm(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String, String> {
    let service = method.parent_service();
    Ok(format!(
        "        \"/{full}/{name}\" => Some(&Method {{ name: \"{short}/{name}\", scope: crate::pb::Scope::{scope}, \
         streaming: {streaming} }}),\n",
        full = service.full_name(),
        short = service.name(),
        name = method.name(),
        scope = scope(pool, method).map_err(|error| format!("{}: {error}", method.full_name()))?,
        streaming = method.is_client_streaming() || method.is_server_streaming(),
    ))
}

/// The variant of the scope that a method needs.
fn scope(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String, String> {
    let extension =
        pool.get_extension_by_name(ACCESS).ok_or_else(|| format!("there is no option {ACCESS}"))?;
    let options = method.options();
    let access = options.get_extension(&extension);
    let scope = access.as_message().and_then(|access| {
        let field = access.descriptor().get_field_by_name("scope")?;
        let number = access.get_field(&field).as_enum_number().filter(|number| *number != 0)?;
        field.kind().as_enum()?.get_value(number)
    });
    let missing = || format!("say what a caller needs: option ({ACCESS}) = {{scope: …}}");
    let scope = scope.ok_or_else(missing)?;
    Ok(names::camel(scope.name().trim_start_matches("SCOPE_")))
}

#[cfg(test)]
#[path = "methods/tests.rs"]
mod tests;
