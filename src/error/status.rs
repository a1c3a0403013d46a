//! The only conversion of an error to a `Status`, so that every status fits into its trailers.

use std::collections::HashMap;

use http::HeaderMap;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::pb as google_rpc;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::Error;
use crate::contract::Word;
use crate::contract::validate::{MAX_VIOLATIONS, Violation};

/// The maximum bytes of an error's trailers, as HTTP/2 counts them: 6 KiB together with the other headers. Clients
/// allow 8 KiB by default, and turn more into RESOURCE_EXHAUSTED, which looks like a reason to retry. The rest is for
/// what proxies add.
pub(crate) const MAX_TRAILERS: usize = (6 << 10) - OTHERS;

/// The bytes of the headers beside an error: content type and date, and, if there is no answer, the status line.
const OTHERS: usize = 256;

/// The limit of the error of one item within an answer: the 1,000 items of a batch, with such errors, fit into an
/// answer of 4 MiB.
const MAX_OF_MANY: usize = 4 << 10;

/// The bytes that HTTP/2 counts for a header in addition to its name and its value.
const OF_HEADER: usize = 32;

/// The maximum bytes of a message as it is sent, where a space takes three.
const MAX_MESSAGE: usize = 2 << 10;

/// The maximum bytes of the path of a field, or of the name of a resource.
const MAX_NAME: usize = 256;

/// The maximum bytes of a description.
const MAX_DESCRIPTION: usize = 512;

/// The bytes of a message that is cut because of its details.
const SHORT: usize = 256;

/// The number of violations that the message itself contains: as many as a person corrects at once.
const TOLD: usize = 5;

/// The metadata key of `ErrorInfo` for the number of violations that did not fit.
const LEFT_OUT: &str = "violations_left_out";

/// Creates a status of at most [`MAX_TRAILERS`]. If it is too large, violations are cut from the end, with their
/// number in `ErrorInfo`; then the message is cut.
pub(crate) fn status(code: Code, message: &str, details: ErrorDetails, metadata: &MetadataMap) -> Status {
    within(MAX_TRAILERS, code, message, details, metadata)
}

fn within(
    max: usize,
    code: Code,
    message: &str,
    mut details: ErrorDetails,
    metadata: &MetadataMap,
) -> Status {
    let mut message = cut_encoded(message, MAX_MESSAGE);
    loop {
        let status =
            Status::with_error_details_and_metadata(code, message.clone(), details.clone(), metadata.clone());
        let Some(excess) = trailers(&status).checked_sub(max).filter(|excess| *excess > 0) else {
            return status;
        };
        if leave_out(&mut details, excess) {
            continue;
        }
        if message.len() > SHORT {
            message = cut_encoded(&message, SHORT);
            continue;
        }
        // All parts have limits, so no error of ours gets here.
        return Status::new(code, message);
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.log();
        status(error.code(), &error.to_string(), details(&error), &MetadataMap::new())
    }
}

/// The error of one item among many, within an answer.
impl From<Error> for google_rpc::Status {
    fn from(error: Error) -> Self {
        error.log();
        let (code, message) = (error.code(), error.to_string());
        let status = within(MAX_OF_MANY, code, &message, details(&error), &MetadataMap::new());
        let details: Option<Self> = prost::Message::decode(status.details()).ok();
        Self {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: details.unwrap_or_default().details,
        }
    }
}

/// Returns the bytes of a status as trailers.
pub(crate) fn trailers(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    match status.add_header(&mut headers) {
        Ok(()) => headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OF_HEADER).sum(),
        Err(_) => usize::MAX,
    }
}

/// Removes enough violations to save this many bytes in the trailers. Returns whether any was removed.
fn leave_out(details: &mut ErrorDetails, excess: usize) -> bool {
    let Some(request) = details.bad_request() else { return false };
    let mut kept = request.field_violations.clone();
    let (all, mut saved) = (kept.len(), 0);
    while saved < excess
        && let Some(last) = kept.pop()
    {
        // Base64: three bytes become four letters.
        saved += (last.field.len() + last.description.len()) * 4 / 3;
    }
    let left_out = all - kept.len();
    if left_out == 0 {
        return false;
    }
    if let Some(info) = details.error_info().cloned() {
        let before = info.metadata.get(LEFT_OUT).and_then(|count| count.parse::<usize>().ok());
        let mut metadata = info.metadata;
        metadata.insert(LEFT_OUT.to_owned(), (before.unwrap_or(0) + left_out).to_string());
        details.set_error_info(info.reason, info.domain, metadata);
    }
    details.set_bad_request(kept);
    true
}

/// Returns the details that belong to the code.
fn details(error: &Error) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason().word(), super::DOMAIN, metadata(error));
    match error {
        Error::Invalid { violations, .. } => {
            details.set_bad_request(violations.iter().map(field_violation).collect::<Vec<_>>());
        }
        Error::Unstorable(_) => {
            details.add_bad_request_violation("", "has a value that cannot be stored");
        }
        Error::OutOfRange { field, description, .. } => {
            details.add_bad_request_violation(*field, cut(description, MAX_DESCRIPTION));
        }
        Error::Offset { field, expected } => {
            details.add_bad_request_violation(*field, format!("must be {expected}, where the text ends"));
        }
        Error::TextDiffers { field, from } => {
            let description = format!("is another text than what is there, from byte {from} on");
            details.add_precondition_failure_violation(error.reason().word(), *field, description);
        }
        Error::Held { retry_after } => {
            details.set_retry_info(Some(*retry_after));
        }
        Error::ResourceExhausted { message, subject, limit, retry_after, .. } => {
            let (subject, message) = (cut(subject, MAX_NAME), cut(message, MAX_DESCRIPTION));
            details.set_quota_failure([limit.violation(&subject, &message)]);
            details.set_retry_info(Some(*retry_after));
        }
        Error::NotFound { kind, name, .. }
        | Error::Elsewhere { kind, name, .. }
        | Error::AlreadyExists { kind, name, .. } => {
            let description = cut(&error.to_string(), MAX_DESCRIPTION);
            details.set_resource_info(*kind, cut(name, MAX_NAME), "", description);
        }
        Error::FailedPrecondition { reason, message, subject } => {
            let (subject, description) = (cut(subject, MAX_NAME), cut(message, MAX_DESCRIPTION));
            details.add_precondition_failure_violation(reason.word(), subject, description);
        }
        Error::Unavailable { .. } => {
            details.set_retry_info(Some(super::RETRY_AFTER));
        }
        Error::Unauthenticated { .. }
        | Error::PermissionDenied { .. }
        | Error::Aborted { .. }
        | Error::DeadlineExceeded
        | Error::Forbidden(_)
        | Error::Internal(_) => {}
    }
    details
}

/// Returns the values for programs beside the reason.
fn metadata(error: &Error) -> HashMap<String, String> {
    match error {
        Error::Offset { expected, .. } => {
            HashMap::from([("expected_offset".to_owned(), expected.to_string())])
        }
        Error::TextDiffers { from, .. } => HashMap::from([("differs_from".to_owned(), from.to_string())]),
        _ => HashMap::new(),
    }
}

fn field_violation(violation: &Violation) -> FieldViolation {
    let Violation { field, rule: _, description } = violation;
    FieldViolation::new(cut(field, MAX_NAME), cut(description, MAX_DESCRIPTION))
}

/// Returns the text of violations for people: the first [`TOLD`], and how many more there are.
pub(super) fn summary(violations: &[Violation]) -> String {
    if violations.is_empty() {
        return "the request is not valid".to_owned();
    }
    let told: Vec<_> = violations.iter().take(TOLD).map(sentence).collect();
    let told = told.join("; ");
    match violations.len().saturating_sub(TOLD) {
        0 => told,
        more if violations.len() >= MAX_VIOLATIONS => format!("{told}; and at least {more} more"),
        more => format!("{told}; and {more} more"),
    }
}

fn sentence(violation: &Violation) -> String {
    let Violation { field, rule: _, description } = violation;
    let subject = if field.is_empty() { "the request" } else { field };
    format!("{} {}", cut(subject, MAX_NAME), cut(description, MAX_DESCRIPTION))
}

/// Cuts a text to at most `max` bytes, with an ellipsis if it was longer.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default())
}

const ELLIPSIS: &str = "…";

/// Cuts a text to at most `max` bytes as it is sent in `grpc-message`.
fn cut_encoded(text: &str, max: usize) -> String {
    let ellipsis = 3 * ELLIPSIS.len();
    let (mut end, mut bytes) = (0, 0);
    for (at, character) in text.char_indices() {
        let after = at + character.len_utf8();
        bytes += encoded(character);
        if bytes > max {
            return format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default());
        }
        if bytes + ellipsis <= max {
            end = after;
        }
    }
    text.to_owned()
}

/// Returns the bytes of a character as it is sent: a space becomes `%20`.
fn encoded(character: char) -> usize {
    match character {
        ' ' | '"' | '#' | '%' | '<' | '>' | '`' | '?' | '{' | '}' => 3,
        character if character.is_ascii_graphic() => 1,
        character => 3 * character.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
