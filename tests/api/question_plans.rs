//! The reads of pending questions: by index, and without reading more than needed.

use crm_backend::pb::{
    ListPendingQuestionsRequest, NextPendingQuestionsRequest, PendingQuestion,
    PendingQuestionStatus as Status, Priority, QuestionTiming,
};
use crm_testkit::Sql;

use crate::plans::hold;
use crate::support::questions::{about, lapse, question};
use crate::support::sql::{multiply_conversations, settle};
use crate::support::{Crm, Tenant};

/// Adds `copies` of every question of a customer, each a millisecond younger.
async fn multiply(sql: &Sql, customer_id: &str, copies: u32) {
    sql.run(&format!(
        "INSERT INTO pending_questions SELECT copy.* FROM pending_questions q, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(q, jsonb_build_object(
             'id', gen_random_uuid(), 'question', q.question || ' ' || n,
             'created_at', q.created_at + n * interval '1 ms')) copy
         WHERE q.customer_id = '{customer_id}'"
    ))
    .await;
}

/// Creates a customer with 2,000 questions of every state among 10,000 with one each, and a
/// conversation.
async fn large() -> (Crm, Tenant, Sql, crm_backend::pb::Conversation) {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let id = &talk.customer_id;
    for (text, status) in [
        ("pending", Status::Pending),
        ("declined", Status::Declined),
        ("answered", Status::Answered),
        ("skipped", Status::Skipped),
    ] {
        let made = tenant.question(id, text).await.id;
        match status {
            Status::Declined => drop(tenant.skip(&made, true).await.expect("declined")),
            Status::Answered => drop(tenant.answer(&made, "yes").await.expect("answered")),
            Status::Skipped => drop(tenant.skip(&made, false).await.expect("skipped")),
            _ => {}
        }
    }
    multiply(&sql, id, 1_999).await;
    let few = tenant.customer("Few").await.id;
    tenant.question(&few, "few").await;
    let tenant_id = tenant.id;
    sql.run(&format!(
        "INSERT INTO customers SELECT copy.* FROM customers c, generate_series(1, 10000) n,
         LATERAL jsonb_populate_record(c, jsonb_build_object('id', md5(n::text)::uuid, 'slug', 'few-' || n)) copy
         WHERE c.id = '{few}' AND c.tenant_id = '{tenant_id}';
         INSERT INTO pending_questions SELECT copy.* FROM pending_questions q, generate_series(1, 10000) n,
         LATERAL jsonb_populate_record(q, jsonb_build_object(
             'id', gen_random_uuid(), 'customer_id', md5(n::text)::uuid)) copy
         WHERE q.customer_id = '{few}'"
    ))
    .await;
    settle(&sql, &["pending_questions", "customers"]).await;
    multiply_conversations(&sql, &tenant, 2_000).await;
    settle(&sql, &["conversations"]).await;
    (crm, tenant, sql, talk)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_to_ask_next_reads_its_windows_and_no_more() {
    let (crm, tenant, _, talk) = large().await;
    for conversation_id in ["", talk.id.as_str()] {
        let request = NextPendingQuestionsRequest {
            customer_id: talk.customer_id.clone(),
            conversation_id: conversation_id.to_owned(),
            ..Default::default()
        };
        let next = async |tenant: &Tenant| {
            let next = tenant.next_of(request.clone()).await.expect("an answer");
            assert_eq!((next.questions.len(), next.left_out.len()), (5, 100));
        };
        let indexes = [
            "pending_questions_next_idx",
            "pending_questions_declined_idx",
            "pending_questions_answered_idx",
            "customers_pkey",
            "conversations_pkey",
            "conversation_messages_sequence_key",
        ];
        hold(&crm, &tenant, "NextPendingQuestions", next, &indexes, 110).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_questions_reads_a_page_of_an_index() {
    let (crm, tenant, sql, talk) = large().await;
    let customer_id = || talk.customer_id.clone();
    let rare = PendingQuestion {
        priority: Priority::Urgent.into(),
        timing: QuestionTiming::AfterPurchase.into(),
        ..about(&customer_id(), "email")
    };
    let id = tenant.create_question(rare).await.expect("created").0.id;
    tenant.ask(&id).await.expect("asked");
    let lapsed = tenant.question(&customer_id(), "lapsed").await.id;
    lapse(&sql, &lapsed).await;
    settle(&sql, &["pending_questions"]).await;
    let all = ListPendingQuestionsRequest::default;
    let status = |status: Status| ListPendingQuestionsRequest { statuses: vec![status.into()], ..all() };
    for (request, count, index) in [
        (all(), 50, "pending_questions_tenant_id_created_at_idx"),
        (
            ListPendingQuestionsRequest { order_by: "create_time".to_owned(), ..all() },
            50,
            "pending_questions_tenant_id_created_at_idx",
        ),
        (
            ListPendingQuestionsRequest { customer_id: customer_id(), ..all() },
            50,
            "pending_questions_tenant_id_customer_id_idx",
        ),
        (status(Status::Asked), 1, "pending_questions_tenant_id_status_idx"),
        (status(Status::Declined), 50, "pending_questions_tenant_id_status_idx"),
        (status(Status::Expired), 1, "pending_questions_expiring_idx"),
        (
            ListPendingQuestionsRequest { priorities: vec![Priority::Urgent.into()], ..all() },
            1,
            "pending_questions_tenant_id_priority_idx",
        ),
        (
            ListPendingQuestionsRequest { timings: vec![QuestionTiming::AfterPurchase.into()], ..all() },
            1,
            "pending_questions_tenant_id_timing_idx",
        ),
        (
            ListPendingQuestionsRequest { target_field: "email".to_owned(), ..all() },
            1,
            "pending_questions_tenant_id_target_field_idx",
        ),
    ] {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.question_page(request.clone()).await.expect("a page");
            assert_eq!(page.pending_questions.len(), count, "{what}");
        };
        hold(&crm, &tenant, &what, list, &[index], 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_a_field_is_found_among_many_of_its_customer() {
    let (crm, tenant, _, talk) = large().await;
    tenant.create_question(about(&talk.customer_id, "email")).await.expect("created");
    let create = async |tenant: &Tenant| {
        let (_, existing) = tenant.create_question(about(&talk.customer_id, "email")).await.expect("there");
        assert!(existing);
        tenant.create_question(question(&talk.customer_id, "Why?")).await.expect("created");
    };
    let indexes = ["pending_questions_open_target_field_key", "pending_questions_pkey", "customers_pkey"];
    hold(&crm, &tenant, "CreatePendingQuestion", create, &indexes, 8).await;
}
