//! Generates the OpenAPI document of the contract: all operations of HTTP, with the comments and the rules of the protos.
//!
//! Fields stand in the order of the protos, and the same contract always makes the same bytes.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;

use crate::bindings::{self, Binding};

mod comments;
mod headers;
mod json;
mod known;
mod operations;
mod parameters;
mod responses;
mod schemas;
mod values;

use comments::Comments;
use json::{Json, Object};
use schemas::Schemas;

/// The version of OpenAPI.
const OPENAPI: &str = "3.1.0";

/// What the document says of the whole, in Markdown.
const ABOUT: &str = include_str!("openapi/about.md");

/// Returns the document as JSON. `version` is that of the product.
///
/// # Errors
///
/// If a binding or a rule is not supported: the build fails with a text that names it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str, version: &str) -> Result<String, String> {
    let bindings = bindings::of_package(pool, package)?;
    let comments = Comments::of(pool);
    let mut schemas = Schemas::new(&comments, package);
    schemas.add_status(pool)?;
    let paths = operations::paths(pool, &bindings, &comments, &mut schemas)?;
    let components = Object::new()
        .with("schemas", schemas.finish())
        .with("responses", responses::errors())
        .with("parameters", headers::parameters())
        .with("headers", headers::headers())
        .with("securitySchemes", credentials());
    let document = Object::new()
        .with("openapi", OPENAPI)
        .with("info", info(version))
        .with("servers", vec![Object::new().with("url", "/")])
        .with("security", ways_to_call())
        .with("tags", tags(&bindings, &comments))
        .with("paths", paths)
        .with("components", components);
    Ok(Json::from(document).to_string())
}

fn info(version: &str) -> Object {
    let license = Object::new().with("name", "Apache-2.0").with("identifier", "Apache-2.0");
    Object::new()
        .with("title", "CRM")
        .with("summary", "A multi-tenant, AI-first CRM backend")
        .with("description", comments::unwrapped(ABOUT))
        .with("version", version)
        .with("license", license)
}

/// Returns one tag for each service.
fn tags(bindings: &[Binding], comments: &Comments) -> Vec<Object> {
    let mut seen = BTreeSet::new();
    let services = bindings.iter().map(|binding| binding.method.parent_service().clone());
    let services = services.filter(|service| seen.insert(service.full_name().to_owned()));
    services
        .map(|service| {
            Object::new().with("name", service.name()).with_some("description", comments.service(&service))
        })
        .collect()
}

/// Returns `components.securitySchemes`. The tenant is one of them: a viewer asks for it once, and not for each call.
fn credentials() -> Object {
    let bearer = Object::new()
        .with("type", "http")
        .with("scheme", "bearer")
        .with("description", "A JWT or an API key.");
    let tenant = Object::new()
        .with("type", "apiKey")
        .with("in", "header")
        .with("name", "X-Tenant-ID")
        .with("description", "The UUID of the tenant. It proves nothing, unless the service trusts it.");
    Object::new().with("bearer", bearer).with("tenant", tenant)
}

/// Returns what a call may have of these: a credential with or without the tenant; or, for a service that trusts it,
/// the tenant alone.
fn ways_to_call() -> Vec<Object> {
    let none = || Json::List(Vec::new());
    vec![
        Object::new().with("bearer", none()).with("tenant", none()),
        Object::new().with("bearer", none()),
        Object::new().with("tenant", none()),
    ]
}

#[cfg(test)]
mod tests;
