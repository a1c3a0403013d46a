//! NextPendingQuestions: which questions to ask, which not, and why.

use crm_backend::pb::{
    Customer, CustomerStatus, MarkPendingQuestionAskedRequest, Message, MessageRole,
    NextPendingQuestionsRequest, NextPendingQuestionsResponse, PendingQuestion, Priority,
    QuestionLeftOutReason as Reason, QuestionTiming,
};
use prost_types::{Duration, Timestamp};
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::questions::{about, lapse, question};
use crate::support::{Crm, Refusal, Tenant};

fn to_ask(next: &NextPendingQuestionsResponse) -> Vec<&str> {
    next.questions.iter().map(|next| next.pending_question.as_ref().expect("it").question.as_str()).collect()
}

fn not_to_ask(next: &NextPendingQuestionsResponse) -> Vec<(&str, Reason)> {
    next.left_out.iter().map(|left_out| (left_out.question.as_str(), left_out.reason())).collect()
}

async fn make(
    tenant: &Tenant,
    customer: &str,
    text: &str,
    priority: Priority,
    timing: QuestionTiming,
) -> String {
    let request =
        PendingQuestion { priority: priority.into(), timing: timing.into(), ..question(customer, text) };
    tenant.create_question(request).await.expect("created").0.id
}

async fn timed(tenant: &Tenant, customer: &str, text: &str, timing: QuestionTiming) -> String {
    make(tenant, customer, text, Priority::Normal, timing).await
}

/// Marks a question as asked, without a cooldown.
async fn ask(tenant: &Tenant, id: &str, conversation_id: &str) {
    let request = MarkPendingQuestionAskedRequest {
        id: id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        cooldown: Some(Duration::default()),
        ..Default::default()
    };
    tenant.mark_asked(request).await.expect("asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_question_comes_first_with_its_score_and_its_reason() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    make(&tenant, &customer, "low", Priority::Low, QuestionTiming::Immediate).await;
    let asked = timed(&tenant, &customer, "asked", QuestionTiming::NextMessage).await;
    timed(&tenant, &customer, "first", QuestionTiming::NextMessage).await;
    timed(&tenant, &customer, "second", QuestionTiming::NextMessage).await;
    timed(&tenant, &customer, "now", QuestionTiming::Immediate).await;
    make(&tenant, &customer, "urgent", Priority::Urgent, QuestionTiming::NextConversation).await;
    ask(&tenant, &asked, "").await;
    let limit =
        |limit| NextPendingQuestionsRequest { customer_id: customer.clone(), limit, ..Default::default() };
    let all = tenant.next_of(limit(50)).await.expect("an answer");
    assert_eq!(to_ask(&all), ["urgent", "now", "first", "second", "asked", "low"]);
    let scores: Vec<_> = all.questions.iter().map(|next| next.score).collect();
    assert_eq!(scores, [4_020, 2_100, 2_080, 2_080, 2_050, 1_100]);
    let reason = "of normal priority; to be asked with the next message; asked once";
    assert_eq!(all.questions[4].reason, reason);
    assert_eq!(all.left_out, []);
    assert_eq!(tenant.next_of(limit(50)).await.expect("an answer"), all, "the same again");
    for (wanted, found) in [(0, 5), (1, 1), (4, 4), (1_000, 6)] {
        let next = tenant.next_of(limit(wanted)).await.expect("an answer");
        assert_eq!(next.questions, all.questions[..found]);
    }
    tenant.next_of(limit(-1)).await.expect_err("negative").is_invalid(&["limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_questions_are_the_most_and_a_hundred_are_looked_at() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let customer = tenant.customer("Zoe").await.id;
    for number in 0..120 {
        tenant.question(&customer, &format!("Question {number}")).await;
    }
    let urgent = make(&tenant, &customer, "urgent", Priority::Urgent, QuestionTiming::NextMessage).await;
    let request =
        NextPendingQuestionsRequest { customer_id: customer.clone(), limit: 1_000, ..Default::default() };
    let next = tenant.next_of(request.clone()).await.expect("an answer");
    assert_eq!(next.questions.len(), 50);
    assert_eq!(to_ask(&next)[..3], ["urgent", "Question 0", "Question 1"]);
    // Questions of higher priority are considered, however many others exist; expired ones are not.
    sql.run(&format!(
        "UPDATE pending_questions SET attempt_count = 5, asked_at = now() WHERE id <> '{urgent}'"
    ))
    .await;
    let next = tenant.next_of(request.clone()).await.expect("an answer");
    assert_eq!((next.questions.len(), next.left_out.len()), (1, 99));
    assert!(next.left_out.iter().all(|left_out| left_out.reason() == Reason::Exhausted));
    lapse(&sql, &urgent).await;
    let next = tenant.next_of(request).await.expect("an answer");
    assert_eq!((next.questions.len(), next.left_out.len()), (0, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_declined_answered_or_put_aside_is_not_asked() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = Customer { email: "zoe@cafe.example".to_owned(), ..named("Zoe") };
    let customer = tenant.create(request).await.expect("created").id;
    let field =
        |field: &str, text: &str| PendingQuestion { question: text.to_owned(), ..about(&customer, field) };
    let create = async |request| tenant.create_question(request).await.expect("created").0.id;
    create(field("email", "Your address?")).await;
    create(field("status", "Are you one of us?")).await;
    let phone = create(field("phone", "Your number?")).await;
    tenant.skip(&phone, true).await.expect("declined");
    create(field("phone", "May I call you?")).await;
    create(question(&customer, "your NUMBER")).await;
    let city = create(field("city", "Where are you?")).await;
    tenant.answer(&city, "Bonn").await.expect("answered");
    create(question(&customer, "Where are you")).await;
    let aside = create(question(&customer, "Later?")).await;
    tenant.skip(&aside, false).await.expect("skipped");
    let next = tenant.next(&customer).await;
    assert_eq!(to_ask(&next), ["Are you one of us?"], "LEAD is what every customer begins with");
    let expected = [
        ("Your address?", Reason::Known),
        ("May I call you?", Reason::Declined),
        ("your NUMBER", Reason::Declined),
        ("Where are you", Reason::Answered),
        ("Your number?", Reason::Declined),
        ("Where are you?", Reason::Answered),
    ];
    assert_eq!(not_to_ask(&next), expected);
    assert_eq!(next.left_out[0].explanation, "the customer's email is filled");
    let plain = NextPendingQuestionsRequest { customer_id: customer.clone(), ..Default::default() };
    let plain = tenant.questions().next_pending_questions(plain).await.expect("an answer").into_inner();
    assert_eq!(
        (plain.questions, plain.left_out),
        (next.questions.clone(), Vec::new()),
        "unless it is asked for"
    );
    assert!(next.left_out.iter().all(|left_out| !left_out.explanation.is_empty()));
    let emptied = Customer { id: customer.clone(), ..Default::default() };
    tenant.update(emptied, &["email"]).await.expect("emptied");
    assert!(to_ask(&tenant.next(&customer).await).contains(&"Your address?"));
    let blocked =
        Customer { id: customer.clone(), status: CustomerStatus::Blocked.into(), ..Default::default() };
    tenant.update(blocked, &[]).await.expect("blocked");
    let next = tenant.next(&customer).await;
    assert_eq!(to_ask(&next), [""; 0]);
    let blocked = next.left_out.iter().filter(|left_out| left_out.reason() == Reason::CustomerBlocked);
    assert_eq!(blocked.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_again_too_soon_or_too_often() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await;
    let here = NextPendingQuestionsRequest {
        customer_id: talk.customer_id.clone(),
        conversation_id: talk.id.clone(),
        ..Default::default()
    };
    let there = NextPendingQuestionsRequest {
        conversation_id: tenant.talk_of(&talk.customer_id).await,
        ..here.clone()
    };
    let id = tenant.question(&talk.customer_id, "Why?").await.id;
    tenant.ask(&id).await.expect("asked");
    let next = tenant.next(&talk.customer_id).await;
    assert_eq!(not_to_ask(&next), [("Why?", Reason::CoolingDown)]);
    sql.run("UPDATE pending_questions SET cooldown_until = now()").await;
    assert_eq!(to_ask(&tenant.next(&talk.customer_id).await), ["Why?"]);
    ask(&tenant, &id, &talk.id).await;
    let next = tenant.next_of(here).await.expect("an answer");
    assert_eq!(not_to_ask(&next), [("Why?", Reason::AskedHere)]);
    assert_eq!(to_ask(&tenant.next_of(there.clone()).await.expect("an answer")), ["Why?"]);
    for _ in 0..3 {
        ask(&tenant, &id, "").await;
    }
    let next = tenant.next_of(there).await.expect("an answer");
    assert_eq!(not_to_ask(&next), [("Why?", Reason::Exhausted)]);
    assert_eq!(next.left_out[0].explanation, "asked 5 times without an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_its_time() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let talk = tenant.conversation().await;
    let customer = &talk.customer_id;
    let scheduled = PendingQuestion {
        timing: QuestionTiming::Scheduled.into(),
        schedule_time: Some(Timestamp { seconds: 4_100_000_000, nanos: 0 }),
        ..question(customer, "scheduled")
    };
    tenant.create_question(scheduled).await.expect("created");
    timed(&tenant, customer, "before", QuestionTiming::BeforePurchase).await;
    timed(&tenant, customer, "after", QuestionTiming::AfterPurchase).await;
    let another = PendingQuestion {
        timing: QuestionTiming::NextConversation.into(),
        source_conversation_id: talk.id.clone(),
        ..question(customer, "another talk")
    };
    tenant.create_question(another).await.expect("created");
    let at = async |conversation_id: &str| {
        let request = NextPendingQuestionsRequest {
            customer_id: customer.clone(),
            conversation_id: conversation_id.to_owned(),
            ..Default::default()
        };
        tenant.next_of(request).await.expect("an answer")
    };
    let here = at(&talk.id).await;
    assert_eq!(to_ask(&here), ["before"]);
    let expected =
        [("scheduled", Reason::NotDue), ("after", Reason::NotDue), ("another talk", Reason::NotDue)];
    assert_eq!(not_to_ask(&here), expected);
    assert_eq!(here.left_out[0].explanation, "not to be asked before 2099-12-03T16:53:20Z");
    for conversation in [tenant.talk_of(customer).await, String::new()] {
        assert_eq!(to_ask(&at(&conversation).await), ["before", "another talk"]);
    }
    let active =
        Customer { id: customer.clone(), status: CustomerStatus::Active.into(), ..Default::default() };
    tenant.update(active, &[]).await.expect("updated");
    sql.run("UPDATE pending_questions SET scheduled_at = now() WHERE scheduled_at IS NOT NULL").await;
    assert_eq!(to_ask(&at("").await), ["scheduled", "after", "another talk"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_relevant_when_the_customer_speaks_of_it() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    timed(&tenant, &talk.customer_id, "Which opening hours do you have?", QuestionTiming::WhenRelevant).await;
    let ask = async |conversation_id: &str, query: &str| {
        let request = NextPendingQuestionsRequest {
            customer_id: talk.customer_id.clone(),
            conversation_id: conversation_id.to_owned(),
            query: query.to_owned(),
            ..Default::default()
        };
        tenant.next_of(request).await.expect("an answer")
    };
    for query in ["", "Do you have it? Which?", "hour"] {
        assert_eq!(not_to_ask(&ask("", query).await)[0].1, Reason::NotRelevant, "{query}");
    }
    let next = ask("", "Our HOURS are on the door").await;
    assert_eq!(next.questions[0].score, 2_060);
    assert!(next.questions[0].reason.ends_with("in common with the talk: hours"));
    // Words of other speakers do not count as the customer's topics.
    let say = async |role: MessageRole, key: &str, text: &str| {
        let said = Message { role: role.into(), ..message(key, text) };
        tenant.add(&talk.id, said).await.expect("added");
    };
    say(MessageRole::Assistant, "a", "We could talk about opening hours.").await;
    assert_eq!(to_ask(&ask(&talk.id, "").await), [""; 0]);
    say(MessageRole::User, "b", "Opening hours? From nine.").await;
    assert_eq!(ask(&talk.id, "").await.questions[0].score, 2_080);
    for number in 0..19 {
        say(MessageRole::User, &number.to_string(), "Something else.").await;
    }
    assert_eq!(ask(&talk.id, "").await.questions.len(), 1);
    say(MessageRole::User, "c", "Something else.").await;
    assert_eq!(to_ask(&ask(&talk.id, "").await), [""; 0], "20 messages later nobody speaks of it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_and_the_conversation_must_be_there() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let talk = tenant.conversation().await;
    let (elsewhere, foreign) = (tenant.conversation().await, other.conversation().await);
    let unknown = Uuid::now_v7().to_string();
    let gone = tenant.customer("Gone").await.id;
    tenant.delete(&gone).await.expect("deleted");
    let of = |customer_id: &str, conversation_id: &str| NextPendingQuestionsRequest {
        customer_id: customer_id.to_owned(),
        conversation_id: conversation_id.to_owned(),
        ..Default::default()
    };
    for customer_id in [&unknown, &gone, &foreign.customer_id] {
        for conversation_id in ["", talk.id.as_str(), unknown.as_str()] {
            let error = tenant.next_of(of(customer_id, conversation_id)).await.expect_err("no customer");
            error.is(Code::NotFound, "CUSTOMER_NOT_FOUND");
        }
    }
    for conversation_id in [&unknown, &elsewhere.id, &foreign.id] {
        let error = tenant.next_of(of(&talk.customer_id, conversation_id)).await.expect_err("not theirs");
        error.is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    tenant.next_of(of("x", "")).await.expect_err("no id").is_invalid(&["customer_id"]);
    tenant.next_of(of(&unknown, "x")).await.expect_err("no id").is_invalid(&["conversation_id"]);
    let long = NextPendingQuestionsRequest { query: "x".repeat(2_049), ..of(&unknown, "") };
    tenant.next_of(long).await.expect_err("long").is_invalid(&["query"]);
    assert_eq!(tenant.next(&talk.customer_id).await, NextPendingQuestionsResponse::default());
}
