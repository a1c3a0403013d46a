//! What a client reads of an error.

use std::collections::HashMap;

use super::*;

/// Returns an error as the service sends it.
fn status(code: Code, reason: &str, fill: impl FnOnce(&mut ErrorDetails)) -> Status {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("expected_offset".to_owned(), "11".to_owned())]);
    details.set_error_info(reason, ERROR_DOMAIN, metadata);
    details.set_request_info("call-1", "");
    fill(&mut details);
    Status::with_error_details(code, "a text for people", details)
}

#[test]
fn an_error_of_the_service_is_read_as_a_whole() {
    let status = status(Code::InvalidArgument, "FIELD_INVALID", |details| {
        details.add_bad_request_violation("customer.email", "must be an e-mail address");
        details.set_retry_info(Some(Duration::from_millis(250)));
        details.set_resource_info("customer", "id-1", "", "missing");
        details.add_quota_failure_violation("tenant", "256 calls");
        details.add_precondition_failure_violation("TEXT_DIFFERS", "delta.text", "is another text");
    });
    let failure = Failure::of(&status);
    assert_eq!(failure.code(), Code::InvalidArgument);
    assert_eq!(failure.message(), "a text for people");
    assert_eq!(failure.reason(), Some(ErrorReason::FieldInvalid));
    assert_eq!(failure.metadata("expected_offset"), Some("11"));
    assert_eq!(failure.metadata("differs_from"), None);
    assert_eq!(failure.field_violations()[0].field, "customer.email");
    assert_eq!(failure.preconditions()[0].subject, "delta.text");
    assert_eq!(failure.quotas()[0].subject, "tenant");
    assert_eq!(failure.resource().map(|resource| resource.resource_name.as_str()), Some("id-1"));
    assert_eq!(failure.retry_after(), Some(Duration::from_millis(250)));
    assert_eq!(failure.call_id(), Some("call-1"));
    assert_eq!(failure.to_string(), "a text for people (FIELD_INVALID, InvalidArgument)");
}

#[test]
fn an_item_has_the_same_details_as_a_call() {
    let call = status(Code::NotFound, "CUSTOMER_NOT_FOUND", |_| ());
    let mut item: ItemStatus = prost::Message::decode(call.details()).expect("a google.rpc.Status");
    item.message = "no customer has this id".to_owned();
    let failure = Failure::of_item(&item);
    assert_eq!((failure.code(), failure.reason()), (Code::NotFound, Some(ErrorReason::CustomerNotFound)));
    assert_eq!(failure.message(), "no customer has this id");
}

#[test]
fn an_error_of_others_has_no_reason() {
    let lost = Failure::of(&Status::unknown("the connection broke"));
    assert_eq!(lost.reason(), None);
    assert_eq!(lost.call_id(), None);
    assert!(lost.field_violations().is_empty() && lost.may_retry());
    let mut details = ErrorDetails::new();
    details.set_error_info("CUSTOMER_NOT_FOUND", "proxy.example.com", []);
    let proxied = Status::with_error_details(Code::NotFound, "no route", details);
    assert_eq!(Failure::of(&proxied).reason(), None);
}

#[test]
fn a_reason_of_a_newer_service_is_unspecified() {
    let failure = Failure::of(&status(Code::FailedPrecondition, "FULL_MOON", |_| ()));
    assert_eq!(failure.reason(), Some(ErrorReason::Unspecified));
    assert!(!failure.may_retry());
    assert!(failure.to_string().contains("FULL_MOON"));
}

#[test]
fn what_may_be_sent_again_follows_the_policy() {
    let soon = |details: &mut ErrorDetails| {
        details.set_retry_info(Some(Duration::from_secs(1)));
    };
    for (status, may_retry) in [
        (status(Code::Unavailable, "DATABASE_UNAVAILABLE", |_| ()), true),
        (status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", |_| ()), true),
        (status(Code::ResourceExhausted, "OVERLOADED", soon), true),
        (status(Code::ResourceExhausted, "REQUEST_TOO_LARGE", |_| ()), false),
        (status(Code::Aborted, "CONFLICT", |_| ()), true),
        (status(Code::Aborted, "ETAG_STALE", |_| ()), false),
        (status(Code::InvalidArgument, "FIELD_INVALID", |_| ()), false),
    ] {
        assert_eq!(Failure::of(&status).may_retry(), may_retry, "{status:?}");
    }
}
