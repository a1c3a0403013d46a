//! Generates the common traits of requests from their fields and RPCs: for a `request_id`, a page, and the resource.
//! Also generates a list of all requests, for the fuzz targets.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};

use crate::methods::{self, Resource};
use crate::validation::names;

/// Generates `impl Mutation` for the request of every unary RPC that changes something, `impl Update` for those with an
/// `update_mask`, `impl HasSubject` for the requests of all RPCs with one request, and `impl Paged` for every request with
/// a `page_token`.
///
/// # Errors
///
/// If an RPC changes something but does not say what, or cannot be retried safely: the build fails with a text that
/// names it.
pub(crate) fn generate(pool: &DescriptorPool, package: &str) -> Result<String, String> {
    let mut code: String = pool
        .all_messages()
        .filter(|message| message.package_name() == package && message.parent_message().is_none())
        .filter_map(|message| paged(&message))
        .collect();
    for method in methods::of_package(pool, package).iter().filter(|method| !method.is_client_streaming()) {
        let resource = methods::resource(pool, method)?;
        code += &asks(method, resource.as_ref())?;
        code += &update(method, resource.as_ref())?;
    }
    Ok(code)
}

fn asks(method: &MethodDescriptor, resource: Option<&Resource>) -> Result<String, String> {
    let (request, response) = (method.input(), method.output());
    let Some(Resource { id, .. }) = resource else {
        return Ok(format!(
            "impl crate::rpc::HasSubject for crate::pb::{name} {{}}\n",
            name = request.name()
        ));
    };
    request.get_field_by_name("request_id").ok_or_else(|| {
        format!("{}: changes something, so its request needs a request_id", method.full_name())
    })?;
    let wrong = || format!("{}: {id:?} is no field of request or response with an id", method.full_name());
    let (parameter, value) = match id.split_once('.').ok_or_else(wrong)? {
        ("request", path) => ("_", read("self", &request, path, false).ok_or_else(wrong)?),
        ("response", path) => ("response", read("response", &response, path, true).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    Ok(format!(
        "impl crate::rpc::Mutation for crate::pb::{request} {{\n    \
             type Response = crate::pb::{response};\n    \
             fn request_id(&self) -> &str {{\n        &self.request_id\n    }}\n    \
             fn resource_id<'m>(&'m self, {parameter}: Option<&'m Self::Response>) -> &'m str {{\n        \
                 {value}\n    }}\n\
         }}\n\
         impl crate::rpc::HasSubject for crate::pb::{request} {{\n    \
             fn subject(&self) -> crate::audit::Subject {{\n        \
                 crate::audit::Subject::new(crate::rpc::Mutation::resource_id(self, None), &self.request_id)\n    }}\n\
         }}\n",
        request = request.name(),
        response = response.name(),
    ))
}

/// Returns the expression that reads a text by its path; `None` if there is no such text.
fn read(from: &str, message: &MessageDescriptor, path: &str, optional: bool) -> Option<String> {
    let field = |message: &MessageDescriptor, name: &str| {
        message.get_field_by_name(name).filter(|field| !field.is_list() && !field.is_map())
    };
    let (outer, last) = path.rsplit_once('.').map_or((None, path), |(outer, last)| (Some(outer), last));
    let (mut message, mut code) = (message.clone(), from.to_owned());
    let mut optional = optional;
    for name in outer.into_iter().flat_map(|outer| outer.split('.')) {
        let Kind::Message(inner) = field(&message, name)?.kind() else { return None };
        let member = names::snake(name);
        code = match optional {
            true => format!("{code}.and_then(|message| message.{member}.as_ref())"),
            false => format!("{code}.{member}.as_ref()"),
        };
        (message, optional) = (inner, true);
    }
    field(&message, last).filter(|field| field.kind() == Kind::String)?;
    let member = names::snake(last);
    Some(match optional {
        true => format!("{code}.map_or(\"\", |message| message.{member}.as_str())"),
        false => format!("&{code}.{member}"),
    })
}

/// Generates `impl Update` for the request of an RPC that changes what an `update_mask` names.
fn update(method: &MethodDescriptor, resource: Option<&Resource>) -> Result<String, String> {
    let (request, response) = (method.input(), method.output());
    if request.get_field_by_name("update_mask").is_none() {
        return Ok(String::new());
    }
    let wrong = |what: &str| format!("{}: has an update_mask, but {what}", method.full_name());
    let (field, part) = only_message(&request).ok_or_else(|| wrong("its request has not one message"))?;
    let (answer, whole) = only_message(&response).ok_or_else(|| wrong("its response has not one message"))?;
    let id = resource.and_then(|resource| resource.id.strip_prefix("request."));
    let id = id.ok_or_else(|| wrong("its request has no id of the resource"))?;
    let etag = match request.get_field_by_name("etag") {
        Some(_) => "etag".to_owned(),
        None => format!("{field}.etag"),
    };
    let code = read("self", &request, &etag, false).ok_or_else(|| wrong("its request has no etag"))?;
    let (member, answer) = (names::snake(&field), names::snake(&answer));
    Ok(format!(
        "impl crate::rpc::update::Update for crate::pb::{request} {{\n    \
             type Part = crate::pb::{part};\n    \
             type Resource = crate::pb::{whole};\n    \
             const PART: &'static str = {field:?};\n    \
             const ID: &'static str = {id:?};\n    \
             const ETAG: &'static str = {etag:?};\n    \
             fn part(&self) -> Option<&Self::Part> {{\n        self.{member}.as_ref()\n    }}\n    \
             fn mask(&self) -> Option<&::prost_types::FieldMask> {{\n        self.update_mask.as_ref()\n    }}\n    \
             fn etag(&self) -> &str {{\n        {code}\n    }}\n    \
             fn response(resource: Self::Resource) -> Self::Response {{\n        \
                 Self::Response {{ {answer}: Some(resource) }}\n    }}\n\
         }}\n",
        request = request.name(),
    ))
}

/// Returns the names of the only field with a message of the contract, and of that message. `None` if there is no such
/// field, or another one.
fn only_message(message: &MessageDescriptor) -> Option<(String, String)> {
    let mut fields = message.fields().filter_map(|field| match field.kind() {
        Kind::Message(part) if part.package_name() == message.package_name() => {
            Some((field.name().to_owned(), part.name().to_owned()))
        }
        _ => None,
    });
    fields.next().filter(|_| fields.next().is_none())
}

fn paged(message: &MessageDescriptor) -> Option<String> {
    message.get_field_by_name("page_token").filter(|_| message.name().ends_with("Request"))?;
    Some(format!(
        "impl crate::rpc::Paged for crate::pb::{name} {{\n    \
             fn page_size(&self) -> i32 {{\n        self.page_size\n    }}\n    \
             fn page_token(&self) -> &str {{\n        &self.page_token\n    }}\n    \
             fn without_page(&self) -> Self {{\n        \
                 Self {{ page_size: 0, page_token: String::new(), ..self.clone() }}\n    \
             }}\n\
         }}\n",
        name = message.name(),
    ))
}

/// Generates the list of all requests of the contract: each with its name and the function that decodes and checks
/// it.
pub(crate) fn list(pool: &DescriptorPool, package: &str) -> String {
    let methods = methods::of_package(pool, package);
    let requests: BTreeSet<String> = methods.iter().map(|method| method.input().name().to_owned()).collect();
    let entry = |name: &String| format!("    (\"{name}\", super::request::<crate::pb::{name}>),\n");
    let entries: String = requests.iter().map(entry).collect();
    format!("pub(super) const REQUESTS: &[super::Request] = &[\n{entries}];\n")
}

#[cfg(test)]
mod tests;
