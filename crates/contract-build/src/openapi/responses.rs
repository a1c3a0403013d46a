//! The answers of operations.

use super::comments::Comments;
use super::headers;
use super::json::Object;
use super::schemas::{Schemas, Use};
use crate::bindings::{Binding, Body};

/// The media type of an answer.
const JSON: &str = "application/json";

/// The media types of a stream of answers, the first by default.
pub(crate) const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

/// The errors: HTTP code, codes of gRPC, headers.
const ERRORS: [(&str, &str, &[&str]); 12] = [
    (
        "400",
        "The request is wrong: INVALID_ARGUMENT or OUT_OF_RANGE; or the resource is in another state: FAILED_PRECONDITION.",
        &[],
    ),
    ("401", "The caller is not known: UNAUTHENTICATED.", &["WwwAuthenticate"]),
    ("403", "The caller may not do that: PERMISSION_DENIED.", &[]),
    ("404", "There is no such resource in this tenant: NOT_FOUND.", &[]),
    ("409", "The resource is there already, or has changed: ALREADY_EXISTS or ABORTED.", &[]),
    ("412", "The resource has changed since it had the `ETag` of `If-Match`: ABORTED.", &[]),
    ("413", "The request is larger than the service takes: RESOURCE_EXHAUSTED.", &[]),
    ("415", "The body is not JSON, or does not say so: INVALID_ARGUMENT.", &[]),
    ("429", "A limit is reached; nothing was done: RESOURCE_EXHAUSTED.", &["RetryAfter"]),
    ("500", "A fault of the service: INTERNAL.", &[]),
    ("503", "The service cannot answer now: UNAVAILABLE. Retry with the same key.", &["RetryAfter"]),
    ("504", "The time of the call has run out: DEADLINE_EXCEEDED. Retry with the same key.", &[]),
];

/// Returns `components.responses`: one for each error.
pub(crate) fn errors() -> Object {
    let error = |(code, description, headers): (&str, &str, &[&str])| {
        (format!("Error{code}"), error(description, headers))
    };
    let other = ("Error".to_owned(), error_of_another_code());
    ERRORS.into_iter().map(error).chain([other]).collect()
}

fn error(description: &str, keys: &[&str]) -> Object {
    let keys = [keys, &["RequestId"]].concat();
    let schema = Object::new().with("$ref", "#/components/schemas/Status");
    Object::new()
        .with("description", description)
        .with("headers", headers::of_response(&keys))
        .with("content", Object::new().with(JSON, Object::new().with("schema", schema)))
}

fn error_of_another_code() -> Object {
    error("Any other error: its `code` and its `ErrorInfo.reason` say which.", &["RetryAfter"])
}

/// Returns the answers to a binding.
pub(crate) fn of(
    binding: &Binding,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Result<Object, String> {
    let output = binding.method.output();
    let schema = Object::new().with("schema", schemas.message(&output, Use::Whole)?);
    let (streams, reads) = (binding.method.is_server_streaming(), binding.method.is_client_streaming());
    let content = match (streams, reads) {
        (false, _) => Object::new().with(JSON, schema),
        (true, false) => Object::new().with(EVENTS, event(&schema)).with(LINES, schema),
        (true, true) => Object::new().with(LINES, schema),
    };
    let description = match streams {
        false => comments.message(&output),
        true => format!(
            "A stream, which stays open: each event or line is one of these. {}",
            comments.message(&output)
        ),
    };
    let version = if headers::has_version(binding) { vec!["ETag"] } else { Vec::new() };
    let done = Object::new()
        .with("description", description)
        .with_some("headers", headers::of_response(&version))
        .with("content", content);
    let mut responses = Object::new().with("200", done);
    if headers::reads_a_version(binding) {
        let same = Object::new().with("description", "It is still the same as that of `If-None-Match`.");
        responses.set("304", same.with("headers", headers::of_response(&["ETag"])));
    }
    let reference = |name: &str| Object::new().with("$ref", format!("#/components/responses/{name}"));
    for (code, ..) in ERRORS.into_iter().filter(|(code, ..)| may_be(binding, comments, code)) {
        responses.set(code, reference(&format!("Error{code}")));
    }
    Ok(responses.with("default", reference("Error")))
}

/// Returns the content of a stream of events: the fields of one event, whose data are JSON of this schema.
fn event(answer: &Object) -> Object {
    let text = |description: &str| Object::new().with("type", "string").with("description", description);
    let data = text("The answer, as JSON in one line; a `Status` in an event `error`.")
        .with("contentMediaType", JSON)
        .with("contentSchema", answer.object("schema"));
    let fields = Object::new()
        .with("event", text("Absent, or `error`: the stream has failed, and this is its last event."))
        .with("id", text("`Last-Event-ID` takes it, and the stream goes on after this event."))
        .with("data", data);
    let event =
        Object::new().with("type", "object").with("properties", fields).with("required", vec!["data"]);
    Object::new().with("schema", event)
}

/// Whether a call may have an error of this code.
fn may_be(binding: &Binding, comments: &Comments, code: &str) -> bool {
    let comment = comments.method(&binding.method);
    match code {
        "404" => binding.path.fields().next().is_some() || comment.contains("NOT_FOUND"),
        "409" => binding.method.input().get_field_by_name("request_id").is_some(),
        "412" => headers::depends_on_a_version(binding),
        "413" | "415" => binding.body != Body::None,
        _ => true,
    }
}
