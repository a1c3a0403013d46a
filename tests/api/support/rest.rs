//! Calls by REST, of any RPC with any message, as a client of REST would write them.

use crm_backend::web::routes::{self, RequestBody, Route, Segment, Streaming};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage, Value as Field};
use prost_types::value::Kind as Open;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use url::form_urlencoded::Serializer;

use super::web::{Answer, Web, detail};

/// Returns all routes of calls that have one answer.
pub(crate) fn unary() -> Vec<&'static Route> {
    let routes: Vec<_> = routes::all().iter().filter(|route| route.streaming == Streaming::Unary).collect();
    assert!(routes.len() > 70, "{}", routes.len());
    routes
}

/// Calls an RPC by the first of its routes that can say the message. Returns its error; `None` if no route can say it.
pub(crate) async fn refusal(
    web: &Web,
    request: &DynamicMessage,
    rpc: &MethodDescriptor,
) -> Option<Option<Status>> {
    let path = super::raw::path(rpc);
    for route in unary().into_iter().filter(|route| route.rpc == path.as_str()) {
        if let Some(answer) = ask(web, route, request).await {
            return Some(if answer.status == 200 {
                of_result(&answer.json())
            } else {
                Some(status(&answer.json()))
            });
        }
    }
    None
}

/// Sends a message by this route; `None` if the route cannot say it.
pub(crate) async fn ask(web: &Web, route: &Route, request: &DynamicMessage) -> Option<Answer> {
    let (method, path, body) = sent(route, request)?;
    Some(web.send(method, &path, body).await)
}

/// Returns the error of the first of several results, or that an id was refused because it is none.
fn of_result(answer: &Value) -> Option<Status> {
    if answer["refused"][0]["reason"] == "ASSIGNMENT_REFUSAL_ID_INVALID" {
        let mut details = ErrorDetails::new();
        let fields = ["ids.customer_ids[0]", "customer_ids[0]"];
        details.set_bad_request(fields.map(|field| FieldViolation::new(field, "must be a UUID")));
        return Some(Status::with_error_details(Code::InvalidArgument, "no UUID", details));
    }
    let error = &answer["results"][0]["error"];
    error.is_object().then(|| status(error))
}

/// Returns an error as gRPC has it.
fn status(error: &Value) -> Status {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut details = ErrorDetails::new();
    let info = detail(error, "ErrorInfo");
    details.set_error_info(text(&info["reason"]), text(&info["domain"]), []);
    let violations = detail(error, "BadRequest")["field_violations"].as_array().cloned().unwrap_or_default();
    let violation = |violation: &Value| {
        let field = violation["field"].as_str().unwrap_or_default();
        FieldViolation::new(field, text(&violation["description"]))
    };
    details.set_bad_request(violations.iter().map(violation).collect::<Vec<_>>());
    let code = i32::try_from(error["code"].as_i64().expect("a code")).expect("a code");
    Status::with_error_details(Code::from_i32(code), text(&error["message"]), details)
}

/// Returns the request of REST for a message, by this route.
fn sent(route: &Route, message: &DynamicMessage) -> Option<(Method, String, Option<Value>)> {
    let mut rest = written(message)?;
    let mut segments = Vec::new();
    for segment in route.path {
        match segment {
            Segment::Literal(text) => segments.push((*text).to_owned()),
            Segment::Field(path) => {
                let (outer, last) = path.rsplit_once('.').unwrap_or(("", path));
                let within = if outer.is_empty() { Some(&mut rest) } else { rest.get_mut(outer) };
                let value = within?.as_object_mut()?.remove(last)?;
                let value = value.as_str().filter(|value| !value.is_empty())?.to_owned();
                segments.push(utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string());
            }
        }
    }
    let suffix = route.suffix.map(|suffix| format!(":{suffix}")).unwrap_or_default();
    let body = match route.body {
        RequestBody::None => None,
        RequestBody::Whole => Some(std::mem::replace(&mut rest, json!({}))),
        RequestBody::Field(name) => Some(rest.as_object_mut()?.remove(name).unwrap_or_else(|| json!({}))),
    };
    let mut query = Serializer::new(String::new());
    add(&mut query, "", &rest)?;
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("/{}{suffix}{mark}{query}", segments.join("/"));
    // A longer path does not fit into a head; such a text belongs into a body.
    (path.len() < 16 << 10).then(|| (route.verb.name().parse().expect("a method"), path, body))
}

/// Adds a value to a query: fields of fields with dots between their names, and the items of a list one by one.
fn add(query: &mut Serializer<'_, String>, name: &str, value: &Value) -> Option<()> {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                add(query, &name, value)?;
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => return None,
        Value::Array(items) => items.iter().try_for_each(|item| add(query, name, item))?,
        Value::String(text) => drop(query.append_pair(name, text)),
        value => drop(query.append_pair(name, &value.to_string())),
    }
    Some(())
}

/// Returns a message as JSON, with what is set; `None` if JSON has no words for it.
fn written(message: &DynamicMessage) -> Option<Value> {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let time: prost_types::Timestamp = message.transcode_to().expect("a time");
            let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
            let time = chrono::DateTime::from_timestamp(time.seconds, nanos)?;
            // Of years with other than four digits there is no form.
            let text = time.to_rfc3339();
            (text.starts_with(|first: char| first.is_ascii_digit()) && text.find('-') == Some(4))
                .then(|| json!(text))
        }
        "google.protobuf.Duration" => {
            let duration: prost_types::Duration = message.transcode_to().expect("a duration");
            let is_form = duration.nanos.unsigned_abs() < 1_000_000_000
                && (duration.seconds >= 0) == (duration.nanos >= 0);
            let text = format!("{}.{:09}s", duration.seconds, duration.nanos.unsigned_abs());
            is_form.then(|| json!(text))
        }
        "google.protobuf.FieldMask" => {
            let mask: prost_types::FieldMask = message.transcode_to().expect("a mask");
            Some(json!(mask.paths.join(",")))
        }
        "google.protobuf.Struct" => {
            let object = prost_types::Struct::decode(message.encode_to_vec().as_slice()).expect("an object");
            open_object(&object)
        }
        _ => {
            let fields = message
                .fields()
                .map(|(field, value)| Some((field.name().to_owned(), value_of(&field.kind(), value)?)));
            Some(Value::Object(fields.collect::<Option<Map<_, _>>>()?))
        }
    }
}

fn open_object(object: &prost_types::Struct) -> Option<Value> {
    let fields = object.fields.iter().map(|(name, value)| Some((name.clone(), open(value)?)));
    Some(Value::Object(fields.collect::<Option<Map<_, _>>>()?))
}

fn open(value: &prost_types::Value) -> Option<Value> {
    match value.kind.as_ref()? {
        Open::NullValue(_) => Some(Value::Null),
        Open::NumberValue(number) => number.is_finite().then(|| json!(number)),
        Open::StringValue(text) => Some(json!(text)),
        Open::BoolValue(value) => Some(json!(value)),
        Open::StructValue(object) => open_object(object),
        Open::ListValue(list) => list.values.iter().map(open).collect::<Option<Vec<_>>>().map(Value::Array),
    }
}

fn value_of(kind: &Kind, value: &Field) -> Option<Value> {
    Some(match value {
        Field::Bool(value) => json!(value),
        Field::I32(value) => json!(value),
        Field::I64(value) => json!(value),
        Field::F64(value) if value.is_nan() => json!("NaN"),
        Field::F64(value) if value.is_infinite() => {
            json!(if *value > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Field::F64(value) => json!(value),
        Field::String(text) => json!(text),
        Field::EnumNumber(number) => {
            let word = kind.as_enum().and_then(|kind| kind.get_value(*number));
            word.map_or_else(|| json!(number), |word| json!(word.name()))
        }
        Field::Message(message) => written(message)?,
        Field::List(items) => {
            Value::Array(items.iter().map(|item| value_of(kind, item)).collect::<Option<_>>()?)
        }
        other => panic!("no request has it: {other:?}"),
    })
}
