//! Reads the HTTP bindings of RPCs: the option `google.api.http`.
//!
//! A binding that the service cannot keep fails the build: a pattern that it does not match, a field that is not there,
//! or a URL that two bindings have.

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};

use crate::methods;

mod template;

pub(crate) use template::{Segment, Template};

/// The option with the bindings of an RPC.
const HTTP: &str = "google.api.http";

/// The fields of a rule that name a verb.
const VERBS: [(&str, Verb); 5] = [
    ("get", Verb::Get),
    ("put", Verb::Put),
    ("post", Verb::Post),
    ("delete", Verb::Delete),
    ("patch", Verb::Patch),
];

/// A verb of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Delete,
    Patch,
}

/// What of a request the body of HTTP has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Nothing: what the path does not have is in the query.
    None,
    /// All that the path does not have.
    Whole,
    /// The message in this field. What neither it nor the path has is in the query.
    Field(FieldDescriptor),
}

/// One way to call an RPC by HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) method: MethodDescriptor,
    pub(crate) verb: Verb,
    pub(crate) path: Template,
    pub(crate) body: Body,
}

/// Returns all bindings of a package: those of an RPC stand together, the main one first.
///
/// # Errors
///
/// If an RPC has no binding, a binding is not supported or does not fit its request, or two bindings have the same URLs:
/// the build fails with a text that names them.
pub(crate) fn of_package(pool: &DescriptorPool, package: &str) -> Result<Vec<Binding>, String> {
    let mut bindings: Vec<Binding> = Vec::new();
    for method in methods::of_package(pool, package) {
        let named = |error: String| format!("{}: {error}", method.full_name());
        for binding in of_method(pool, &method).map_err(named)? {
            if let Some(other) = bindings.iter().find(|other| other.collides(&binding)) {
                return Err(named(format!(
                    "{} has the same URLs as {} of {}",
                    binding.path,
                    other.path,
                    other.method.full_name()
                )));
            }
            bindings.push(binding);
        }
    }
    Ok(bindings)
}

impl Binding {
    /// Whether no router can tell both apart: a URL that one matches is one of the other, and no literal decides.
    fn collides(&self, other: &Self) -> bool {
        self.verb == other.verb && self.path.has_shape_of(&other.path)
    }
}

impl Verb {
    /// Returns the verb as HTTP writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    fn takes_a_body(self) -> bool {
        !matches!(self, Self::Get | Self::Delete)
    }
}

fn of_method(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Vec<Binding>, String> {
    let extension = pool.get_extension_by_name(HTTP).ok_or_else(|| format!("there is no option {HTTP}"))?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Err(format!("say where it is in HTTP: option ({HTTP}) = {{…}}"));
    }
    let rule = options.get_extension(&extension);
    let rule = rule.as_message().ok_or_else(|| format!("the option {HTTP} is no message"))?;
    let mut bindings = vec![of_rule(method, rule)?];
    for rule in additional(rule) {
        if !additional(&rule).is_empty() {
            return Err("an additional binding has additional bindings".to_owned());
        }
        bindings.push(of_rule(method, &rule)?);
    }
    Ok(bindings)
}

fn additional(rule: &DynamicMessage) -> Vec<DynamicMessage> {
    let list = rule.get_field_by_name("additional_bindings");
    let list = list.as_ref().and_then(|list| list.as_list()).unwrap_or_default();
    list.iter().filter_map(|rule| rule.as_message().cloned()).collect()
}

fn of_rule(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Binding, String> {
    for unsupported in ["selector", "custom", "response_body"] {
        if rule.has_field_by_name(unsupported) {
            return Err(format!("{unsupported} is not supported"));
        }
    }
    let (name, verb) = VERBS
        .into_iter()
        .find(|(name, _)| rule.has_field_by_name(name))
        .ok_or("a binding needs get, put, post, delete or patch")?;
    let path = Template::parse(&text(rule, name))?;
    let request = method.input();
    for field in path.fields() {
        check_path_field(&request, field).map_err(|error| format!("{path}: {error}"))?;
    }
    let body = body(&request, verb, &text(rule, "body")).map_err(|error| format!("{path}: {error}"))?;
    if method.is_client_streaming() && body != Body::Whole {
        return Err(format!("{path}: the body of a stream of requests is body: \"*\""));
    }
    Ok(Binding { method: method.clone(), verb, path, body })
}

fn text(rule: &DynamicMessage, name: &str) -> String {
    rule.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn body(request: &MessageDescriptor, verb: Verb, body: &str) -> Result<Body, String> {
    if !verb.takes_a_body() && !body.is_empty() {
        return Err(format!("{} has no body", verb.name()));
    }
    match body {
        "" if verb.takes_a_body() => Err(format!("{} needs a body", verb.name())),
        "" => Ok(Body::None),
        "*" => Ok(Body::Whole),
        name => {
            let field = request.get_field_by_name(name);
            let field = field.ok_or_else(|| format!("{} has no field {name}", request.name()))?;
            let single = matches!(field.kind(), Kind::Message(_)) && !field.is_list() && !field.is_map();
            single
                .then_some(Body::Field(field))
                .ok_or_else(|| format!("the body {name} is no single message"))
        }
    }
}

/// Checks that a path leads to a single value that fits between two slashes.
fn check_path_field(request: &MessageDescriptor, path: &str) -> Result<(), String> {
    let mut message = Some(request.clone());
    let mut last = None;
    for name in path.split('.') {
        let within = message.ok_or_else(|| format!("{path}: there is no message before {name}"))?;
        let field = within.get_field_by_name(name);
        let field = field.ok_or_else(|| format!("{path}: {} has no field {name}", within.name()))?;
        let single = !field.is_list() && !field.is_map();
        message = field.kind().as_message().filter(|_| single).cloned();
        last = Some(field);
    }
    match last {
        Some(field) if is_scalar(&field) => Ok(()),
        _ => Err(format!("{path} is not one text, number, word or switch")),
    }
}

/// Whether a field has one value that a path or a query can write.
fn is_scalar(field: &FieldDescriptor) -> bool {
    let kind = field.kind();
    !field.is_list() && !matches!(kind, Kind::Message(_) | Kind::Bytes | Kind::Float | Kind::Double)
}

#[cfg(test)]
mod tests;
