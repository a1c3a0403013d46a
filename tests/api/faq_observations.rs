//! What is observed of FAQs: questions that are asked, answers that conflict, uses.

use std::collections::BTreeSet;

use crm_backend::pb::{
    CreateCustomerFaqRequest, CustomerFaq, FaqAgreement, FaqObservationKind, FaqSource, FaqStatus,
    FaqVerification, ListCustomerFaqsRequest, MarkCustomerFaqVerifiedRequest, RecordFaqObservationRequest,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::faqs::{about_message, as_status, asked, checked, question};
use crate::support::{Crm, Refusal, Tenant, at_once};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// That a FAQ was used.
fn used(faq: &CustomerFaq) -> RecordFaqObservationRequest {
    RecordFaqObservationRequest {
        customer_id: faq.customer_id.clone(),
        kind: FaqObservationKind::Used.into(),
        faq_id: faq.id.clone(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_asked_opens_a_candidate_and_then_counts() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Open?")).await.expect("added");
    let request = RecordFaqObservationRequest {
        confidence: Some(0.8),
        observed_by: "worker-1".to_owned(),
        ..about_message(&talk, &said, "Are you open?", "")
    };
    let (faq, _) = tenant.observe(request).await.expect("observed");
    assert_eq!((faq.status(), faq.verification()), (FaqStatus::Candidate, FaqVerification::Unverified));
    assert_eq!((faq.source(), faq.question.as_str()), (FaqSource::Conversation, "Are you open?"));
    assert_eq!((&faq.source_conversation_id, &faq.source_message_id), (&talk.id, &said.id));
    assert_eq!((faq.reported_confidence, faq.observation_count), (Some(0.8), 1));
    let (answered, _) =
        tenant.observe(asked(&talk.customer_id, "are you OPEN", "Yes, always.")).await.expect("observed");
    assert_eq!((answered.id.as_str(), answered.answer.as_str()), (faq.id.as_str(), "Yes, always."));
    assert_eq!((answered.observation_count, answered.agreeing_answer_count), (2, 1));
    assert!(answered.derived_confidence > faq.derived_confidence);
    let paraphrase = RecordFaqObservationRequest {
        faq_id: faq.id.clone(),
        ..asked(&talk.customer_id, "May one come in?", "yes, ALWAYS")
    };
    let (same, _) = tenant.observe(paraphrase).await.expect("observed");
    assert_eq!((same.id.as_str(), same.agreeing_answer_count), (faq.id.as_str(), 2));
    assert_eq!(same.etag, answered.etag, "counts do not change the etag");
    let (now, observations) = tenant.read_evidence(&faq.id, 10).await.expect("there");
    assert_eq!(now, same);
    let seen: Vec<_> = observations.iter().map(|one| (one.question.as_str(), one.agreement())).collect();
    let expected = [
        ("May one come in?", FaqAgreement::Agrees),
        ("are you OPEN", FaqAgreement::Agrees),
        ("Are you open?", FaqAgreement::Unspecified),
    ];
    assert_eq!(seen, expected);
    let first = &observations[2];
    assert_eq!((&first.conversation_id, &first.message_id), (&talk.id, &said.id));
    assert_eq!(
        (first.confidence, first.observed_by.as_str(), first.kind()),
        (Some(0.8), "worker-1", FaqObservationKind::Asked)
    );
    assert_eq!(tenant.read_evidence(&faq.id, 1).await.expect("there").1.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_answer_is_a_conflict_until_somebody_settles_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let conflict = async |text: &str| {
        tenant.observe(asked(&zoe, text, "At eight.")).await.expect("observed");
        let (faq, _) = tenant.observe(asked(&zoe, text, "At nine.")).await.expect("observed");
        assert_eq!((faq.status(), faq.answer.as_str()), (FaqStatus::Conflict, "At eight."));
        assert_eq!((faq.agreeing_answer_count, faq.conflicting_answer_count), (1, 1));
        faq
    };
    let faq = conflict("Open?").await;
    let right = MarkCustomerFaqVerifiedRequest {
        answer: "At nine.".to_owned(),
        ..checked(&faq, FaqVerification::HumanVerified)
    };
    let settled = tenant.check_faq(right).await.expect("settled");
    assert_eq!((settled.status(), settled.answer.as_str()), (FaqStatus::Approved, "At nine."));
    assert_eq!(
        (settled.verification(), settled.verified_by.as_str()),
        (FaqVerification::HumanVerified, "ana")
    );
    assert!(settled.verify_time.is_some() && settled.conflicting_answer_count == 0);
    let (torn, _) = tenant.observe(asked(&zoe, "Open?", "At ten.")).await.expect("observed");
    assert_eq!((torn.status(), torn.answer.as_str()), (FaqStatus::Approved, "At nine."));
    assert_eq!(torn.conflicting_answer_count, 1, "it shows all the same");
    assert!(torn.derived_confidence < settled.derived_confidence);
    let faq = conflict("Closed?").await;
    let checked_by_ai = tenant.check_faq(checked(&faq, FaqVerification::AiChecked)).await.expect("settled");
    assert_eq!((checked_by_ai.status(), checked_by_ai.conflicting_answer_count), (FaqStatus::Candidate, 0));
    let faq = conflict("Where?").await;
    let updated = tenant.revise_faq(as_status(&faq, FaqStatus::Rejected), &[]).await.expect("settled");
    assert_eq!((updated.status(), updated.conflicting_answer_count), (FaqStatus::Rejected, 0));
    let (rejected, _) = tenant.observe(asked(&zoe, "Where?", "There.")).await.expect("observed");
    assert_eq!((rejected.status(), rejected.observation_count), (FaqStatus::Rejected, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_observations_of_a_new_question_at_once_open_one_faq() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let observations = (0..16).map(|number| {
        let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let answer = if number == 7 { "No." } else { "Yes." };
        let request = asked(&zoe, "Is it open?", answer);
        async move { tenant.observe(request).await.expect("observed").0.id }
    });
    let ids: BTreeSet<_> = at_once(observations).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    let id = ids.first().expect("one");
    let (faq, evidence) = tenant.read_evidence(id, 50).await.expect("there");
    assert_eq!((faq.observation_count, evidence.len()), (16, 16));
    assert_eq!(faq.agreeing_answer_count + faq.conflicting_answer_count, 16);
    assert_eq!(faq.status(), FaqStatus::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_once_for_a_faq_and_a_kind() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Open?")).await.expect("added");
    let request = about_message(&talk, &said, "Open?", "Yes.");
    let (first, known) = tenant.observe(request.clone()).await.expect("observed");
    assert!(!known);
    let other_answer = RecordFaqObservationRequest { answer: "No.".to_owned(), ..request.clone() };
    for again in [request.clone(), other_answer] {
        let (again, known) = tenant.observe(again).await.expect("observed");
        assert_eq!((again, known), (first.clone(), true));
    }
    let used = RecordFaqObservationRequest {
        conversation_id: talk.id.clone(),
        message_id: said.id.clone(),
        ..used(&first)
    };
    for (count, known) in [(1, false), (1, true)] {
        let (faq, deduplicated) = tenant.observe(used.clone()).await.expect("observed");
        assert_eq!((faq.usage_count, deduplicated), (count, known));
    }
    let other = about_message(&talk, &said, "Closed?", "");
    let (other, known) = tenant.observe(other).await.expect("another question of the message");
    assert!(!known && other.id != first.id);
    let at_the_same_time = (0..8).map(|_| {
        let (tenant, request) = (tenant.clone(), about_message(&talk, &said, "Both?", "Yes."));
        async move { tenant.observe(request).await.expect("observed").0 }
    });
    let faqs = at_once(at_the_same_time).await;
    assert!(faqs.iter().all(|faq| faq.observation_count == 1), "{faqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_counted_and_changes_nothing_else() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let faq = tenant.faq(&zoe, "Open?", "Yes.").await;
    for count in 1..=3 {
        let (now, _) = tenant.observe(used(&faq)).await.expect("observed");
        assert!(now.last_used_time.is_some() && now.derived_confidence > faq.derived_confidence);
        let expected = CustomerFaq {
            usage_count: count,
            last_used_time: now.last_used_time,
            derived_confidence: now.derived_confidence,
            ..faq.clone()
        };
        assert_eq!(now, expected);
    }
    let (_, observations) = tenant.read_evidence(&faq.id, 10).await.expect("there");
    assert!(observations.iter().all(|one| one.kind() == FaqObservationKind::Used));
    assert_eq!(observations.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_an_observation_go_together() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let zoe = &talk.customer_id;
    let faq = tenant.faq(zoe, "Open?", "Yes.").await;
    let base = || asked(zoe, "Open?", "");
    let used = || used(&faq);
    let cases = [
        (RecordFaqObservationRequest { question: String::new(), ..base() }, "question"),
        (RecordFaqObservationRequest { faq_id: String::new(), ..used() }, "faq_id"),
        (RecordFaqObservationRequest { answer: "Yes.".to_owned(), ..used() }, "answer"),
        (RecordFaqObservationRequest { message_id: UNKNOWN.to_owned(), ..base() }, "conversation_id"),
        (RecordFaqObservationRequest { question: " \u{a0}".to_owned(), ..base() }, "question"),
        (RecordFaqObservationRequest { question: "é".repeat(2_049), ..base() }, "question"),
        (RecordFaqObservationRequest { answer: "é".repeat(16_385), ..base() }, "answer"),
        (RecordFaqObservationRequest { answer: "\0".to_owned(), ..base() }, "answer"),
        (RecordFaqObservationRequest { kind: 99, ..base() }, "kind"),
        (RecordFaqObservationRequest { confidence: Some(1.01), ..base() }, "confidence"),
        (RecordFaqObservationRequest { confidence: Some(-0.01), ..base() }, "confidence"),
        (RecordFaqObservationRequest { observed_by: "a\nb".to_owned(), ..base() }, "observed_by"),
        (RecordFaqObservationRequest { faq_id: "x".to_owned(), ..base() }, "faq_id"),
    ];
    for (request, field) in cases {
        let shown = format!("{:.200}", format!("{request:?}"));
        let error = tenant.observe(request).await.expect_err(&shown);
        error.is_invalid(&[field]);
    }
    let both = RecordFaqObservationRequest { answer: "x".to_owned(), faq_id: String::new(), ..used() };
    tenant.observe(both).await.expect_err("two at once").is_invalid(&["faq_id", "answer"]);
    assert_eq!(tenant.read_faq(&faq.id).await.expect("there"), faq, "nothing had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_observation_names_belongs_to_the_customer() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (talk, second) = (tenant.conversation().await, tenant.conversation().await);
    let foreign = other.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let (elsewhere, _) = tenant.add(&second.id, message("a", "Hello")).await.expect("added");
    let (theirs, _) = other.add(&foreign.id, message("a", "Hello")).await.expect("added");
    let of_second = tenant.faq(&second.customer_id, "Open?", "").await.id;
    let of_foreign = other.faq(&foreign.customer_id, "Open?", "").await.id;
    for customer_id in [UNKNOWN, &foreign.customer_id] {
        let error = tenant.observe(asked(customer_id, "Open?", "")).await.expect_err("no customer");
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
        let error = tenant.create_faq(question(customer_id, "Open?", "")).await.expect_err("no customer");
        error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
    let base = about_message(&talk, &said, "Open?", "");
    for conversation_id in [UNKNOWN, &second.id, &foreign.id] {
        let conversation_id = conversation_id.to_owned();
        let request =
            RecordFaqObservationRequest { conversation_id: conversation_id.clone(), ..base.clone() };
        let error = tenant.observe(request).await.expect_err("no conversation");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
        let source_conversation_id = conversation_id;
        let request =
            CreateCustomerFaqRequest { source_conversation_id, ..question(&talk.customer_id, "Open?", "") };
        let error = tenant.create_faq(request).await.expect_err("no conversation");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    for message_id in [UNKNOWN, &elsewhere.id, &theirs.id] {
        let request = RecordFaqObservationRequest { message_id: message_id.to_owned(), ..base.clone() };
        let error = tenant.observe(request).await.expect_err("no message");
        error.is(Code::NotFound, "MESSAGE_NOT_FOUND");
        let request = CreateCustomerFaqRequest {
            source_conversation_id: talk.id.clone(),
            source_message_id: message_id.to_owned(),
            ..question(&talk.customer_id, "Open?", "")
        };
        tenant.create_faq(request).await.expect_err("no message").is(Code::NotFound, "MESSAGE_NOT_FOUND");
    }
    for faq_id in [UNKNOWN, &of_second, &of_foreign] {
        let request = RecordFaqObservationRequest { faq_id: faq_id.to_owned(), ..base.clone() };
        let error = tenant.observe(request).await.expect_err("no FAQ");
        error.is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    }
    let lone = CreateCustomerFaqRequest {
        source_message_id: said.id.clone(),
        ..question(&talk.customer_id, "Open?", "")
    };
    tenant.create_faq(lone).await.expect_err("alone").is_invalid(&["source_conversation_id"]);
    tenant.delete(&talk.customer_id).await.expect("deleted");
    tenant.observe(base).await.expect_err("deleted").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    let nothing = ListCustomerFaqsRequest { customer_id: talk.customer_id, ..Default::default() };
    assert_eq!(tenant.all_faqs(nothing).await, [], "nothing was opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_observation_is_counted_once() {
    let crm = Crm::start().await;
    let tenant: Tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let request_id = Uuid::new_v4().to_string();
    let request = RecordFaqObservationRequest { request_id, ..asked(&zoe, "Open?", "Yes.") };
    let observations = (0..8).map(|_| {
        let (tenant, request) = (tenant.clone(), request.clone());
        async move { tenant.observe(request).await.expect("an answer") }
    });
    let answers = at_once(observations).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(tenant.read_faq(&answers[0].0.id).await.expect("there").observation_count, 1);
    let other = RecordFaqObservationRequest { answer: "No.".to_owned(), ..request };
    tenant.observe(other).await.expect_err("reused").is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_observations_come_as_far_as_an_answer_goes() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let answer = "\u{1f370}".repeat(16_384);
    let (faq, _) = tenant.observe(asked(&zoe, "Cake?", &answer)).await.expect("observed");
    for _ in 0..40 {
        tenant.observe(asked(&zoe, "Cake?", &answer)).await.expect("observed");
    }
    let (faq, observations) = tenant.read_evidence(&faq.id, i32::MAX).await.expect("below the limit");
    // 2 MiB have room for 31 of 64 KiB and what stands beside each.
    assert_eq!((faq.observation_count, observations.len()), (41, 31));
    tenant.read_evidence(&faq.id, -1).await.expect_err("negative").is_invalid(&["observation_limit"]);
}
