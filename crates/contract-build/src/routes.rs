//! Generates the table of the routes of HTTP: which RPC a verb and a path mean.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::bindings::{self, Binding, Body, Segment, Verb};

/// Returns the Rust code of `routes.rs` in the build's output directory: the table `ROUTES`.
///
/// Of two routes that match one path, the one whose literal comes first is before the other: the first route that
/// matches is the right one.
///
/// # Errors
///
/// If a binding is not supported, or two collide: the build fails with a text that names them.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut bindings = bindings::of_package(pool, package)?;
    bindings.sort_by_cached_key(|binding| (binding.path.rank(), binding.path.to_string()));
    let mut code = String::from("pub(super) static ROUTES: &[Route] = &[\n");
    for binding in &bindings {
        let _ = writeln!(code, "    {},", route(binding));
    }
    code.push_str("];\n");
    Ok(code)
}

fn route(binding: &Binding) -> String {
    let Binding { method, verb, path, body } = binding;
    let segments: Vec<String> = path.segments.iter().map(segment).collect();
    format!(
        "Route {{ verb: Verb::{}, path: &[{}], suffix: {:?}, rpc: \"/{}/{}\", input: {:?}, output: {:?}, \
         body: {}, streaming: Streaming::{} }}",
        variant(*verb),
        segments.join(", "),
        path.suffix,
        method.parent_service().full_name(),
        method.name(),
        method.input().full_name(),
        method.output().full_name(),
        request_body(body),
        streaming(method),
    )
}

fn variant(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "Get",
        Verb::Put => "Put",
        Verb::Post => "Post",
        Verb::Delete => "Delete",
        Verb::Patch => "Patch",
    }
}

fn segment(segment: &Segment) -> String {
    match segment {
        Segment::Literal(text) => format!("Segment::Literal({text:?})"),
        Segment::Field(path) => format!("Segment::Field({path:?})"),
    }
}

fn request_body(body: &Body) -> String {
    match body {
        Body::None => "RequestBody::None".to_owned(),
        Body::Whole => "RequestBody::Whole".to_owned(),
        Body::Field(field) => format!("RequestBody::Field({:?})", field.name()),
    }
}

fn streaming(method: &MethodDescriptor) -> &'static str {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => "Unary",
        (false, true) => "Server",
        (true, false) => "Client",
        (true, true) => "Bidi",
    }
}

#[cfg(test)]
mod tests;
