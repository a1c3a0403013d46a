//! Observations of FAQs: asked questions, conflicting answers, uses.

use std::collections::BTreeSet;

use crm_backend::pb::{
    CustomerFaq, FaqAgreement, FaqObservation, FaqObservationKind, FaqSource, FaqStatus,
    FaqVerificationStatus, GetFaqObservationRequest, ListCustomerFaqsRequest, ListFaqObservationsRequest,
    MarkCustomerFaqVerifiedRequest, RecordFaqObservationRequest,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::faqs::{about_message, as_status, asked, checked, observed, question, with};
use crate::support::{Crm, Refusal, Tenant, at_once, micros};

const UNKNOWN: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// Returns an observation that a FAQ was used.
fn used(faq: &CustomerFaq) -> RecordFaqObservationRequest {
    observed(
        &faq.customer_id,
        FaqObservation {
            kind: FaqObservationKind::Used.into(),
            customer_faq_id: faq.id.clone(),
            ..Default::default()
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_asked_opens_a_candidate_and_then_counts() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Open?")).await.expect("added");
    let request = with(about_message(&talk, &said, "Are you open?", ""), |observation| {
        observation.confidence = Some(0.8);
        observation.observed_by = "worker-1".to_owned();
    });
    let (faq, _) = tenant.observe(request).await.expect("observed");
    assert_eq!(
        (faq.status(), faq.verification_status()),
        (FaqStatus::Candidate, FaqVerificationStatus::Unverified)
    );
    assert_eq!((faq.source(), faq.question.as_str()), (FaqSource::Conversation, "Are you open?"));
    assert_eq!((&faq.source_conversation_id, &faq.source_message_id), (&talk.id, &said.id));
    assert_eq!((faq.reported_confidence, faq.observation_count), (Some(0.8), 1));
    let (answered, _) =
        tenant.observe(asked(&talk.customer_id, "are you OPEN", "Yes, always.")).await.expect("observed");
    assert_eq!((answered.id.as_str(), answered.answer.as_str()), (faq.id.as_str(), "Yes, always."));
    assert_eq!((answered.observation_count, answered.agreeing_answer_count), (2, 1));
    assert!(answered.derived_confidence > faq.derived_confidence);
    let paraphrase = with(asked(&talk.customer_id, "May one come in?", "yes, ALWAYS"), |observation| {
        observation.customer_faq_id.clone_from(&faq.id);
    });
    let (same, _) = tenant.observe(paraphrase).await.expect("observed");
    assert_eq!((same.id.as_str(), same.agreeing_answer_count), (faq.id.as_str(), 2));
    assert_eq!(same.etag, answered.etag, "counts do not change the etag");
    assert_eq!(tenant.read_faq(&faq.id).await.expect("there"), same);
    let (observations, _) = tenant.all_observations(&faq.id, 0).await;
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
    assert_eq!(
        (&first.customer_id, &first.customer_faq_id, micros(first.create_time) > 0),
        (&faq.customer_id, &faq.id, true)
    );
    for page_size in [1, 2] {
        assert_eq!(tenant.all_observations(&faq.id, page_size).await.0, observations);
    }
    let get = GetFaqObservationRequest { id: first.id.clone() };
    let got = tenant.faqs().get_faq_observation(get).await.expect("there").into_inner().observation;
    assert_eq!(got.as_ref(), Some(first));
    let get = GetFaqObservationRequest { id: UNKNOWN.to_owned() };
    let error = tenant.faqs().get_faq_observation(get).await.expect_err("unknown");
    error.is(Code::NotFound, "FAQ_OBSERVATION_NOT_FOUND");
    let list = |customer_faq_id: &str, page_size, page_token: &str| ListFaqObservationsRequest {
        customer_faq_id: customer_faq_id.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let error = tenant.observation_page(list(UNKNOWN, 0, "")).await.expect_err("unknown");
    error.is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    tenant
        .observation_page(list("x", -1, ""))
        .await
        .expect_err("wrong")
        .is_invalid(&["customer_faq_id", "page_size"]);
    let token = tenant.observation_page(list(&faq.id, 1, "")).await.expect("a page").next_page_token;
    let other = tenant.faq(&talk.customer_id, "Another?", "").await.id;
    let error = tenant.observation_page(list(&other, 1, &token)).await.expect_err("another list");
    error.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
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
        ..checked(&faq, FaqVerificationStatus::HumanVerified)
    };
    let settled = tenant.check_faq(right).await.expect("settled");
    assert_eq!((settled.status(), settled.answer.as_str()), (FaqStatus::Approved, "At nine."));
    assert_eq!(
        (settled.verification_status(), settled.conflicting_answer_count),
        (FaqVerificationStatus::HumanVerified, 0)
    );
    let check = settled.verification.as_ref().expect("a check");
    assert!(check.verified_by == "ana" && micros(check.verify_time) > 0);
    let (torn, _) = tenant.observe(asked(&zoe, "Open?", "At ten.")).await.expect("observed");
    assert_eq!((torn.status(), torn.answer.as_str()), (FaqStatus::Approved, "At nine."));
    assert_eq!(torn.conflicting_answer_count, 1, "it shows all the same");
    assert!(torn.derived_confidence < settled.derived_confidence);
    let faq = conflict("Closed?").await;
    let checked_by_ai =
        tenant.check_faq(checked(&faq, FaqVerificationStatus::AiChecked)).await.expect("settled");
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
    let faq = tenant.read_faq(id).await.expect("there");
    let (evidence, _) = tenant.all_observations(id, 5).await;
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
    let other_answer = with(request.clone(), |observation| observation.answer = "No.".to_owned());
    assert_eq!(tenant.observe(request.clone()).await.expect("observed"), (first.clone(), true));
    let error = tenant.observe(other_answer).await.expect_err("other content");
    error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert!(error.message().contains("with another answer;"), "{error:?}");
    assert_eq!(tenant.read_faq(&first.id).await.expect("there"), first, "nothing was counted");
    let used = with(used(&first), |observation| {
        observation.conversation_id.clone_from(&talk.id);
        observation.message_id.clone_from(&said.id);
    });
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
    let (observations, _) = tenant.all_observations(&faq.id, 0).await;
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
    let text = str::to_owned;
    let cases = [
        (with(base(), |one| one.question = String::new()), "question"),
        (with(used(), |one| one.customer_faq_id = String::new()), "customer_faq_id"),
        (with(used(), |one| one.answer = text("Yes.")), "answer"),
        (with(base(), |one| one.message_id = text(UNKNOWN)), "conversation_id"),
        (with(base(), |one| one.question = text(" \u{a0}")), "question"),
        (with(base(), |one| one.question = "é".repeat(2_049)), "question"),
        (with(base(), |one| one.answer = "é".repeat(16_385)), "answer"),
        (with(base(), |one| one.answer = text("\0")), "answer"),
        (with(base(), |one| one.kind = 99), "kind"),
        (with(base(), |one| one.confidence = Some(1.01)), "confidence"),
        (with(base(), |one| one.confidence = Some(-0.01)), "confidence"),
        (with(base(), |one| one.observed_by = text("a\nb")), "observed_by"),
        (with(base(), |one| one.observed_by = "x".repeat(257)), "observed_by"),
        (with(base(), |one| one.customer_faq_id = text("x")), "customer_faq_id"),
    ];
    for (request, field) in cases {
        let shown = format!("{:.200}", format!("{request:?}"));
        let error = tenant.observe(request).await.expect_err(&shown);
        error.is_invalid(&[&format!("observation.{field}")]);
    }
    let both = with(used(), |one| {
        one.answer = text("x");
        one.customer_faq_id = String::new();
    });
    let error = tenant.observe(both).await.expect_err("two at once");
    error.is_invalid(&["observation.customer_faq_id", "observation.answer"]);
    let nothing = RecordFaqObservationRequest { observation: None, ..base() };
    tenant.observe(nothing).await.expect_err("nothing").is_invalid(&["observation"]);
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
        let request = with(base.clone(), |one| one.conversation_id.clone_from(&conversation_id));
        let error = tenant.observe(request).await.expect_err("no conversation");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
        let source_conversation_id = conversation_id;
        let request = CustomerFaq { source_conversation_id, ..question(&talk.customer_id, "Open?", "") };
        let error = tenant.create_faq(request).await.expect_err("no conversation");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    for message_id in [UNKNOWN, &elsewhere.id, &theirs.id] {
        let request = with(base.clone(), |one| one.message_id = message_id.to_owned());
        let error = tenant.observe(request).await.expect_err("no message");
        error.is(Code::NotFound, "MESSAGE_NOT_FOUND");
        let request = CustomerFaq {
            source_conversation_id: talk.id.clone(),
            source_message_id: message_id.to_owned(),
            ..question(&talk.customer_id, "Open?", "")
        };
        tenant.create_faq(request).await.expect_err("no message").is(Code::NotFound, "MESSAGE_NOT_FOUND");
    }
    for faq_id in [UNKNOWN, &of_second, &of_foreign] {
        let request = with(base.clone(), |one| one.customer_faq_id = faq_id.to_owned());
        let error = tenant.observe(request).await.expect_err("no FAQ");
        error.is(Code::NotFound, "CUSTOMER_FAQ_NOT_FOUND");
    }
    let lone = CustomerFaq { source_message_id: said.id.clone(), ..question(&talk.customer_id, "Open?", "") };
    tenant.create_faq(lone).await.expect_err("alone").is_invalid(&["customer_faq.source_conversation_id"]);
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
    let other = with(request, |one| one.answer = "No.".to_owned());
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
    let (observations, sizes) = tenant.all_observations(&faq.id, i32::MAX).await;
    // 2 MiB have room for 31 observations of 64 KiB with their other fields.
    assert_eq!((observations.len(), sizes), (41, vec![31, 10]));
}
