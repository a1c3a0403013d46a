//! The errors with which writes to messages are refused.

use std::time::Duration;

use super::{MAX_SEQUENCE, Write};
use crate::conversations::messages::store::StoredMessage;
use crate::error::Error;
use crate::pb::ErrorReason;

pub(crate) fn held(left: Duration) -> Error {
    Error::Held { retry_after: left }
}

/// Returns the error for a conversation that has the largest number of messages.
pub(super) fn full() -> Error {
    let description =
        format!("must be a conversation with fewer than {MAX_SEQUENCE} messages; create a new one");
    Error::invalid_because(
        ErrorReason::ResourceTooLarge,
        "conversation_id",
        "conversation.max_messages",
        description,
    )
}

pub(super) fn not_started(write: &Write, message: &str) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message: message.to_owned(),
        subject: format!("conversation/{}", write.conversation_id),
    }
}

pub(crate) fn taken_over(known: &StoredMessage) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message:
            "this stream does not write the message, or another one has taken it over; send start to go on"
                .to_owned(),
        subject: format!("message/{}", known.id),
    }
}

pub(super) fn given_up(known: &StoredMessage) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageNotStarted,
        message: "the message was given up; send start to go on with it".to_owned(),
        subject: format!("message/{}", known.id),
    }
}

pub(crate) fn closed(known: &StoredMessage) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::MessageClosed,
        message: format!(
            "the message is closed with {} bytes of text; write another one, with another message_key",
            known.durable_offset
        ),
        subject: format!("message/{}", known.id),
    }
}

/// Returns the error for a message_key that has another message: one that differs in these fields, or, if there are
/// none, one that was sent whole and is started now.
pub(crate) fn has_another(known: &StoredMessage, differing: &[String]) -> Error {
    let message = match differing {
        [] => "this message_key has a message that was sent whole; use a new message_key".to_owned(),
        differing => format!(
            "this message_key has a message that differs from this one in: {}; send the same message, or use a new \
             message_key",
            differing.join(", ")
        ),
    };
    reused(known, message)
}

/// Returns the error for a message that was finished with other content.
pub(super) fn finished_otherwise(known: &StoredMessage, differing: &[String]) -> Error {
    let differing = differing.join(", ");
    let message = format!(
        "the message is complete already, and differs from this finish in: {differing}; nothing was changed"
    );
    reused(known, message)
}

/// Returns the error for a message_key that is sent again with other content.
fn reused(known: &StoredMessage, message: String) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message,
        kind: "message",
        name: known.id.to_string(),
    }
}

/// Returns the error for an offset or a length that is not the end of the text.
pub(crate) fn beyond(field: &'static str, durable: i64) -> Error {
    Error::Offset { field, expected: durable }
}

/// Returns the error for text that differs from the stored text.
pub(crate) fn differs(from: i64) -> Error {
    Error::TextDiffers { field: "delta.text", from }
}
