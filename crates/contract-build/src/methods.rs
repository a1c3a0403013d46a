//! Generates the table of the contract's RPCs: the path of each, what a caller needs for it, what it changes, and
//! what it costs.

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage, Value};

use crate::validation::names;

/// The option that says what a call needs, what it changes, and what it costs.
const ACCESS: &str = "crm.v1.access";

/// The value of `idempotency_level` that says that an RPC changes nothing.
const NO_SIDE_EFFECTS: i32 = 1;

/// What an RPC changes, by its option.
pub(crate) struct Resource {
    /// The kind of resource: a variant of `ResourceType`.
    pub(crate) kind: String,
    /// The path of the field with the resource's id, from `request` or `response`.
    pub(crate) id: String,
}

/// Returns the Rust code of `methods.rs` in the build's output directory: a function `find` from a path to its RPC.
///
/// # Errors
///
/// If an RPC does not say which scope it needs, what it changes, or what it costs: the build fails with a text that
/// names it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut arms = String::new();
    for (place, method) in of_package(pool, package).iter().enumerate() {
        arms += &arm(pool, method, place)?;
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

/// Returns the Rust code of `rpcs.rs`: the names and kinds of all RPCs, for the names of series. An RPC's index in it
/// is its `place` in `methods.rs`.
pub(crate) fn series(pool: &DescriptorPool, package: &str) -> String {
    let rows: String = of_package(pool, package)
        .iter()
        .map(|method| {
            let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => "Unary",
                (true, false) => "ClientStream",
                (false, true) => "ServerStream",
                (true, true) => "BidiStream",
            };
            let (service, name) = (method.parent_service(), method.name());
            format!("    Rpc {{ name: \"{}/{name}\", kind: Kind::{kind} }},\n", service.full_name())
        })
        .collect();
    format!("pub(super) const RPCS: &[Rpc] = &[\n{rows}];\n")
}

/// Returns all RPCs of a package.
pub(crate) fn of_package(pool: &DescriptorPool, package: &str) -> Vec<MethodDescriptor> {
    let services = pool.services().filter(|service| service.package_name() == package);
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Returns what a method changes; `None` if it only reads.
///
/// # Errors
///
/// If its options contradict each other, or are incomplete.
pub(crate) fn resource(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Option<Resource>, String> {
    let access = access(pool, method)?;
    let resource = access.get_field_by_name("resource").and_then(|value| value.as_message().cloned());
    let named = access.has_field_by_name("resource").then_some(resource).flatten().map(|resource| {
        let id = resource.get_field_by_name("id").and_then(|value| value.as_str().map(str::to_owned));
        let kind = variant(&resource, "type", "RESOURCE_TYPE_").unwrap_or_default();
        Resource { kind, id: id.unwrap_or_default() }
    });
    let name = method.full_name();
    match (reads_only(method), named) {
        (true, None) => Ok(None),
        (true, Some(_)) => Err(format!("{name}: changes something, or has no side effects?")),
        (false, Some(resource)) if !resource.kind.is_empty() => Ok(Some(resource)),
        (false, _) => Err(format!(
            "{name}: say what it changes: option ({ACCESS}) = {{… resource: {{type: …, id: …}}}}, or that it \
             changes nothing: option idempotency_level = NO_SIDE_EFFECTS"
        )),
    }
}

fn arm(pool: &DescriptorPool, method: &MethodDescriptor, place: usize) -> Result<String, String> {
    let service = method.parent_service();
    let kind = match resource(pool, method)? {
        Some(Resource { kind, .. }) => format!("Some(crate::pb::ResourceType::{kind})"),
        None => "None".to_owned(),
    };
    let named = |error: String| format!("{}: {error}", method.full_name());
    let scope = word(pool, method, "scope").map_err(named)?;
    let cost = word(pool, method, "cost").map_err(named)?;
    let streaming = method.is_client_streaming() || method.is_server_streaming();
    if streaming && cost != "Low" {
        return Err(named(
            "a stream would have its place for as long as it is open: say cost: ACCESS_COST_LOW".to_owned(),
        ));
    }
    Ok(format!(
        "        \"/{full}/{name}\" => Some(&Method {{ place: {place}, name: \"{full}/{name}\", scope: crate::pb::AccessScope::{scope}, \
         cost: crate::pb::AccessCost::{cost}, resource_type: {kind}, streaming: {streaming} }}),\n",
        full = service.full_name(),
        name = method.name(),
    ))
}

/// Returns the enum variant that the option of a method names.
pub(crate) fn word(pool: &DescriptorPool, method: &MethodDescriptor, field: &str) -> Result<String, String> {
    let prefix = format!("ACCESS_{}_", field.to_uppercase());
    variant(&access(pool, method)?, field, &prefix)
        .ok_or_else(|| format!("say what a call needs: option ({ACCESS}) = {{{field}: …}}"))
}

/// Returns the Rust variant of a field's enum value; `None` if it is UNSPECIFIED.
fn variant(message: &DynamicMessage, field: &str, prefix: &str) -> Option<String> {
    let field = message.descriptor().get_field_by_name(field)?;
    let number = message.get_field(&field).as_enum_number().filter(|number| *number != 0)?;
    let value = field.kind().as_enum()?.get_value(number)?;
    Some(names::camel(value.name().strip_prefix(prefix)?))
}

/// Returns the option of a method; an empty one if it has none.
fn access(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<DynamicMessage, String> {
    let extension =
        pool.get_extension_by_name(ACCESS).ok_or_else(|| format!("there is no option {ACCESS}"))?;
    match method.options().get_extension(&extension).into_owned() {
        Value::Message(access) => Ok(access),
        _ => Err(format!("the option {ACCESS} is no message")),
    }
}

fn reads_only(method: &MethodDescriptor) -> bool {
    let level =
        method.options().get_field_by_name("idempotency_level").and_then(|value| value.as_enum_number());
    level == Some(NO_SIDE_EFFECTS)
}

#[cfg(test)]
mod tests;
