//! The status changes of pending questions: asked, answered, verified, skipped.

use crm_backend::pb::{
    MarkPendingQuestionAnsweredRequest, MarkPendingQuestionAskedRequest, MarkPendingQuestionVerifiedRequest,
    PendingQuestion, PendingQuestionStatus as Status, QuestionAnswer, QuestionAsking,
    SkipPendingQuestionRequest, Verification,
};
use prost_types::Duration;
use tonic::Code;
use uuid::Uuid;

use crate::support::conversations::message;
use crate::support::questions::{answer, is_about, lapse};
use crate::support::{Crm, Refusal, STALE_ETAG, Tenant, at_once, micros};

fn asked(id: &str) -> MarkPendingQuestionAskedRequest {
    MarkPendingQuestionAskedRequest { id: id.to_owned(), ..Default::default() }
}

fn asking(question: &PendingQuestion) -> &QuestionAsking {
    question.last_asking.as_ref().expect("it was asked")
}

/// Returns how long a question must not be asked, in microseconds.
fn cooldown_of(question: &PendingQuestion) -> i64 {
    micros(asking(question).cooldown_end_time) - micros(asking(question).ask_time)
}

/// Returns whether the question was declined, and why it was skipped or declined.
fn why(question: &PendingQuestion) -> (bool, &str) {
    let skip = question.last_skip.as_ref().expect("a skip");
    (skip.declined, &skip.reason)
}

/// Returns a question with this status.
async fn that_is(crm: &Crm, tenant: &Tenant, status: Status) -> PendingQuestion {
    let customer = tenant.customer("Zoe").await.id;
    let id = tenant.question(&customer, "Why?").await.id;
    match status {
        Status::Asked => drop(tenant.ask(&id).await.expect("asked")),
        Status::Answered => drop(tenant.answer(&id, "Because").await.expect("answered")),
        Status::Verified => {
            tenant.answer(&id, "Because").await.expect("answered");
            tenant.verify(&id, "ana").await.expect("verified");
        }
        Status::Declined => drop(tenant.skip(&id, true).await.expect("declined")),
        Status::Skipped => drop(tenant.skip(&id, false).await.expect("skipped")),
        Status::Expired => lapse(&crm.sql().await, &id).await,
        Status::Pending | Status::Unspecified => {}
    }
    let question = tenant.read_question(&id).await.expect("there");
    assert_eq!(question.status(), status);
    question
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_is_allowed_where_the_contract_says_so() {
    use Status::{Answered, Asked, Declined, Expired, Pending, Skipped, Verified};
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    // ask, answer, verify, skip, decline; a repeated step changes nothing.
    let table = [
        (Pending, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Asked, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Answered, [None, Some(Answered), Some(Verified), None, None]),
        (Verified, [None, None, None, None, None]),
        (Declined, [None, None, None, None, None]),
        (Skipped, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Expired, [None, Some(Answered), None, None, None]),
    ];
    for (from, leads_to) in table {
        for (step, to) in leads_to.into_iter().enumerate() {
            let before = that_is(&crm, &tenant, from).await;
            let id = before.id.as_str();
            let after = match step {
                0 => tenant.ask(id).await,
                1 => tenant.answer(id, "Otherwise").await,
                2 => tenant.verify(id, "ben").await,
                3 => tenant.skip_because(id, false, "later").await,
                _ => tenant.skip_because(id, true, "private").await,
            };
            match to {
                Some(to) => assert_eq!(after.expect("allowed").status(), to, "{from:?} {step}"),
                None => {
                    let error = after.expect_err("not allowed");
                    error.is(Code::FailedPrecondition, "PENDING_QUESTION_STEP_NOT_ALLOWED");
                    let name = from.as_str_name().rsplit('_').next().expect("a word");
                    assert!(error.message().contains(&format!("is {name}")), "{error:?}");
                    let details = tonic_types::StatusExt::get_error_details(&error);
                    let failure = details.precondition_failure().expect("what is in the way");
                    assert_eq!(failure.violations[0].subject, format!("pending_question/{id}"));
                    assert_eq!(tenant.read_question(id).await.expect("there"), before, "nothing happened");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_takes_down_where_and_starts_the_cooldown() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Why?")).await.expect("added");
    let first = tenant.question(&talk.customer_id, "Why?").await;
    let request = MarkPendingQuestionAskedRequest {
        conversation_id: talk.id.clone(),
        message_id: said.id.clone(),
        ..asked(&first.id)
    };
    let once = tenant.mark_asked(request.clone()).await.expect("asked");
    let expected = PendingQuestion {
        status: Status::Asked.into(),
        last_asking: Some(QuestionAsking {
            attempt_count: 1,
            ask_time: asking(&once).ask_time,
            conversation_id: talk.id.clone(),
            message_id: said.id.clone(),
            cooldown_end_time: asking(&once).cooldown_end_time,
        }),
        update_time: once.update_time,
        etag: once.etag.clone(),
        ..first.clone()
    };
    assert_eq!(once, expected);
    let day = 24 * 3_600 * 1_000_000;
    assert_eq!(cooldown_of(&once), day, "24 hours by default");
    // The same message again counts as the same time, regardless of the etag.
    let again = MarkPendingQuestionAskedRequest { etag: first.etag.clone(), ..request.clone() };
    assert_eq!(tenant.mark_asked(again.clone()).await.expect("no step"), once);
    let again =
        MarkPendingQuestionAskedRequest { cooldown: Some(Duration { seconds: 1, nanos: 0 }), ..again };
    let error = tenant.mark_asked(again.clone()).await.expect_err("another cooldown");
    error.is(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert!(error.message().contains("another cooldown;"), "{error:?}");
    let (second, _) = tenant.add(&talk.id, message("b", "Why??")).await.expect("added");
    let other = MarkPendingQuestionAskedRequest { message_id: second.id, ..again };
    tenant.mark_asked(other.clone()).await.expect_err("stale").is(Code::Aborted, "ETAG_STALE");
    let other = MarkPendingQuestionAskedRequest { etag: once.etag.clone(), ..other };
    let twice = tenant.mark_asked(other).await.expect("asked");
    assert_eq!(asking(&twice).attempt_count, 2);
    assert!(twice.etag != once.etag && once.etag != first.etag);
    assert_eq!(cooldown_of(&twice), 1_000_000);
    // Without a message every call counts.
    for count in [3, 4] {
        assert_eq!(asking(&tenant.ask(&first.id).await.expect("asked")).attempt_count, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_reports_of_one_message_count_once_and_of_none_sixteen_times() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Why?")).await.expect("added");
    for (message_id, count) in [(said.id, 1), (String::new(), 16)] {
        let id = tenant.question(&talk.customer_id, "Why?").await.id;
        let reports = (0..16).map(|_| {
            let (tenant, conversation_id, message_id) = (tenant.clone(), talk.id.clone(), message_id.clone());
            let request = MarkPendingQuestionAskedRequest { conversation_id, message_id, ..asked(&id) };
            async move { tenant.mark_asked(request).await.expect("asked") }
        });
        at_once(reports).await;
        assert_eq!(asking(&tenant.read_question(&id).await.expect("there")).attempt_count, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_must_be_the_customers() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let (talk, elsewhere, foreign) =
        (tenant.conversation().await, tenant.conversation().await, other.conversation().await);
    let same = tenant.talk_of(&talk.customer_id).await;
    let said = |tenant: &Tenant, id: &str| {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        async move { tenant.add(&id, message("a", "Why?")).await.expect("added").0.id }
    };
    let (of_elsewhere, of_same, of_foreign) =
        (said(&tenant, &elsewhere.id).await, said(&tenant, &same).await, said(&other, &foreign.id).await);
    let id = tenant.question(&talk.customer_id, "Why?").await.id;
    let unknown = Uuid::now_v7().to_string();
    let none = String::new();
    for (conversation, message, reason) in [
        (&unknown, &none, "CONVERSATION_NOT_FOUND"),
        (&elsewhere.id, &none, "CONVERSATION_NOT_FOUND"),
        (&elsewhere.id, &of_elsewhere, "CONVERSATION_NOT_FOUND"),
        (&foreign.id, &of_foreign, "CONVERSATION_NOT_FOUND"),
        (&talk.id, &unknown, "MESSAGE_NOT_FOUND"),
        (&talk.id, &of_same, "MESSAGE_NOT_FOUND"),
        (&talk.id, &of_foreign, "MESSAGE_NOT_FOUND"),
    ] {
        let (conversation_id, message_id) = (conversation.clone(), message.clone());
        let request = MarkPendingQuestionAskedRequest { conversation_id, message_id, ..asked(&id) };
        tenant.mark_asked(request).await.expect_err(reason).is(Code::NotFound, reason);
        let (conversation_id, message_id) = (conversation.clone(), message.clone());
        let request =
            MarkPendingQuestionAnsweredRequest { conversation_id, message_id, ..answer(&id, "Because") };
        tenant.mark_answered(request).await.expect_err(reason).is(Code::NotFound, reason);
    }
    let alone = MarkPendingQuestionAskedRequest { message_id: of_same.clone(), ..asked(&id) };
    tenant.mark_asked(alone).await.expect_err("no conversation").is_invalid(&["conversation_id"]);
    let alone = MarkPendingQuestionAnsweredRequest { message_id: of_same, ..answer(&id, "Because") };
    tenant.mark_answered(alone).await.expect_err("no conversation").is_invalid(&["conversation_id"]);
    let after = tenant.read_question(&id).await.expect("there");
    assert_eq!(after.update_time, after.create_time, "nothing had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_taken_down_and_may_get_better_until_it_is_verified() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Because")).await.expect("added");
    let first = tenant.question(&talk.customer_id, "Why?").await;
    let request = MarkPendingQuestionAnsweredRequest {
        confidence: Some(0.3),
        conversation_id: talk.id.clone(),
        message_id: said.id.clone(),
        ..answer(&first.id, " Because\nof it. ")
    };
    let answered =
        tenant.mark_answered(request.clone()).await.expect("answered").pending_question.expect("it");
    let expected = PendingQuestion {
        status: Status::Answered.into(),
        answer: Some(QuestionAnswer {
            text: " Because\nof it. ".to_owned(),
            confidence: Some(0.3),
            answer_time: answered.answer.as_ref().expect("an answer").answer_time,
            conversation_id: talk.id,
            message_id: said.id,
            write_time: None,
        }),
        update_time: answered.update_time,
        etag: answered.etag.clone(),
        ..first.clone()
    };
    assert_eq!(answered, expected, "also where nobody asked");
    let again = MarkPendingQuestionAnsweredRequest { etag: first.etag.clone(), ..request.clone() };
    let repeated = tenant.mark_answered(again).await.expect("no step").pending_question.expect("it");
    assert_eq!(repeated, answered);
    let better = MarkPendingQuestionAnsweredRequest { confidence: Some(1.0), ..request };
    let better = tenant.mark_answered(better).await.expect("answered").pending_question.expect("it");
    let confidence = better.answer.as_ref().expect("an answer").confidence;
    assert_eq!(confidence, Some(1.0));
    assert_ne!(better.etag, answered.etag);
    let verified = tenant.verify(&first.id, "ana").await.expect("verified");
    let expected = PendingQuestion {
        status: Status::Verified.into(),
        verification: Some(Verification {
            verified_by: "ana".to_owned(),
            verify_time: verified.verification.as_ref().expect("a check").verify_time,
        }),
        update_time: verified.update_time,
        etag: verified.etag.clone(),
        ..better
    };
    assert_eq!(verified, expected);
    assert!(micros(verified.verification.as_ref().expect("a check").verify_time) > 0);
    assert_eq!(tenant.verify(&first.id, "ana").await.expect("no step"), verified);
    for error in [
        tenant.verify(&first.id, "ben").await.expect_err("somebody else"),
        tenant.answer(&first.id, "Otherwise").await.expect_err("verified"),
    ] {
        error.is(Code::FailedPrecondition, "PENDING_QUESTION_STEP_NOT_ALLOWED");
        assert!(error.message().contains("allowed from there: none; create another"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_is_for_now_and_declining_for_good() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let id = tenant.question(&customer, "Why?").await.id;
    let skipped = tenant.skip_because(&id, false, "busy\ntoday").await.expect("skipped");
    assert_eq!((skipped.status(), why(&skipped)), (Status::Skipped, (false, "busy\ntoday")));
    assert!(micros(skipped.last_skip.as_ref().expect("a skip").skip_time) > 0);
    assert_eq!(tenant.skip_because(&id, false, "busy\ntoday").await.expect("no step"), skipped);
    assert_eq!(tenant.skip(&id, false).await.expect("no step"), skipped);
    let asked = tenant.ask(&id).await.expect("asked");
    assert_eq!((asked.status(), why(&asked)), (Status::Asked, (false, "busy\ntoday")));
    let declined = tenant.skip_because(&id, true, "private").await.expect("declined");
    assert_eq!((declined.status(), why(&declined)), (Status::Declined, (true, "private")));
    assert_eq!(tenant.skip(&id, true).await.expect("no step"), declined);
    let error = tenant.skip_because(&id, true, "otherwise").await.expect_err("final");
    error.is(Code::FailedPrecondition, "PENDING_QUESTION_STEP_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_sent_again_says_so() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Why?")).await.expect("added");
    let id = tenant.question(&talk.customer_id, "Why?").await.id;
    let mut questions = tenant.questions();
    let skip = |declined| SkipPendingQuestionRequest { id: id.clone(), declined, ..Default::default() };
    let ask = MarkPendingQuestionAskedRequest {
        conversation_id: talk.id.clone(),
        message_id: said.id.clone(),
        ..asked(&id)
    };
    let verify = MarkPendingQuestionVerifiedRequest {
        id: id.clone(),
        verified_by: "ana".to_owned(),
        ..Default::default()
    };
    let mut seen = Vec::new();
    for deduplicated in [false, true] {
        let skipped = questions.skip_pending_question(skip(false)).await.expect("skipped").into_inner();
        seen.push((skipped.deduplicated, deduplicated));
    }
    for deduplicated in [false, true] {
        let asked = questions.mark_pending_question_asked(ask.clone()).await.expect("asked").into_inner();
        seen.push((asked.deduplicated, deduplicated));
    }
    for deduplicated in [false, true] {
        let answered = tenant.mark_answered(answer(&id, "Because")).await.expect("answered");
        seen.push((answered.deduplicated, deduplicated));
    }
    for deduplicated in [false, true] {
        let verified = questions.mark_pending_question_verified(verify.clone()).await.expect("verified");
        seen.push((verified.into_inner().deduplicated, deduplicated));
    }
    assert!(seen.iter().all(|(told, expected)| told == expected), "{seen:?}");
    let error = questions.skip_pending_question(skip(true)).await.expect_err("verified");
    error.is(Code::FailedPrecondition, "PENDING_QUESTION_STEP_NOT_ALLOWED");
    let error = tenant.answer(&id, "Otherwise").await.expect_err("verified");
    assert!(error.message().contains("is VERIFIED with another answer;"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_are_wrong_are_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await.id;
    let id = tenant.question(&customer, "Why?").await.id;
    let cooldown = |seconds, nanos| MarkPendingQuestionAskedRequest {
        cooldown: Some(Duration { seconds, nanos }),
        ..asked(&id)
    };
    for (request, field) in [
        (asked("x"), "id"),
        (cooldown(-1, 0), "cooldown"),
        (cooldown(31_536_000, 1), "cooldown"),
        (
            MarkPendingQuestionAskedRequest { conversation_id: "x".to_owned(), ..asked(&id) },
            "conversation_id",
        ),
        (MarkPendingQuestionAskedRequest { message_id: "x".to_owned(), ..asked(&id) }, "message_id"),
    ] {
        tenant.mark_asked(request).await.expect_err(field).is_invalid(&[field]);
    }
    for (request, field) in [
        (answer(&id, ""), "answer"),
        (answer(&id, " \n "), "answer"),
        (answer(&id, "a\0b"), "answer"),
        (answer(&id, &"x".repeat(8_193)), "answer"),
        (MarkPendingQuestionAnsweredRequest { confidence: Some(1.1), ..answer(&id, "x") }, "confidence"),
        (MarkPendingQuestionAnsweredRequest { confidence: Some(f64::NAN), ..answer(&id, "x") }, "confidence"),
    ] {
        is_about(&tenant.mark_answered(request).await.expect_err(field), field);
    }
    for by in ["", "a\nb", &"x".repeat(257)] {
        tenant.verify(&id, by).await.expect_err(by).is_invalid(&["verified_by"]);
    }
    tenant.skip_because(&id, true, &"x".repeat(1_025)).await.expect_err("long").is_invalid(&["reason"]);
    assert_eq!(asking(&tenant.mark_asked(cooldown(0, 0)).await.expect("none")).attempt_count, 1);
    let unknown = Uuid::now_v7().to_string();
    for error in [
        tenant.ask(&unknown).await.expect_err("unknown"),
        tenant.answer(&unknown, "x").await.expect_err("unknown"),
        tenant.verify(&unknown, "x").await.expect_err("unknown"),
        tenant.skip(&unknown, true).await.expect_err("unknown"),
    ] {
        error.is(Code::NotFound, "PENDING_QUESTION_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_keeps_to_an_etag() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for (etag, code, reason) in
        [(STALE_ETAG, Code::Aborted, "ETAG_STALE"), ("nonsense", Code::InvalidArgument, "ETAG_INVALID")]
    {
        let id = that_is(&crm, &tenant, Status::Pending).await.id;
        let etag = || etag.to_owned();
        let mut questions = tenant.questions();
        let ask = MarkPendingQuestionAskedRequest { etag: etag(), ..asked(&id) };
        questions.mark_pending_question_asked(ask).await.expect_err("stale").is(code, reason);
        let skip = SkipPendingQuestionRequest { id: id.clone(), etag: etag(), ..Default::default() };
        questions.skip_pending_question(skip).await.expect_err("stale").is(code, reason);
        let answered = MarkPendingQuestionAnsweredRequest { etag: etag(), ..answer(&id, "Because") };
        questions.mark_pending_question_answered(answered).await.expect_err("stale").is(code, reason);
        tenant.answer(&id, "Because").await.expect("answered");
        let verified_by = "ana".to_owned();
        let verify =
            MarkPendingQuestionVerifiedRequest { id, verified_by, etag: etag(), ..Default::default() };
        questions.mark_pending_question_verified(verify).await.expect_err("stale").is(code, reason);
    }
}
