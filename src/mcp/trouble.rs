//! Why a tool did not do what it was called for, in words for a model.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use tonic::{Code, Status};

use crate::contract::{Failure, Word};
use crate::pb::ErrorReason;

/// The number of invalid fields that the message of an error names itself.
const TOLD: usize = 5;

/// A text for the model: what is wrong, and what to do instead.
#[derive(Debug)]
pub(super) struct Trouble {
    text: String,
    reason: Option<ErrorReason>,
}

impl Trouble {
    /// Creates a trouble of the tool's own.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), reason: None }
    }

    /// The service's reason; `None` if the service did not refuse a call.
    pub(super) fn reason(&self) -> Option<ErrorReason> {
        self.reason
    }

    /// Returns the same trouble, with what was done before it.
    #[must_use]
    pub(super) fn after(self, done: &str) -> Self {
        Self { text: format!("{done}, but then: {}", self.text), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let failure = Failure::of(&status);
        match failure.reason() {
            Some(reason) => Self { text: told(&failure, reason), reason: Some(reason) },
            None => Self::new(unreachable_text(&status)),
        }
    }
}

fn told(failure: &Failure, reason: ErrorReason) -> String {
    let mut text = format!("{} ({})", failure.message(), reason.word());
    for violation in failure.field_violations().iter().skip(TOLD) {
        text += &format!("\n- {}: {}", violation.field, violation.description);
    }
    if let Some(instead) = instead(reason) {
        text += &format!("\n{instead}");
    }
    match (failure.retry_after(), failure.code()) {
        (Some(wait), _) => {
            text += &format!("\nTry again after {:.1} s, with the same arguments.", wait.as_secs_f64());
        }
        (None, Code::Unavailable | Code::DeadlineExceeded) => {
            text += "\nTry again with the same arguments: nothing is added twice.";
        }
        _ => {}
    }
    text
}

/// Returns which tool helps, where the service's own sentence cannot know about tools.
fn instead(reason: ErrorReason) -> Option<&'static str> {
    Some(match reason {
        ErrorReason::CustomerNotFound => "find_customers finds customers, and shows their slugs.",
        ErrorReason::ConversationNotFound => {
            "get_customer_context shows the id of a customer's conversation."
        }
        ErrorReason::ConversationEnded => "start_conversation starts another conversation.",
        ErrorReason::PendingQuestionNotFound => "next_questions shows the ids of questions.",
        ErrorReason::CustomerFaqNotFound => "search_faqs shows the ids of FAQs.",
        ErrorReason::PageTokenInvalid => "Leave cursor out, to begin with the first page.",
        ErrorReason::IdempotencyKeyReused => "If this is another message, use another key.",
        _ => return None,
    })
}

/// Returns what to say if the service did not answer.
fn unreachable_text(status: &Status) -> String {
    let causes = successors(status.source(), |error: &&dyn Error| (*error).source());
    let cause = causes.last().map_or_else(|| status.message().to_owned(), ToString::to_string);
    format!(
        "The CRM service did not answer: {cause}. Try again with the same arguments: nothing is added twice. If it stays \
         so, tell the user that the service at the configured URL cannot be reached."
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::error::DOMAIN;

    fn trouble(code: Code, reason: ErrorReason, fill: impl FnOnce(&mut ErrorDetails)) -> String {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason.word(), DOMAIN, []);
        fill(&mut details);
        Trouble::from(Status::with_error_details(code, "it is wrong", details)).to_string()
    }

    #[test]
    fn an_error_keeps_its_sentence_and_names_the_tool_that_helps() {
        let text = trouble(Code::NotFound, ErrorReason::CustomerNotFound, |_| ());
        assert_eq!(
            text,
            "it is wrong (CUSTOMER_NOT_FOUND)\nfind_customers finds customers, and shows their slugs."
        );
    }

    #[test]
    fn fields_beyond_those_of_the_sentence_are_listed() {
        let text = trouble(Code::InvalidArgument, ErrorReason::FieldInvalid, |details| {
            for field in 0..7 {
                details.add_bad_request_violation(format!("f{field}"), "is wrong");
            }
        });
        assert_eq!(text, "it is wrong (FIELD_INVALID)\n- f5: is wrong\n- f6: is wrong");
    }

    #[test]
    fn what_may_be_repeated_says_so() {
        let text = trouble(Code::ResourceExhausted, ErrorReason::TenantRateExceeded, |details| {
            details.set_retry_info(Some(Duration::from_millis(500)));
        });
        assert!(text.ends_with("Try again after 0.5 s, with the same arguments."), "{text}");
        let text = trouble(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, |_| ());
        assert!(text.ends_with("nothing is added twice."), "{text}");
    }

    #[test]
    fn a_service_that_is_away_is_told_with_its_cause() {
        let mut status = Status::unavailable("transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::other("connection refused")));
        let text = Trouble::from(status).to_string();
        assert!(text.starts_with("The CRM service did not answer: connection refused."), "{text}");
    }
}
