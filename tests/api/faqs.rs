//! FAQs that clients create, change, verify, list and delete.

use crm_backend::pb::{
    CreateCustomerFaqRequest, CustomerFaq, FaqSource, FaqStatus, FaqVerificationStatus,
    ListCustomerFaqsRequest, MarkCustomerFaqVerifiedRequest,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::conversations::message;
use crate::support::faqs::{about_message, as_status, asked, checked, question};
use crate::support::{Crm, Refusal, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Open?")).await.expect("added");
    let request = CustomerFaq {
        category: "hours".to_owned(),
        source: FaqSource::Document.into(),
        source_conversation_id: talk.id.clone(),
        source_message_id: said.id.clone(),
        status: FaqStatus::Approved.into(),
        reported_confidence: Some(0.9),
        ..question(&talk.customer_id, "When do you open?", "At eight.\nOr nine.")
    };
    let faq = tenant.create_faq(request).await.expect("created");
    let expected = CustomerFaq {
        id: faq.id.clone(),
        customer_id: talk.customer_id.clone(),
        question: "When do you open?".to_owned(),
        answer: "At eight.\nOr nine.".to_owned(),
        category: "hours".to_owned(),
        source: FaqSource::Document.into(),
        source_conversation_id: talk.id,
        source_message_id: said.id,
        status: FaqStatus::Approved.into(),
        verification_status: FaqVerificationStatus::Unverified.into(),
        reported_confidence: Some(0.9),
        derived_confidence: 1.0 / 3.0,
        create_time: faq.create_time,
        update_time: faq.create_time,
        etag: faq.etag.clone(),
        ..Default::default()
    };
    assert!(micros(faq.create_time) > 0);
    assert_eq!(faq, expected);
    assert_eq!(tenant.read_faq(&faq.id).await.expect("there"), expected);
    let bare = tenant.faq(&talk.customer_id, "Bare?", "").await;
    assert_eq!((bare.source(), bare.status()), (FaqSource::Human, FaqStatus::Candidate));
    assert_eq!(bare.reported_confidence, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_a_question_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ben) = (tenant.customer("Zoe").await.id, tenant.customer("Ben").await.id);
    let first = tenant.faq(&zoe, "When do you open?", "").await;
    let names_first = |error: &tonic::Status| {
        error.is(Code::AlreadyExists, "CUSTOMER_FAQ_EXISTS");
        let details = error.get_error_details();
        assert_eq!(details.resource_info().expect("the other").resource_name, first.id);
    };
    for same in ["  WHEN do\tyou open ", "ｗｈｅｎ do you open?!"] {
        let error = tenant.create_faq(question(&zoe, same, "")).await.expect_err(same);
        names_first(&error);
        assert!(error.message().contains("with another question;"), "{error:?}");
    }
    let other = CustomerFaq {
        category: "hours".to_owned(),
        status: FaqStatus::Approved.into(),
        ..question(&zoe, "When do you open?", "At eight.")
    };
    let error = tenant.create_faq(other).await.expect_err("other content");
    names_first(&error);
    assert!(error.message().contains("with another answer, category, status;"), "{error:?}");
    tenant.faq(&ben, "When do you open?", "").await;
    let second = tenant.faq(&zoe, "When do you close?", "").await;
    let wanted =
        CustomerFaq { id: second.id.clone(), question: "when do you open".to_owned(), ..Default::default() };
    names_first(&tenant.revise_faq(wanted, &[]).await.expect_err("taken"));
    let wanted =
        CustomerFaq { id: first.id.clone(), question: "WHEN do you open".to_owned(), ..Default::default() };
    assert_eq!(tenant.revise_faq(wanted, &[]).await.expect("its own").question, "WHEN do you open");
    let long = |end: &str| format!("{}{end}", "\u{fdfa}".repeat(2_000));
    let one = tenant.faq(&zoe, &long("a"), "").await;
    assert_eq!(one.question, long("a"));
    tenant.faq(&zoe, &long("b"), "").await;
    let error = tenant.create_faq(question(&zoe, &long("A"), "")).await.expect_err("the same");
    error.is(Code::AlreadyExists, "CUSTOMER_FAQ_EXISTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faq_or_a_check_that_is_sent_again_says_so_and_changes_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let create = async || {
        let customer_faq = Some(question(&zoe, "Open?", "Yes."));
        let request = CreateCustomerFaqRequest { customer_faq, request_id: String::new() };
        let response = tenant.faqs().create_customer_faq(request).await.expect("an answer").into_inner();
        (response.customer_faq.expect("the FAQ"), response.deduplicated)
    };
    let (first, deduplicated) = create().await;
    assert!(!deduplicated);
    assert_eq!(create().await, (first.clone(), true));
    let both = at_once((0..8).map(|_| {
        let (tenant, faq) = (tenant.clone(), question(&zoe, "Closed?", "No."));
        async move { tenant.create_faq(faq).await.expect("an answer") }
    }));
    let both = both.await;
    assert!(both.iter().all(|faq| *faq == both[0]), "at once too");

    let mark = async |request: MarkCustomerFaqVerifiedRequest| {
        let response = tenant.faqs().mark_customer_faq_verified(request).await.expect("an answer");
        let response = response.into_inner();
        (response.customer_faq.expect("the FAQ"), response.deduplicated)
    };
    let check = MarkCustomerFaqVerifiedRequest {
        etag: first.etag.clone(),
        status: FaqStatus::Approved.into(),
        ..checked(&first, FaqVerificationStatus::HumanVerified)
    };
    let (verified, deduplicated) = mark(check.clone()).await;
    assert!(!deduplicated);
    assert_eq!(mark(check.clone()).await, (verified.clone(), true), "whatever the etag");
    let by_ben = MarkCustomerFaqVerifiedRequest {
        verified_by: "ben".to_owned(),
        etag: String::new(),
        ..check.clone()
    };
    let (again, deduplicated) = mark(by_ben.clone()).await;
    assert!(!deduplicated && again.etag != verified.etag, "another person is another check");
    tenant.observe(asked(&zoe, "Open?", "No.")).await.expect("observed");
    let (settled, deduplicated) = mark(by_ben).await;
    assert!(!deduplicated && settled.conflicting_answer_count == 0, "there was something to settle");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_faq_is_not_found_by_anything() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let zoe = ana.customer("Zoe").await.id;
    let foreign = ana.faq(&zoe, "Open?", "Yes.").await;
    let unknown = CustomerFaq { id: UNKNOWN.to_owned(), ..foreign.clone() };
    for faq in [&foreign, &unknown] {
        let errors = [
            ben.read_faq(&faq.id).await.expect_err("get"),
            ben.delete_faq(&faq.id, "").await.expect_err("delete"),
            ben.revise_faq(as_status(faq, FaqStatus::Approved), &[]).await.expect_err("update"),
            ben.check_faq(checked(faq, FaqVerificationStatus::HumanVerified)).await.expect_err("check"),
        ];
        for error in errors {
            error.is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
        }
    }
    assert_eq!(ana.read_faq(&foreign.id).await.expect("there"), foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_etag_changes_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let first = tenant.faq(&zoe, "Open?", "Yes.").await;
    let now = tenant.revise_faq(as_status(&first, FaqStatus::Approved), &[]).await.expect("updated");
    assert_ne!(now.etag, first.etag);
    for (etag, code, reason) in
        [(first.etag.as_str(), Code::Aborted, "ETAG_STALE"), ("x", Code::InvalidArgument, "ETAG_INVALID")]
    {
        let etag = etag.to_owned();
        let wanted = CustomerFaq { etag: etag.clone(), ..as_status(&first, FaqStatus::Rejected) };
        tenant.revise_faq(wanted, &[]).await.expect_err("update").is(code, reason);
        tenant.delete_faq(&first.id, &etag).await.expect_err("delete").is(code, reason);
        let check =
            MarkCustomerFaqVerifiedRequest { etag, ..checked(&first, FaqVerificationStatus::HumanVerified) };
        tenant.check_faq(check).await.expect_err("check").is(code, reason);
    }
    assert_eq!(tenant.read_faq(&first.id).await.expect("there"), now);
    let same = CustomerFaq { etag: now.etag.clone(), ..as_status(&first, FaqStatus::Approved) };
    assert_eq!(tenant.revise_faq(same, &[]).await.expect("no change"), now);
    assert_eq!(tenant.delete_faq(&first.id, &now.etag).await.expect("deleted"), now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_faq_is_gone_with_its_observations_and_may_come_back() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Open?")).await.expect("added");
    let request = about_message(&talk, &said, "Open?", "Yes.");
    let (faq, _) = tenant.observe(request.clone()).await.expect("observed");
    assert_eq!(tenant.delete_faq(&faq.id, "").await.expect("deleted"), faq);
    for table in ["customer_faqs", "faq_observations", "customer_faq_terms"] {
        assert_eq!(sql.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    tenant.read_faq(&faq.id).await.expect_err("gone").is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    tenant.delete_faq(&faq.id, "").await.expect_err("gone").is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    let (again, known) = tenant.observe(request).await.expect("observed");
    assert!(!known && again.id != faq.id && again.observation_count == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_needs_a_word_a_name_and_an_answer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let faq = tenant.faq(&zoe, "Open?", "").await;
    let base = || checked(&faq, FaqVerificationStatus::HumanVerified);
    let text = str::to_owned;
    let cases = [
        (MarkCustomerFaqVerifiedRequest { verification_status: 0, ..base() }, "verification_status"),
        (MarkCustomerFaqVerifiedRequest { verification_status: 1, ..base() }, "verification_status"),
        (MarkCustomerFaqVerifiedRequest { verification_status: 99, ..base() }, "verification_status"),
        (MarkCustomerFaqVerifiedRequest { verified_by: String::new(), ..base() }, "verified_by"),
        (MarkCustomerFaqVerifiedRequest { verified_by: "x".repeat(257), ..base() }, "verified_by"),
        (MarkCustomerFaqVerifiedRequest { status: FaqStatus::Archived.into(), ..base() }, "status"),
        (MarkCustomerFaqVerifiedRequest { status: 99, ..base() }, "status"),
        (MarkCustomerFaqVerifiedRequest { answer: "x".repeat(16_385), ..base() }, "answer"),
        (base(), "answer"),
        (
            MarkCustomerFaqVerifiedRequest {
                answer: text("No."),
                ..checked(&faq, FaqVerificationStatus::Disputed)
            },
            "answer",
        ),
    ];
    for (request, field) in cases {
        let shown = format!("{:.200}", format!("{request:?}"));
        tenant.check_faq(request).await.expect_err(&shown).is_invalid(&[field]);
    }
    let verified = MarkCustomerFaqVerifiedRequest { answer: text("Yes."), ..base() };
    let verified = tenant.check_faq(verified).await.expect("checked");
    assert_eq!((verified.status(), verified.answer.as_str()), (FaqStatus::Candidate, "Yes."));
    let by_machine = MarkCustomerFaqVerifiedRequest {
        answer: text("No."),
        ..checked(&faq, FaqVerificationStatus::AiChecked)
    };
    assert_eq!(tenant.check_faq(by_machine).await.expect("no change"), verified);
    let disputed = MarkCustomerFaqVerifiedRequest {
        status: FaqStatus::Rejected.into(),
        ..checked(&faq, FaqVerificationStatus::Disputed)
    };
    let disputed = tenant.check_faq(disputed).await.expect("checked");
    assert_eq!(
        (disputed.status(), disputed.verification_status()),
        (FaqStatus::Rejected, FaqVerificationStatus::Disputed)
    );
    assert!(disputed.derived_confidence < verified.derived_confidence);
    let wanted = CustomerFaq { id: faq.id.clone(), answer: text("Maybe."), ..Default::default() };
    let changed = tenant.revise_faq(wanted, &[]).await.expect("updated");
    assert_eq!(
        (changed.verification_status(), changed.verification),
        (FaqVerificationStatus::Unverified, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_come_in_pages() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (zoe, ben) = (tenant.customer("Zoe").await.id, tenant.customer("Ben").await.id);
    let mut ids = Vec::new();
    for (customer, category, source) in [
        (&zoe, "a", FaqSource::Human),
        (&zoe, "b", FaqSource::Import),
        (&ben, "a", FaqSource::Import),
        (&zoe, "a", FaqSource::Ai),
        (&zoe, "", FaqSource::Human),
    ] {
        let request = CustomerFaq {
            category: category.to_owned(),
            source: source.into(),
            ..question(customer, &format!("Question {}?", ids.len()), "Yes.")
        };
        ids.push(tenant.create_faq(request).await.expect("created"));
    }
    tenant.revise_faq(as_status(&ids[1], FaqStatus::Approved), &[]).await.expect("updated");
    tenant.revise_faq(as_status(&ids[4], FaqStatus::Rejected), &[]).await.expect("updated");
    tenant.check_faq(checked(&ids[0], FaqVerificationStatus::AiChecked)).await.expect("checked");
    let all = ListCustomerFaqsRequest::default;
    let approved = vec![FaqStatus::Approved.into()];
    let two = vec![FaqStatus::Approved.into(), FaqStatus::Rejected.into()];
    let cases: [(ListCustomerFaqsRequest, &[usize]); 9] = [
        (all(), &[4, 3, 2, 1, 0]),
        (ListCustomerFaqsRequest { order_by: "create_time".to_owned(), ..all() }, &[0, 1, 2, 3, 4]),
        (ListCustomerFaqsRequest { customer_id: zoe.clone(), ..all() }, &[4, 3, 1, 0]),
        (ListCustomerFaqsRequest { statuses: approved, ..all() }, &[1]),
        (ListCustomerFaqsRequest { statuses: two, customer_id: zoe.clone(), ..all() }, &[4, 1]),
        (
            ListCustomerFaqsRequest {
                verification_statuses: vec![FaqVerificationStatus::AiChecked.into()],
                ..all()
            },
            &[0],
        ),
        (
            ListCustomerFaqsRequest {
                sources: vec![FaqSource::Import.into(), FaqSource::Ai.into()],
                ..all()
            },
            &[3, 2, 1],
        ),
        (ListCustomerFaqsRequest { category: "a".to_owned(), ..all() }, &[3, 2, 0]),
        (
            ListCustomerFaqsRequest {
                create_time_from: ids[1].create_time,
                create_time_until: ids[3].create_time,
                ..all()
            },
            &[2, 1],
        ),
    ];
    for (request, expected) in cases {
        for page_size in [0, 1, 2] {
            let page = ListCustomerFaqsRequest { page_size, ..request.clone() };
            let found: Vec<_> = tenant.all_faqs(page).await.into_iter().map(|faq| faq.id).collect();
            let expected: Vec<_> = expected.iter().map(|index| ids[*index].id.clone()).collect();
            assert_eq!(found, expected, "{request:?} by {page_size}");
        }
    }
    let first = tenant.faq_page(ListCustomerFaqsRequest { page_size: 1, ..all() }).await.expect("a page");
    let other =
        ListCustomerFaqsRequest { page_token: first.next_page_token, category: "a".to_owned(), ..all() };
    tenant.faq_page(other).await.expect_err("another list").is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    for (request, field) in [
        (ListCustomerFaqsRequest { page_size: -1, ..all() }, "page_size"),
        (ListCustomerFaqsRequest { order_by: "question".to_owned(), ..all() }, "order_by"),
        (ListCustomerFaqsRequest { statuses: vec![0], ..all() }, "statuses[0]"),
        (ListCustomerFaqsRequest { verification_statuses: vec![99], ..all() }, "verification_statuses[0]"),
        (ListCustomerFaqsRequest { sources: vec![0], ..all() }, "sources[0]"),
        (ListCustomerFaqsRequest { customer_id: "x".to_owned(), ..all() }, "customer_id"),
    ] {
        tenant.faq_page(request).await.expect_err(field).is_invalid(&[field]);
    }
}
