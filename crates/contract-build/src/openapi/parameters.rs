//! What of a request is in the path, in the query and in headers.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::json::{Json, Object};
use super::known;
use super::schemas::{self, Schemas, Use};
use crate::bindings::{Binding, Body, Segment, Template};

/// Returns the parameters of the path of a binding. `shown` is its path in the document, with other names where another
/// binding of the same path has shorter ones.
pub(crate) fn of_path(
    binding: &Binding,
    shown: &Template,
    schemas: &mut Schemas<'_>,
) -> Result<Vec<Json>, String> {
    let mut parameters = Vec::new();
    for (segment, shown) in binding.path.segments.iter().zip(&shown.segments) {
        let (Segment::Field(path), Segment::Field(shown)) = (segment, shown) else { continue };
        let field = last(&binding.method.input(), path).ok_or_else(|| format!("there is no field {path}"))?;
        let mut schema = schemas.field(&field, Use::Whole)?;
        let description = schema.get("description").cloned();
        schema = bare(schema);
        let is_text = schema.get("type") == Some(&Json::from("string"));
        if is_text && schema.get("minLength").is_none() && schema.get("format").is_none() {
            schema.set("minLength", 1);
        }
        let parameter = Object::new().with("name", shown.as_str()).with("in", "path").with("required", true);
        let parameter = described(parameter, description);
        parameters.push(parameter.with("schema", schema).into());
    }
    Ok(parameters)
}

/// Returns the parameters of the query of a binding: all fields that neither the path nor the body has.
pub(crate) fn of_query(binding: &Binding, schemas: &mut Schemas<'_>) -> Result<Vec<Json>, String> {
    let in_body = match &binding.body {
        Body::Whole => return Ok(Vec::new()),
        Body::Field(field) => Some(field.name().to_owned()),
        Body::None => None,
    };
    let mut parameters = Vec::new();
    let request = binding.method.input();
    let top = request.fields().filter(|field| in_body.as_deref() != Some(field.name()));
    for field in top {
        of_field(binding, &field, "", true, schemas, &mut parameters)?;
    }
    if binding.method.is_server_streaming() {
        parameters.push(tenant());
    }
    Ok(parameters)
}

/// Returns the tenant as a parameter of the query.
fn tenant() -> Json {
    Object::new()
        .with("name", "x-tenant-id")
        .with("in", "query")
        .with("description", "The tenant, for a browser's `EventSource`, which cannot send `X-Tenant-ID`.")
        .with("schema", Object::new().with("type", "string").with("format", "uuid"))
        .into()
}

fn of_field(
    binding: &Binding,
    field: &FieldDescriptor,
    before: &str,
    needed: bool,
    schemas: &mut Schemas<'_>,
    parameters: &mut Vec<Json>,
) -> Result<(), String> {
    let name = format!("{before}{}", field.name());
    if binding.path.fields().any(|path| path == name) || schemas::is_output_only(field) {
        return Ok(());
    }
    let needed = needed && schemas::is_required(field)?;
    match field.kind() {
        Kind::Message(message) if !is_text(&message) => {
            // Neither a list of messages nor an open object can be written in a query.
            if !field.is_list() && !field.is_map() && known::of(&message).is_none() {
                for inner in message.fields() {
                    of_field(binding, &inner, &format!("{name}."), needed, schemas, parameters)?;
                }
            }
        }
        _ => {
            let mut schema = schemas.field(field, Use::Whole)?;
            let description = schema.get("description").cloned();
            let deprecated = schema.get("deprecated").is_some();
            schema = bare(schema);
            let parameter = Object::new().with("name", name).with("in", "query");
            let parameter = described(parameter.with_some("required", needed), description);
            parameters.push(parameter.with_some("deprecated", deprecated).with("schema", schema).into());
        }
    }
    Ok(())
}

/// Whether JSON of protobuf writes a message as a text.
fn is_text(message: &MessageDescriptor) -> bool {
    let schema = known::of(message);
    schema.is_some_and(|schema| schema.get("type") == Some(&Json::from("string")))
}

/// Returns the last field of a path.
fn last(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        Some((first, rest)) => last(message.get_field_by_name(first)?.kind().as_message()?, rest),
        None => message.get_field_by_name(path),
    }
}

/// Returns the schema of a field without what its parameter says.
fn bare(schema: Object) -> Object {
    schema.without(&["description", "readOnly", "deprecated"])
}

fn described(parameter: Object, description: Option<Json>) -> Object {
    match description {
        Some(description) => parameter.with("description", description),
        None => parameter,
    }
}
