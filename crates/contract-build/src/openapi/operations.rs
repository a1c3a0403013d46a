//! The operations: one for each binding of an RPC.

use prost_reflect::DescriptorPool;

use super::comments::{self, Comments};
use super::json::Object;
use super::schemas::{self, Schemas, Use};
use super::{headers, parameters, responses};
use crate::bindings::{Binding, Body, Template};
use crate::methods;

/// Returns `paths`: the operations by path and verb.
pub(crate) fn paths(
    pool: &DescriptorPool,
    bindings: &[Binding],
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Result<Object, String> {
    let mut paths = Object::new();
    for (at, binding) in bindings.iter().enumerate() {
        let named = |error: String| format!("{}: {error}", binding.method.full_name());
        let shown = shown(binding, bindings);
        let before = bindings[..at].iter().filter(|other| other.method == binding.method).count();
        let id = id(binding, before);
        let operation = operation(pool, binding, &shown, &id, (comments, &mut *schemas)).map_err(named)?;
        let path = shown.to_string();
        let item = paths.object(&path);
        paths.set(&path, item.with(&binding.verb.name().to_lowercase(), operation));
    }
    Ok(paths)
}

/// Returns the path of a binding with the shortest names that a binding of the same path has: a document has each path
/// once.
fn shown<'b>(binding: &'b Binding, all: &'b [Binding]) -> Template {
    let same = all.iter().map(|other| &other.path).filter(|path| path.has_shape_of(&binding.path));
    let shortest = same.min_by_key(|path| path.to_string().len());
    shortest.unwrap_or(&binding.path).clone()
}

/// Returns the name of an operation: `CustomerService_GetCustomer`, with a number from the second binding on.
fn id(binding: &Binding, before: usize) -> String {
    let number = if before > 0 { (before + 1).to_string() } else { String::new() };
    format!("{}_{}{number}", binding.method.parent_service().name(), binding.method.name())
}

fn operation(
    pool: &DescriptorPool,
    binding: &Binding,
    shown: &Template,
    id: &str,
    (comments, schemas): (&Comments, &mut Schemas<'_>),
) -> Result<Object, String> {
    let method = &binding.method;
    let comment = comments.method(method);
    let scope = methods::word(pool, method, "scope")?.to_lowercase();
    let mut all = parameters::of_path(binding, shown, schemas)?;
    all.extend(parameters::of_query(binding, schemas)?);
    all.extend(headers::of_request(binding));
    Ok(Object::new()
        .with("tags", vec![method.parent_service().name()])
        .with("summary", comments::summary(method.name(), &comment))
        .with("description", format!("{comment}\n\nA credential needs the scope `{scope}`."))
        .with("operationId", id)
        .with_some("deprecated", schemas::is_deprecated(&method.options()))
        .with("parameters", all)
        .with_some("requestBody", body(binding, schemas)?)
        .with("responses", responses::of(binding, comments, schemas)?))
}

/// Returns the body of a request; an empty object if it has none.
fn body(binding: &Binding, schemas: &mut Schemas<'_>) -> Result<Object, String> {
    let request = binding.method.input();
    let name = format!("{}Body", binding.method.name());
    let (schema, required) = match &binding.body {
        Body::None => return Ok(Object::new()),
        Body::Whole => {
            let left_out: Vec<&str> = binding.path.fields().collect();
            let mut required = false;
            for field in request.fields().filter(|field| !left_out.contains(&field.name())) {
                required |= schemas::is_required(&field)?;
            }
            let schema = match left_out.is_empty() {
                true => schemas.message(&request, Use::Whole)?,
                false => schemas.without(&request, Use::Whole, &left_out, &name)?,
            };
            (schema, required || binding.method.is_client_streaming())
        }
        Body::Field(field) => {
            let used = match request.get_field_by_name("update_mask") {
                Some(_) => Use::Change,
                None => Use::Whole,
            };
            let message = field.kind();
            let message = message.as_message().ok_or("the body is no message")?;
            let within = format!("{}.", field.name());
            let in_path = binding.path.fields().filter_map(|path| path.strip_prefix(&within));
            let sent = |name: &&str| {
                let field = message.get_field_by_name(name);
                field.is_some_and(|field| !schemas::is_output_only(&field))
            };
            let left_out: Vec<&str> = in_path.filter(sent).collect();
            let schema = match left_out.is_empty() {
                true => schemas.message(message, used)?,
                false => schemas.without(message, used, &left_out, &name)?,
            };
            (schema, schemas::is_required(field)?)
        }
    };
    let kind = if binding.method.is_client_streaming() { responses::LINES } else { "application/json" };
    Ok(Object::new()
        .with_some("required", required)
        .with("content", Object::new().with(kind, Object::new().with("schema", schema))))
}
