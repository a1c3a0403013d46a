use proptest::prelude::*;
use tonic_types::ErrorDetail;

use super::*;
use crate::error::Limit;
use crate::pb::ErrorReason;
use std::time::Duration;

fn invalid(violations: Vec<Violation>) -> Error {
    Error::Invalid { reason: ErrorReason::FieldInvalid, violations }
}

fn violation(field: &str, description: &str) -> Violation {
    Violation { field: field.to_owned(), rule: "rule", description: description.to_owned() }
}

/// An error of every variant that has a text of its own, with this text.
fn with_text(text: &str) -> Vec<Error> {
    let (message, name, subject) = (text.to_owned(), text.to_owned(), text.to_owned());
    let limit = Limit { name: "limit", value: 3 };
    let retry_after = Duration::from_secs(1);
    vec![
        invalid(vec![violation(text, text); 3]),
        invalid(vec![violation("update_mask.paths[0]", text); 60]),
        Error::Unauthenticated { reason: ErrorReason::CredentialInvalid, message: message.clone() },
        Error::PermissionDenied { reason: ErrorReason::ScopeNotGranted, message: message.clone() },
        Error::NotFound { reason: ErrorReason::CustomerNotFound, kind: "customer", name: name.clone() },
        Error::Elsewhere {
            reason: ErrorReason::CustomerNotFound,
            message: message.clone(),
            kind: "customer",
            name: name.clone(),
        },
        Error::AlreadyExists {
            reason: ErrorReason::SlugTaken,
            message: message.clone(),
            kind: "customer",
            name,
        },
        Error::FailedPrecondition {
            reason: ErrorReason::CampaignInUse,
            message: message.clone(),
            subject: subject.clone(),
        },
        Error::OutOfRange {
            reason: ErrorReason::SequenceOutOfRange,
            field: "after_sequence",
            description: message.clone(),
        },
        Error::ResourceExhausted { reason: ErrorReason::Overloaded, message, subject, limit, retry_after },
    ]
}

/// Checks that every client accepts a status, and that it has a reason.
#[track_caller]
fn arrives(status: &Status) {
    let bytes = trailers(status);
    assert!(bytes <= MAX_TRAILERS, "{bytes} bytes: {status:?}");
    assert!(status.get_error_details().error_info().is_some(), "no reason: {status:?}");
    assert!(!status.message().is_empty(), "no message: {status:?}");
}

#[test]
fn an_error_with_ten_kilobytes_of_text_arrives() {
    for character in ["a", " ", "ü", "漢", "🦀", "\"", "\n"] {
        for error in with_text(&character.repeat(10_000)) {
            let name = format!("{error:?}");
            let status = Status::from(error);
            assert!(!name.is_empty());
            arrives(&status);
            // The layer adds the id of the call, which must fit as well.
            let mut details = status.get_error_details();
            details.set_request_info(uuid::Uuid::now_v7().to_string(), "");
            arrives(&super::status(status.code(), status.message(), details, status.metadata()));
        }
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let violations: Vec<_> =
        (0..50).map(|at| violation(&format!("events[{at}].subject"), &"x".repeat(300))).collect();
    let status = Status::from(invalid(violations));
    arrives(&status);
    let details = status.get_error_details();
    let told = details.bad_request().expect("a BadRequest").field_violations.len();
    let left_out = details.error_info().and_then(|info| info.metadata.get(LEFT_OUT)?.parse::<usize>().ok());
    assert!((1..50).contains(&told), "{told}");
    assert_eq!(told + left_out.expect("a count"), 50);
    assert!(status.message().ends_with("; and at least 45 more") || status.message().ends_with(ELLIPSIS));
}

#[test]
fn a_few_violations_are_told_in_the_message() {
    let wrong = |count: usize| -> Vec<_> {
        (0..count).map(|at| violation(&format!("f{at}"), "must be set")).collect()
    };
    assert_eq!(summary(&wrong(1)), "f0 must be set");
    assert_eq!(summary(&wrong(2)), "f0 must be set; f1 must be set");
    let five = "f0 must be set; f1 must be set; f2 must be set; f3 must be set; f4 must be set";
    assert_eq!(summary(&wrong(5)), five);
    assert_eq!(summary(&wrong(7)), format!("{five}; and 2 more"));
    assert_eq!(summary(&[violation("", "must be set")]), "the request must be set");
}

#[test]
fn an_error_of_one_of_many_has_the_same_details() {
    let status: google_rpc::Status = invalid(vec![violation("kind", "must be set")]).into();
    assert_eq!(status.message, "kind must be set");
    assert_eq!(status.details.len(), 2);
}

#[test]
fn errors_of_many_are_small() {
    for character in ["a", " ", "漢"] {
        for error in with_text(&character.repeat(10_000)) {
            let status: google_rpc::Status = error.into();
            let bytes = prost::Message::encoded_len(&status);
            assert!(bytes <= MAX_OF_MANY && !status.details.is_empty(), "{bytes} bytes: {status:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_error_arrives(
        text in "\\PC{0,2000}",
        violations in prop::collection::vec(("[a-z.\\[\\]\"]{0,400}", "\\PC{0,600}"), 1..60),
    ) {
        let violations = violations.iter().map(|(field, text)| violation(field, text)).collect();
        let errors = with_text(&format!("a{text}")).into_iter().chain([invalid(violations)]);
        for error in errors {
            let status = Status::from(error);
            prop_assert!(trailers(&status) <= MAX_TRAILERS);
            let details = status.get_error_details_vec();
            let has_reason = details.iter().any(|detail| matches!(detail, ErrorDetail::ErrorInfo(_)));
            prop_assert!(has_reason);
        }
    }

    #[test]
    fn a_cut_message_is_no_longer_than_its_limit(text in "\\PC{0,200}", max in 0_usize..300) {
        let cut = cut_encoded(&text, max);
        let bytes: usize = cut.chars().map(encoded).sum();
        prop_assert!(bytes <= max || cut == ELLIPSIS, "{bytes} > {max}");
    }
}
