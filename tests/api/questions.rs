//! CreatePendingQuestion, GetPendingQuestion, ListPendingQuestions, UpdatePendingQuestion and
//! DeletePendingQuestion.

use crm_backend::pb::{
    ListPendingQuestionsRequest, PendingQuestion, PendingQuestionStatus as Status, Priority, QuestionTiming,
};
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::postgres::waiting_statements;
use crate::support::questions::{about, is_about, lapse, question};
use crate::support::{Crm, Refusal, STALE_ETAG, at_once, begin, eventually};

/// A time in the far future.
fn far() -> Option<Timestamp> {
    Some(Timestamp { seconds: 4_100_000_000, nanos: 0 })
}

/// Checks that an error names the other open question for the field.
#[track_caller]
fn is_taken_by(error: &tonic::Status, other: &str) {
    error.is(Code::AlreadyExists, "TARGET_FIELD_TAKEN");
    let details = error.get_error_details();
    let resource = details.resource_info().expect("the other");
    assert_eq!(
        (resource.resource_type.as_str(), resource.resource_name.as_str()),
        ("pending_question", other)
    );
}

fn texts(questions: &[PendingQuestion]) -> String {
    questions.iter().map(|question| question.question.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_comes_back_as_it_was_sent() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let request = PendingQuestion {
        customer_id: talk.customer_id.clone(),
        question: "When do you open?\nAnd close?".to_owned(),
        target_field: "custom_attributes.opening_hours".to_owned(),
        purpose: "The website shows it.".to_owned(),
        priority: Priority::High.into(),
        timing: QuestionTiming::Scheduled.into(),
        schedule_time: far(),
        expire_time: far(),
        source_conversation_id: talk.id.clone(),
        ..Default::default()
    };
    let (created, existing) = tenant.create_question(request.clone()).await.expect("created");
    let expected = PendingQuestion {
        id: created.id.clone(),
        create_time: created.create_time,
        update_time: created.create_time,
        etag: created.etag.clone(),
        status: Status::Pending.into(),
        customer_id: request.customer_id,
        question: request.question,
        target_field: request.target_field,
        purpose: request.purpose,
        priority: request.priority,
        timing: request.timing,
        schedule_time: request.schedule_time,
        expire_time: request.expire_time,
        source_conversation_id: request.source_conversation_id,
        ..Default::default()
    };
    assert_eq!((created, existing), (expected.clone(), false));
    assert_eq!(tenant.read_question(&expected.id).await.expect("there"), expected);
    let plain = tenant.question(&talk.customer_id, "Why?").await;
    assert_eq!((plain.priority(), plain.timing()), (Priority::Normal, QuestionTiming::NextMessage));
    assert_eq!(plain.schedule_time, None);
    assert_eq!(
        (plain.last_asking, plain.answer, plain.verification, plain.last_skip),
        (None, None, None, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_wrong_is_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.customer("Zoe").await.id;
    let good = || question(&id, "Why?");
    let past = Some(Timestamp { seconds: 1_700_000_000, nanos: 0 });
    for (request, field) in [
        (question("", "Why?"), "customer_id"),
        (question("x", "Why?"), "customer_id"),
        (question(&id, ""), "question"),
        (question(&id, " \n\u{200b} "), "question"),
        (question(&id, &"x".repeat(2_049)), "question"),
        (question(&id, "a\0b"), "question"),
        (PendingQuestion { purpose: "x".repeat(2_049), ..good() }, "purpose"),
        (PendingQuestion { priority: 99, ..good() }, "priority"),
        (PendingQuestion { timing: 99, ..good() }, "timing"),
        (PendingQuestion { timing: QuestionTiming::Scheduled.into(), ..good() }, "schedule_time"),
        (PendingQuestion { expire_time: past, ..good() }, "expire_time"),
        (PendingQuestion { source_conversation_id: "x".to_owned(), ..good() }, "source_conversation_id"),
    ] {
        let error = tenant.create_question(request.clone()).await.expect_err(field);
        is_about(&error, &format!("pending_question.{field}"));
    }
    for path in
        ["nonsense", "id", "etag", "create_time", "business_context", "custom_attributes", "tags.0", "*"]
    {
        let error = tenant.create_question(about(&id, path)).await.expect_err(path);
        error.is_invalid(&["pending_question.target_field"]);
        assert!(error.message().contains(path.split('.').next().expect("a name")), "{error:?}");
    }
    let too_long = format!("custom_attributes.{}", "k".repeat(65));
    tenant
        .create_question(about(&id, &too_long))
        .await
        .expect_err("too long")
        .is_invalid(&["pending_question.target_field"]);
    assert_eq!(tenant.all_questions(Default::default()).await, [], "nothing had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_needs_its_customer_and_its_conversation() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (talk, second) = (tenant.conversation().await, tenant.conversation().await);
    let foreign = other.conversation().await;
    let gone = tenant.customer("Gone").await.id;
    tenant.question(&gone, "Why?").await;
    tenant.create_question(about(&gone, "email")).await.expect("created");
    tenant.delete(&gone).await.expect("deleted");
    let unknown = Uuid::now_v7().to_string();
    for customer_id in [&unknown, &gone, &foreign.customer_id] {
        for request in [question(customer_id, "Why?"), about(customer_id, "email")] {
            let in_talk = PendingQuestion { source_conversation_id: talk.id.clone(), ..request.clone() };
            for request in [request, in_talk] {
                let error = tenant.create_question(request).await.expect_err("no customer");
                error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
            }
        }
    }
    for conversation_id in [unknown, second.id, foreign.id] {
        let request = PendingQuestion {
            source_conversation_id: conversation_id,
            ..question(&talk.customer_id, "Why?")
        };
        let error = tenant.create_question(request).await.expect_err("no conversation");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_question_for_the_same_field_is_answered_instead_of_a_second_one() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let (ana, ben) = (tenant.customer("Ana").await.id, tenant.customer("Ben").await.id);
    let create =
        async |customer: &str| tenant.create_question(about(customer, "email")).await.expect("an answer");
    let (first, existing) = create(&ana).await;
    assert!(!existing);
    assert_eq!(create(&ana).await, (first.clone(), true));
    let other = PendingQuestion {
        purpose: "To write.".to_owned(),
        timing: QuestionTiming::Immediate.into(),
        ..about(&ana, "email")
    };
    let error = tenant.create_question(other).await.expect_err("other content");
    is_taken_by(&error, &first.id);
    assert!(error.message().contains("which has another purpose, timing;"), "{error:?}");
    let asked = tenant.ask(&first.id).await.expect("asked");
    assert_eq!(create(&ana).await, (asked, true), "also when it was asked");
    assert!(!create(&ben).await.1, "another customer's is another one");
    // An expired question makes room, and is stored as expired.
    lapse(&sql, &first.id).await;
    let (second, existing) = create(&ana).await;
    assert!(!existing && second.id != first.id);
    let stored = sql.texts(&format!("SELECT status FROM pending_questions WHERE id = '{}'", first.id)).await;
    assert_eq!(stored, ["EXPIRED"]);
    // So does a closed question.
    tenant.answer(&second.id, "zoe@cafe.example").await.expect("answered");
    let (third, existing) = create(&ana).await;
    assert!(!existing);
    tenant.skip(&third.id, false).await.expect("skipped");
    assert!(!create(&ana).await.1);
    // Without a field, questions are never the same.
    tenant.question(&ana, "Why?").await;
    tenant.question(&ana, "Why?").await;
    assert_eq!(tenant.all_questions(Default::default()).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_question_that_is_deleted_meanwhile_makes_way_too() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let (holder, observer) = (crm.sql().await, crm.sql().await);
    let customer = tenant.customer("Zoe").await.id;
    let lapsed = tenant.create_question(about(&customer, "email")).await.expect("created").0.id;
    lapse(&holder, &lapsed).await;
    // Deleted, but not committed yet.
    holder.run(&format!("BEGIN; DELETE FROM pending_questions WHERE id = '{lapsed}'")).await;
    let create = begin({
        let (tenant, request) = (tenant.clone(), about(&customer, "email"));
        async move { tenant.create_question(request).await }
    });
    eventually("it has found the lapsed one", async || waiting_statements(&observer).await == 1).await;
    holder.run("COMMIT").await;
    let (question, existing) = create.end().await.expect("no question is in its way");
    assert!(!existing && question.id != lapsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_creates_at_once_make_one_question() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    for round in 0..4 {
        let creates = (0..16).map(|number| {
            let tenant = if number % 2 == 0 { tenant.clone() } else { tenant.through(&replica) };
            let request = about(&customer, &format!("custom_attributes.{round}"));
            async move { tenant.create_question(request).await.expect("an answer") }
        });
        let answers = at_once(creates).await;
        assert_eq!(answers.iter().filter(|(_, existing)| !existing).count(), 1);
        assert!(answers.iter().all(|(question, _)| *question == answers[0].0));
    }
    assert_eq!(tenant.all_questions(Default::default()).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_past_its_time_reads_as_expired_everywhere() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let customer = tenant.customer("Zoe").await.id;
    let list = async |statuses: &[Status]| {
        let statuses = statuses.iter().map(|status| i32::from(*status)).collect();
        let request = ListPendingQuestionsRequest {
            statuses,
            order_by: "create_time".to_owned(),
            ..Default::default()
        };
        texts(&tenant.all_questions(request).await)
    };
    let mut ids = Vec::new();
    for text in ["p", "a", "s", "n", "d"] {
        ids.push(tenant.question(&customer, text).await.id);
    }
    tenant.ask(&ids[1]).await.expect("asked");
    tenant.skip(&ids[2], false).await.expect("skipped");
    tenant.answer(&ids[3], "yes").await.expect("answered");
    tenant.skip(&ids[4], true).await.expect("declined");
    assert_eq!(list(&[Status::Expired]).await, "");
    assert_eq!(list(&[Status::Pending, Status::Asked, Status::Declined]).await, "pad");
    for id in &ids {
        lapse(&sql, id).await;
    }
    let expected = [Status::Expired, Status::Expired, Status::Expired, Status::Answered, Status::Declined];
    for (id, status) in ids.iter().zip(expected) {
        assert_eq!(tenant.read_question(id).await.expect("there").status(), status);
    }
    for (statuses, found) in [
        (vec![], "pasnd"),
        (vec![Status::Expired], "pas"),
        (vec![Status::Pending], ""),
        (vec![Status::Skipped], ""),
        (vec![Status::Pending, Status::Asked, Status::Skipped], ""),
        (vec![Status::Answered], "n"),
        (vec![Status::Pending, Status::Answered, Status::Declined], "nd"),
        (vec![Status::Expired, Status::Answered], "pasn"),
        (vec![Status::Expired, Status::Pending, Status::Declined, Status::Verified], "pasd"),
    ] {
        assert_eq!(list(&statuses).await, found, "{statuses:?}");
    }
    for error in [
        tenant.ask(&ids[0]).await.expect_err("expired"),
        tenant.skip(&ids[1], false).await.expect_err("expired"),
        tenant
            .revise_question(
                PendingQuestion { id: ids[0].clone(), purpose: "x".to_owned(), ..Default::default() },
                &[],
            )
            .await
            .expect_err("expired"),
    ] {
        error.is(Code::FailedPrecondition, "PENDING_QUESTION_STEP_NOT_ALLOWED");
        assert!(error.message().contains("EXPIRED; allowed from there: answer"), "{error:?}");
    }
    assert_eq!(tenant.answer(&ids[0], "late").await.expect("taken").status(), Status::Answered);
    let next = tenant.next(&customer).await;
    assert_eq!(next.questions, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_question_once_and_all_filters_must_hold_together() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (ana, ben) = (tenant.customer("Ana").await.id, tenant.customer("Ben").await.id);
    let make = async |customer: &str, text: &str, priority: Priority, timing: QuestionTiming, field: &str| {
        let request = PendingQuestion {
            question: text.to_owned(),
            priority: priority.into(),
            timing: timing.into(),
            ..about(customer, field)
        };
        tenant.create_question(request).await.expect("created").0
    };
    make(&ana, "a", Priority::Low, QuestionTiming::Immediate, "email").await;
    let b = make(&ana, "b", Priority::Urgent, QuestionTiming::NextMessage, "phone").await;
    let c = make(&ben, "c", Priority::Urgent, QuestionTiming::Immediate, "email").await;
    make(&ben, "d", Priority::Normal, QuestionTiming::WhenRelevant, "").await;
    tenant.ask(&c.id).await.expect("asked");
    let all = || ListPendingQuestionsRequest { order_by: "create_time".to_owned(), ..Default::default() };
    let (urgent, immediate) = (Priority::Urgent.into(), QuestionTiming::Immediate.into());
    let low = Priority::Low.into();
    let relevant = QuestionTiming::WhenRelevant.into();
    let email = || "email".to_owned();
    for (request, expected) in [
        (all(), "abcd"),
        (ListPendingQuestionsRequest { customer_id: ana.clone(), ..all() }, "ab"),
        (ListPendingQuestionsRequest { statuses: vec![Status::Asked.into()], ..all() }, "c"),
        (ListPendingQuestionsRequest { priorities: vec![urgent], ..all() }, "bc"),
        (ListPendingQuestionsRequest { priorities: vec![urgent, low], ..all() }, "abc"),
        (ListPendingQuestionsRequest { timings: vec![immediate], ..all() }, "ac"),
        (ListPendingQuestionsRequest { timings: vec![immediate, relevant], ..all() }, "acd"),
        (ListPendingQuestionsRequest { target_field: email(), ..all() }, "ac"),
        (ListPendingQuestionsRequest { target_field: "nonsense".to_owned(), ..all() }, ""),
        (ListPendingQuestionsRequest { target_field: email(), customer_id: ben.clone(), ..all() }, "c"),
        (ListPendingQuestionsRequest { create_time_from: b.create_time, ..all() }, "bcd"),
        (ListPendingQuestionsRequest { create_time_until: b.create_time, ..all() }, "a"),
        (ListPendingQuestionsRequest { timings: vec![immediate], priorities: vec![urgent], ..all() }, "c"),
    ] {
        for page_size in [1, 2, 3, 50] {
            let request = ListPendingQuestionsRequest { page_size, ..request.clone() };
            assert_eq!(texts(&tenant.all_questions(request.clone()).await), expected, "{request:?}");
            let reversed: String = expected.chars().rev().collect();
            for order_by in ["", "create_time desc"] {
                let request =
                    ListPendingQuestionsRequest { order_by: order_by.to_owned(), ..request.clone() };
                assert_eq!(texts(&tenant.all_questions(request).await), reversed);
            }
        }
        assert_eq!(other.all_questions(request).await, []);
    }
    let first = ListPendingQuestionsRequest { page_size: 1, ..all() };
    let page_token = tenant.question_page(first.clone()).await.expect("a page").next_page_token;
    for (tenant, request) in [
        (&other, ListPendingQuestionsRequest { page_token: page_token.clone(), ..first.clone() }),
        (&tenant, ListPendingQuestionsRequest { page_token, customer_id: ana, ..first.clone() }),
        (&tenant, ListPendingQuestionsRequest { page_token: "x".to_owned(), ..first }),
    ] {
        let error = tenant.question_page(request).await.expect_err("another list");
        error.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    }
    for (request, field) in [
        (ListPendingQuestionsRequest { page_size: -1, ..all() }, "page_size"),
        (ListPendingQuestionsRequest { order_by: "priority".to_owned(), ..all() }, "order_by"),
        (ListPendingQuestionsRequest { customer_id: "x".to_owned(), ..all() }, "customer_id"),
        (ListPendingQuestionsRequest { statuses: vec![0], ..all() }, "statuses[0]"),
        (ListPendingQuestionsRequest { priorities: vec![1, 99], ..all() }, "priorities[1]"),
        (ListPendingQuestionsRequest { timings: vec![0], ..all() }, "timings[0]"),
        (ListPendingQuestionsRequest { target_field: "x".repeat(129), ..all() }, "target_field"),
    ] {
        tenant.question_page(request).await.expect_err(field).is_invalid(&[field]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_question_can_be_changed() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let first = tenant.create_question(about(&customer, "email")).await.expect("created").0;
    let wanted = PendingQuestion {
        purpose: "To write.".to_owned(),
        target_field: "phone".to_owned(),
        ..first.clone()
    };
    let after = tenant.revise_question(wanted.clone(), &["purpose", "target_field"]).await.expect("changed");
    let expected =
        PendingQuestion { etag: after.etag.clone(), update_time: after.update_time, ..wanted.clone() };
    assert_eq!(after, expected);
    tenant
        .revise_question(wanted.clone(), &["purpose"])
        .await
        .expect_err("stale")
        .is(Code::Aborted, "ETAG_STALE");
    let same = PendingQuestion { etag: after.etag.clone(), ..wanted };
    assert_eq!(tenant.revise_question(same, &["purpose"]).await.expect("no change"), after);
    let bad =
        |change: PendingQuestion| PendingQuestion { id: first.id.clone(), etag: String::new(), ..change };
    for (change, path) in [
        (PendingQuestion { target_field: "nonsense".to_owned(), ..Default::default() }, "target_field"),
        (PendingQuestion { question: String::new(), ..Default::default() }, "question"),
        (PendingQuestion { timing: QuestionTiming::Scheduled.into(), ..Default::default() }, "timing"),
        (PendingQuestion { timing: 99, ..Default::default() }, "timing"),
        (
            PendingQuestion { expire_time: Some(Timestamp { seconds: 1, nanos: 0 }), ..Default::default() },
            "expire_time",
        ),
    ] {
        let error = tenant.revise_question(bad(change.clone()), &[path]).await.expect_err(path);
        let wrong = if change.timing() == QuestionTiming::Scheduled { "schedule_time" } else { path };
        is_about(&error, &format!("pending_question.{wrong}"));
    }
    for etag in ["x", "1"] {
        let change = PendingQuestion { etag: etag.to_owned(), ..bad(PendingQuestion::default()) };
        let error = tenant.revise_question(change, &[]).await.expect_err(etag);
        error.is(Code::InvalidArgument, "ETAG_INVALID");
    }
    let unknown = PendingQuestion { id: Uuid::now_v7().to_string(), ..Default::default() };
    let error = tenant.revise_question(unknown, &[]).await.expect_err("unknown");
    error.is(Code::NotFound, "PENDING_QUESTION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_does_not_make_two_open_questions_for_one_field() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let customer = tenant.customer("Zoe").await.id;
    let first = tenant.create_question(about(&customer, "email")).await.expect("created").0;
    let second = tenant.create_question(about(&customer, "phone")).await.expect("created").0;
    let change = || PendingQuestion { target_field: "email".to_owned(), ..second.clone() };
    let error = tenant.revise_question(change(), &["target_field"]).await.expect_err("taken");
    is_taken_by(&error, &first.id);
    // An expired question makes room.
    lapse(&sql, &first.id).await;
    assert_eq!(
        tenant.revise_question(change(), &["target_field"]).await.expect("free").target_field,
        "email"
    );
    // A skipped question cannot return beside another one.
    let third = tenant.create_question(about(&customer, "phone")).await.expect("created").0;
    tenant.skip(&third.id, false).await.expect("skipped");
    let fourth = tenant.create_question(about(&customer, "phone")).await.expect("created").0;
    let error = tenant.ask(&third.id).await.expect_err("taken");
    is_taken_by(&error, &fourth.id);
    tenant.delete_question(&fourth.id, "").await.expect("deleted");
    assert_eq!(tenant.ask(&third.id).await.expect("asked").status(), Status::Asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_question_is_gone() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let first = tenant.question(&customer, "Why?").await;
    tenant.delete_question(&first.id, STALE_ETAG).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
    tenant
        .delete_question(&first.id, "x")
        .await
        .expect_err("no etag")
        .is(Code::InvalidArgument, "ETAG_INVALID");
    assert_eq!(tenant.delete_question(&first.id, &first.etag).await.expect("deleted"), first);
    for error in [
        tenant.delete_question(&first.id, "").await.expect_err("gone"),
        tenant.read_question(&first.id).await.expect_err("gone"),
        tenant.ask(&first.id).await.expect_err("gone"),
    ] {
        error.is(Code::NotFound, "PENDING_QUESTION_NOT_FOUND");
    }
    assert_eq!(tenant.all_questions(Default::default()).await, []);
    // The questions of a deleted customer stay, as its conversations do.
    let second = tenant.question(&customer, "Why?").await;
    tenant.delete(&customer).await.expect("deleted");
    assert_eq!(tenant.read_question(&second.id).await.expect("there"), second);
}
