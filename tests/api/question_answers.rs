//! Answers that are written into the customer's fields.

use crm_backend::pb::{
    BusinessContext, Customer, CustomerStatus, ListCustomersRequest, MarkPendingQuestionAnsweredRequest,
    PendingQuestion, PendingQuestionStatus as Status,
};
use prost_types::Timestamp;
use prost_types::value::Kind;
use tonic::Code;
use uuid::Uuid;

use crate::support::customers::{named, names};
use crate::support::questions::{about, answer, is_about, question, written};
use crate::support::{Crm, Refusal, STALE_ETAG, Tenant, at_once};

fn text_of(question: &PendingQuestion) -> &str {
    question.answer.as_ref().map_or("", |answer| answer.text.as_str())
}

fn write_time(question: &PendingQuestion) -> Option<Timestamp> {
    question.answer.as_ref().expect("an answer").write_time
}

/// Returns the customer after a question for the field got this answer.
async fn fill(tenant: &Tenant, customer: &str, field: &str, text: &str) -> Customer {
    let id = tenant.create_question(about(customer, field)).await.expect("created").0.id;
    let response =
        tenant.mark_answered(written(&id, text)).await.unwrap_or_else(|error| panic!("{field}: {error:?}"));
    let question = response.pending_question.expect("the question");
    assert_eq!((question.status(), text_of(&question)), (Status::Answered, text));
    let customer = response.customer.expect("the customer");
    assert_eq!(tenant.get(&customer.id).await.expect("there"), customer);
    customer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_fills_the_field_as_an_update_would() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.customer("Zoe").await.id;
    let zoe = fill(&tenant, &id, "contact_name", " Ana Quetzal\n").await;
    assert_eq!(zoe.contact_name, "Ana Quetzal");
    let query = ListCustomersRequest { query: "quetzal".to_owned(), ..Default::default() };
    assert_eq!(names(&tenant.list_all(query).await), ["Zoe"], "it is found by it");
    assert_eq!(fill(&tenant, &id, "status", "prospect").await.status(), CustomerStatus::Prospect);
    let zoe = fill(&tenant, &id, "brand_voice.tone", "warm,\na little cheeky").await;
    assert_eq!(zoe.brand_voice.expect("a voice").tone, "warm,\na little cheeky");
    fill(&tenant, &id, "business_context.goals", "grow\n\n open a second shop").await;
    let zoe = fill(&tenant, &id, "business_context.goals", "stay small\ngrow").await;
    let context = zoe.business_context.expect("a context");
    assert_eq!(context.goals, ["grow", "open a second shop", "stay small"], "it is added to");
    let zoe = fill(&tenant, &id, "custom_attributes.opening.hours", "9 to 5").await;
    let attributes = zoe.custom_attributes.expect("attributes").fields;
    assert_eq!(attributes["opening.hours"].kind, Some(Kind::StringValue("9 to 5".to_owned())));
    assert_eq!(zoe.contact_name, "Ana Quetzal", "the rest stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let before = tenant.customer("Zoe").await;
    tenant.create(Customer { slug: "taken".to_owned(), ..named("Other") }).await.expect("created");
    for (field, text) in [
        ("email", "none of your business"),
        ("country_code", "Austria"),
        ("contact_name", "two\nlines"),
        ("status", "king"),
        ("status", "UNSPECIFIED"),
        ("website", "cafe zoe"),
        ("tags", &"x".repeat(65)),
        ("content_preferences.languages", "German, please"),
        ("business_context.competitors", &"x".repeat(257)),
    ] {
        let first = tenant.create_question(about(&before.id, field)).await.expect("created").0;
        let error = tenant.mark_answered(written(&first.id, text)).await.expect_err(field);
        is_about(&error, "answer");
        assert_eq!(tenant.read_question(&first.id).await.expect("there"), first, "{field}");
        // If it is not written, it is an answer like any other.
        tenant.answer(&first.id, text).await.expect("answered");
    }
    assert_eq!(tenant.get(&before.id).await.expect("there"), before);
    let id = tenant.create_question(about(&before.id, "slug")).await.expect("created").0.id;
    let taken = MarkPendingQuestionAnsweredRequest { overwrite: true, ..written(&id, "taken") };
    tenant.mark_answered(taken).await.expect_err("taken").is(Code::AlreadyExists, "SLUG_TAKEN");
    let aimless = tenant.question(&before.id, "Why?").await.id;
    let error = tenant.mark_answered(written(&aimless, "Because")).await.expect_err("no field");
    error.is_invalid(&["write_to_customer"]);
    assert_eq!(tenant.read_question(&aimless).await.expect("there").status(), Status::Pending);
    let id = tenant.create_question(about(&before.id, "phone")).await.expect("created").0.id;
    tenant.delete(&before.id).await.expect("deleted");
    let error = tenant.mark_answered(written(&id, "+43 1 23456")).await.expect_err("deleted");
    error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    assert_eq!(tenant.answer(&id, "+43 1 23456").await.expect("answered").status(), Status::Answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_value_is_replaced_only_where_it_may() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = Customer {
        email: "old@cafe.example".to_owned(),
        business_context: Some(BusinessContext { goals: vec!["grow".to_owned()], ..Default::default() }),
        ..named("Zoe")
    };
    let before = tenant.create(request).await.expect("created");
    let id = tenant.create_question(about(&before.id, "email")).await.expect("created").0.id;
    let error = tenant.mark_answered(written(&id, "new@cafe.example")).await.expect_err("filled");
    error.is(Code::FailedPrecondition, "TARGET_FIELD_FILLED");
    assert_eq!(tenant.read_question(&id).await.expect("there").status(), Status::Pending);
    assert_eq!(tenant.get(&before.id).await.expect("there"), before);
    let same = tenant.mark_answered(written(&id, "old@cafe.example")).await.expect("the same");
    assert_eq!(same.customer, Some(before.clone()), "the same value is no change, the etag included");
    let over = MarkPendingQuestionAnsweredRequest { overwrite: true, ..written(&id, "new@cafe.example") };
    let after = tenant.mark_answered(over.clone()).await.expect("written");
    let customer = after.customer.clone().expect("the customer");
    assert_eq!(customer.email, "new@cafe.example");
    assert_ne!(customer.etag, before.etag);
    let repeated = tenant.mark_answered(over).await.expect("no step");
    assert!(repeated.deduplicated && !after.deduplicated);
    assert_eq!((repeated.pending_question, repeated.customer), (after.pending_question, after.customer));
    // A verified answer that was not written may still be written.
    let phone = tenant.create_question(about(&before.id, "phone")).await.expect("created").0.id;
    tenant.answer(&phone, "+43 1 23456").await.expect("answered");
    let verified = tenant.verify(&phone, "ana").await.expect("verified");
    assert_eq!(write_time(&verified), None);
    let stale =
        MarkPendingQuestionAnsweredRequest { etag: STALE_ETAG.to_owned(), ..written(&phone, "+43 1 23456") };
    tenant.mark_answered(stale).await.expect_err("that is a change").is(Code::Aborted, "ETAG_STALE");
    let again = tenant.mark_answered(written(&phone, "+43 1 23456")).await.expect("written");
    assert!(!again.deduplicated, "the customer was changed");
    let question = again.pending_question.expect("it");
    assert_eq!(question.status(), Status::Verified);
    assert!(write_time(&question).is_some(), "{question:?}");
    assert_eq!(again.customer.expect("it").phone, "+43 1 23456");
    let goals =
        tenant.create_question(about(&before.id, "business_context.goals")).await.expect("created").0.id;
    let over = MarkPendingQuestionAnsweredRequest { overwrite: true, ..written(&goals, "rest") };
    let customer = tenant.mark_answered(over).await.expect("written").customer.expect("it");
    assert_eq!(customer.business_context.expect("a context").goals, ["rest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_sent_again_does_not_undo_what_came_after_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    for (field, text) in [("email", "a@cafe.example"), ("tags", "vip\nnew")] {
        let first = tenant.create_question(about(&zoe, field)).await.expect("created").0;
        for overwrite in [true, false] {
            let request = MarkPendingQuestionAnsweredRequest {
                overwrite,
                etag: first.etag.clone(),
                ..written(&first.id, text)
            };
            let sent = tenant.mark_answered(request.clone()).await.expect("written, or again");
            let newer = Customer {
                id: zoe.clone(),
                email: "b@cafe.example".to_owned(),
                tags: vec!["new".to_owned()],
                ..Default::default()
            };
            let newer = tenant.update(newer, &["email", "tags"]).await.expect("updated");
            let again = tenant.mark_answered(request).await.expect("the step was taken");
            assert_eq!(again.pending_question, sent.pending_question, "{field}");
            assert_eq!(again.customer.as_ref(), Some(&newer), "{field}: as it is now");
            assert_eq!(tenant.get(&zoe).await.expect("there"), newer);
        }
    }
    // Another answer is a new change.
    let id = tenant.create_question(about(&zoe, "city")).await.expect("created").0.id;
    for text in ["Bonn", "Wien"] {
        let request = MarkPendingQuestionAnsweredRequest { overwrite: true, ..written(&id, text) };
        assert_eq!(tenant.mark_answered(request).await.expect("written").customer.expect("it").city, text);
    }
    let question = tenant.answer(&id, "Graz").await.expect("answered");
    assert_eq!(write_time(&question), None, "this one was not");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_answers_to_what_was_read_one_wins() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let first = tenant.create_question(about(&customer, "email")).await.expect("created").0;
    let answers = (0..16).map(|number| {
        let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
        let request = MarkPendingQuestionAnsweredRequest {
            etag: first.etag.clone(),
            ..written(&first.id, &format!("zoe{number}@cafe.example"))
        };
        async move { tenant.mark_answered(request).await }
    });
    let (won, lost): (Vec<_>, Vec<_>) = at_once(answers).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for error in lost {
        error.expect_err("lost").is(Code::Aborted, "ETAG_STALE");
    }
    let won = won.into_iter().next().expect("one").expect("one");
    let (question, zoe) =
        (tenant.read_question(&first.id).await.expect("there"), tenant.get(&customer).await.expect("there"));
    assert_eq!(won.pending_question, Some(question.clone()));
    assert_eq!(won.customer, Some(zoe.clone()));
    assert_eq!(text_of(&question), zoe.email);
    assert_ne!(question.etag, first.etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_answers_without_an_etag_leave_question_and_customer_with_the_same_one() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for overwrite in [false, true] {
        let customer = tenant.customer("Zoe").await.id;
        let id = tenant.create_question(about(&customer, "email")).await.expect("created").0.id;
        let answers = (0..16).map(|number| {
            let (tenant, text) = (tenant.clone(), format!("zoe{number}@cafe.example"));
            let request = MarkPendingQuestionAnsweredRequest { overwrite, ..written(&id, &text) };
            async move { tenant.mark_answered(request).await }
        });
        let outcomes = at_once(answers).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, if overwrite { 16 } else { 1 });
        for error in outcomes.into_iter().filter_map(Result::err) {
            error.is(Code::FailedPrecondition, "TARGET_FIELD_FILLED");
        }
        let (question, zoe) =
            (tenant.read_question(&id).await.expect("there"), tenant.get(&customer).await.expect("there"));
        assert_eq!(text_of(&question), zoe.email);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_updates_and_questions_at_once_never_wait_for_each_other_in_a_circle() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let id = tenant.create_question(about(&customer, "tags")).await.expect("created").0.id;
    let calls = (0..48).map(|number| {
        let (tenant, customer, id) = (tenant.clone(), customer.clone(), id.clone());
        async move {
            match number % 3 {
                0 => drop(
                    tenant.mark_answered(written(&id, &format!("tag {number}"))).await.expect("answered"),
                ),
                1 => drop(tenant.create_question(about(&customer, "tags")).await.expect("created or there")),
                _ => {
                    let change = Customer { id: customer, city: format!("{number}"), ..Default::default() };
                    drop(tenant.update(change, &[]).await.expect("updated"));
                }
            }
        }
    });
    at_once(calls).await;
    assert_eq!(tenant.get(&customer).await.expect("there").tags.len(), 16, "no answer is lost");
    let statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(crm.sql().await.number(statement).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_makes_it_one_answer() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let id = tenant.create_question(about(&customer, "tags")).await.expect("created").0.id;
    let request_id = Uuid::new_v4().to_string();
    let request =
        MarkPendingQuestionAnsweredRequest { request_id: request_id.clone(), ..written(&id, "vip") };
    let first = tenant.mark_answered(request.clone()).await.expect("answered");
    tenant.answer(&id, "otherwise").await.expect("answered");
    assert_eq!(tenant.mark_answered(request).await.expect("the first answer"), first);
    let other = MarkPendingQuestionAnsweredRequest { request_id, ..answer(&id, "new") };
    tenant.mark_answered(other).await.expect_err("reused").is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let request_id = Uuid::new_v4().to_string();
    let create = || tenant.create_question_once(question(&customer, "Why?"), &request_id);
    let made = create().await.expect("created");
    assert_eq!(create().await.expect("the same"), made);
}
