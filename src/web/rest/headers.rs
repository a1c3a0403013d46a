//! Headers of HTTP that mean fields of a request, and those that are no metadata of a call.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use prost_reflect::{Kind, MessageDescriptor};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::web::metadata::{REQUEST_TIMEOUT, timeout};
use crate::web::routes::RequestBody;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const LAST_EVENT_ID: &str = "last-event-id";

/// What headers mean for the message of a request.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The paths of fields, and their values.
    pub(super) fields: Vec<(String, String)>,
    /// The names of invalid headers, and what is wrong with them.
    pub(super) wrong: Vec<(&'static str, &'static str)>,
}

/// Returns the fields that headers mean, for a request of this type.
pub(super) fn fields(headers: &HeaderMap, input: &MessageDescriptor, body: RequestBody) -> Fields {
    let mut found = Fields::default();
    if let Some(value) = one(headers, IF_MATCH.as_str(), &mut found) {
        match (etag(&value), etag_field(input, body)) {
            (Some("*"), _) => {}
            (_, None) => found.wrong.push(("If-Match", "must not be sent: what this path does has no etag")),
            (Some(etag), Some(field)) => found.fields.push((field, etag.to_owned())),
            (None, _) => {
                found.wrong.push(("If-Match", "must be one etag in quotes, as the header ETag had it"))
            }
        }
    }
    if let Some(value) = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).and_then(etag)
        && input.get_field_by_name("if_none_match").is_some()
    {
        found.fields.push(("if_none_match".to_owned(), value.to_owned()));
    }
    if let Some(key) = one(headers, IDEMPOTENCY_KEY, &mut found)
        && input.get_field_by_name("request_id").is_some()
    {
        found.fields.push(("request_id".to_owned(), request_id(key.trim_matches('"'))));
    }
    if let Some(id) = one(headers, LAST_EVENT_ID, &mut found)
        && input.get_field_by_name("resume_token").is_some()
    {
        found.fields.push(("resume_token".to_owned(), id));
    }
    if let Some(value) = one(headers, REQUEST_TIMEOUT, &mut found)
        && timeout(&value).is_none()
    {
        found.wrong.push(("X-Request-Timeout", "must be seconds, such as 1.5"));
    }
    found
}

/// Returns the value of a header that may be there once.
fn one(headers: &HeaderMap, name: &'static str, found: &mut Fields) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Some(value.trim().to_owned()),
        (Err(_), _) => {
            found.wrong.push((name, "must be a text of ASCII"));
            None
        }
        (_, Some(_)) => {
            found.wrong.push((name, "must be sent once"));
            None
        }
    }
}

/// Returns the one etag of a header, without its quotes; `None` if there are several, or if it is weak.
fn etag(value: &str) -> Option<&str> {
    let value = value.trim();
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!inner.is_empty() && !inner.contains(['"', ','])).then_some(inner)
}

/// Returns the path of the field with the etag that a request depends on: of the request, or of the resource in it.
fn etag_field(input: &MessageDescriptor, body: RequestBody) -> Option<String> {
    if input.get_field_by_name("etag").is_some() {
        return Some("etag".to_owned());
    }
    let RequestBody::Field(name) = body else { return None };
    // A create takes the same resource, which has no state yet.
    input.get_field_by_name("update_mask")?;
    match input.get_field_by_name(name)?.kind() {
        Kind::Message(inner) => inner.get_field_by_name("etag").map(|_| format!("{name}.etag")),
        _ => None,
    }
}

/// Returns the UUID of a key. Other services take any text, so one that is no UUID becomes the UUID of its hash.
fn request_id(key: &str) -> String {
    if Uuid::try_parse(key).is_ok() {
        return key.to_owned();
    }
    let hash = Sha256::digest(key.as_bytes());
    let bytes = std::array::from_fn(|place| hash.get(place).copied().unwrap_or_default());
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
