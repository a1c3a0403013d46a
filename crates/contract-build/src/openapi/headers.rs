//! The headers of requests and answers, and which operation has which.

use prost_reflect::{Kind, MessageDescriptor};

use super::json::{Json, Object};
use crate::bindings::{Binding, Body, Verb};

/// The headers that requests may have: name in the document, name in HTTP, example, comment.
const REQUEST: [(&str, &str, &str, &str); 5] = [
    (
        "RequestTimeout",
        "X-Request-Timeout",
        "5",
        "How long the caller waits, in seconds; a fraction is allowed. After that the answer is 504, and the call ends.",
    ),
    (
        "IdempotencyKey",
        "Idempotency-Key",
        super::values::UUID,
        "A key of the client's making, best a UUID, the same for each retry: the call happens once, and a retry answers \
         what the first call answered, for 72 hours. It stands for `request_id`.",
    ),
    (
        "IfMatch",
        "If-Match",
        "\"f3a1c5d7e9b2a4c6\"",
        "The `ETag` that the resource was read with: if it has changed since, nothing is done, and the answer is 412. It \
         stands for `etag`.",
    ),
    (
        "IfNoneMatch",
        "If-None-Match",
        "\"f3a1c5d7e9b2a4c6\"",
        "The `ETag` of an answer that the caller has: if it is still the same, the answer is 304, without a body.",
    ),
    (
        "LastEventId",
        "Last-Event-ID",
        "AAAAAAAAAAE",
        "The `id` of the last event that the caller has: the stream goes on after it. It stands for `resume_token`.",
    ),
];

/// The headers that answers may have: name in the document, name in HTTP, type, comment.
const RESPONSE: [(&str, &str, &str, &str); 4] = [
    ("ETag", "ETag", "string", "The version of what was answered, for `If-Match` and `If-None-Match`."),
    ("RequestId", "X-Request-Id", "string", "The id of the call, which the log of the service has too."),
    ("RetryAfter", "Retry-After", "integer", "The whole seconds after which a retry may succeed."),
    ("WwwAuthenticate", "WWW-Authenticate", "string", "How to prove who calls."),
];

/// Returns `components.parameters`.
pub(crate) fn parameters() -> Object {
    let parameter = |(key, name, example, comment): (&str, &str, &str, &str)| {
        let schema = Object::new().with("type", "string");
        let object = Object::new().with("name", name).with("in", "header").with("description", comment);
        (key.to_owned(), object.with("schema", schema).with("example", example))
    };
    REQUEST.into_iter().map(parameter).collect()
}

/// Returns `components.headers`.
pub(crate) fn headers() -> Object {
    let header = |(key, _, kind, comment): (&str, &str, &str, &str)| {
        let schema = Object::new().with("type", kind);
        (key.to_owned(), Object::new().with("description", comment).with("schema", schema))
    };
    RESPONSE.into_iter().map(header).collect()
}

/// Returns the members of `headers` in a response that has these.
pub(crate) fn of_response(keys: &[&str]) -> Object {
    let known = RESPONSE.into_iter().filter(|(key, ..)| keys.contains(key));
    let reference = |key: &str| Object::new().with("$ref", format!("#/components/headers/{key}"));
    known.map(|(key, name, ..)| (name.to_owned(), reference(key))).collect()
}

/// Returns the headers that a request by this binding may have, as references.
pub(crate) fn of_request(binding: &Binding) -> Vec<Json> {
    let request = binding.method.input();
    let has = |name: &str| request.get_field_by_name(name).is_some();
    let mut keys = vec!["RequestTimeout"];
    if has("request_id") && binding.verb != Verb::Get {
        keys.push("IdempotencyKey");
    }
    if depends_on_a_version(binding) {
        keys.push("IfMatch");
    }
    if reads_a_version(binding) {
        keys.push("IfNoneMatch");
    }
    if has("resume_token") {
        keys.push("LastEventId");
    }
    let reference = |key| Object::new().with("$ref", format!("#/components/parameters/{key}")).into();
    keys.into_iter().map(reference).collect()
}

/// Whether a binding may depend on the version of what it changes.
pub(crate) fn depends_on_a_version(binding: &Binding) -> bool {
    let request = binding.method.input();
    let has = |name: &str| request.get_field_by_name(name).is_some();
    has("etag") || has("update_mask") && part(binding).is_some_and(|part| has_etag(&part))
}

/// Whether the answer to a binding has an `ETag`.
pub(crate) fn has_version(binding: &Binding) -> bool {
    let response = binding.method.output();
    let streams = binding.method.is_server_streaming();
    let single = |field: prost_reflect::FieldDescriptor| match field.kind() {
        Kind::Message(message) if !field.is_list() => has_etag(&message),
        _ => false,
    };
    !streams && (response.get_field_by_name("context_etag").is_some() || response.fields().any(single))
}

/// Whether a binding reads something whose version the caller may have already.
pub(crate) fn reads_a_version(binding: &Binding) -> bool {
    binding.verb == Verb::Get && has_version(binding)
}

fn part(binding: &Binding) -> Option<MessageDescriptor> {
    match &binding.body {
        Body::Field(field) => field.kind().as_message().cloned(),
        _ => None,
    }
}

fn has_etag(message: &MessageDescriptor) -> bool {
    message.get_field_by_name("etag").is_some()
}
