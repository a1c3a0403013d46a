//! The schemas of types that JSON of protobuf writes in a form of their own, and of errors.

use prost_reflect::MessageDescriptor;

use super::json::Object;

/// The beginning of the type of a detail.
const TYPE: &str = "type.googleapis.com/";

/// What the document says of an error: the comment of google.rpc is about others.
pub(crate) const STATUS: &str =
    "An error. `code` is that of gRPC, `message` is for people, `details` are for programs.";

/// What the document says of the details of an error.
pub(crate) const ABOUT_DETAILS: &str =
    "What programs need to know: `ErrorInfo` is always there, and its `reason` says what went wrong.";

/// The details that an error of this service may have, and what the document says of them.
pub(crate) const DETAILS: [(&str, &str); 7] = [
    (
        "google.rpc.ErrorInfo",
        "The cause of an error. `reason` is a word of `ErrorReason` without its prefix, e.g. `FIELD_INVALID`.",
    ),
    ("google.rpc.BadRequest", "The fields of a request that are invalid, and what each must be."),
    ("google.rpc.PreconditionFailure", "What the state of a resource must be first."),
    ("google.rpc.QuotaFailure", "The limit that was reached."),
    ("google.rpc.RequestInfo", "The id of the call."),
    ("google.rpc.ResourceInfo", "The resource that an error is about."),
    ("google.rpc.RetryInfo", "How long to wait before a retry."),
];

/// Returns the schema of a well-known type; `None` for another message.
pub(crate) fn of(message: &MessageDescriptor) -> Option<Object> {
    let text = Object::new().with("type", "string");
    let object = Object::new().with("type", "object");
    Some(match message.full_name() {
        "google.protobuf.Timestamp" => {
            text.with("format", "date-time").with("examples", vec!["2026-01-31T09:30:00.000001Z"])
        }
        "google.protobuf.Duration" => {
            text.with("pattern", r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$").with("examples", vec!["3.5s"])
        }
        "google.protobuf.FieldMask" => text.with("examples", vec!["phone,address"]),
        "google.protobuf.Struct" => object.with("additionalProperties", true),
        "google.protobuf.Empty" => object,
        "google.protobuf.ListValue" => Object::new().with("type", "array").with("items", Object::new()),
        "google.protobuf.Value" => Object::new(),
        "google.protobuf.Any" => object.and(any()),
        _ => return None,
    })
}

fn any() -> Object {
    Object::new()
        .with("properties", Object::new().with("@type", Object::new().with("type", "string")))
        .with("required", vec!["@type"])
        .with("additionalProperties", true)
}

/// Returns the name of the type of a detail, as `@type` has it.
pub(crate) fn type_of(name: &str) -> String {
    format!("{TYPE}{name}")
}
