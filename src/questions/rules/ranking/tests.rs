use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::db::words::Text;
use crate::pb::{self, PendingQuestionStatus as Status};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn customer(status: CustomerStatus) -> Customer {
    let wanted =
        pb::Customer { business_name: "Zoë".to_owned(), status: status.into(), ..Default::default() };
    Customer {
        email: "zoe@cafe.example".to_owned(),
        ..crate::customers::wire::create(wanted, Uuid::nil(), at(0))
    }
}

/// Returns an open question whose text has its number.
fn question(id: u128) -> Question {
    Question {
        id: Uuid::from_u128(id),
        customer_id: Uuid::nil(),
        question: format!("Number {id}?"),
        target_field: String::new(),
        purpose: String::new(),
        priority: Text(Priority::Normal),
        timing: Text(QuestionTiming::NextMessage),
        scheduled_at: None,
        status: Text(Status::Pending),
        source_conversation_id: None,
        attempt_count: 0,
        asked_at: None,
        asked_conversation_id: None,
        asked_message_id: None,
        cooldown_until: None,
        answer: String::new(),
        confidence: None,
        answered_at: None,
        answered_conversation_id: None,
        answered_message_id: None,
        verified_by: String::new(),
        verified_at: None,
        skip_reason: String::new(),
        written_at: None,
        skipped_at: None,
        expires_at: None,
        created_at: at(0),
        updated_at: at(0),
        revision: 1,
    }
}

const TALK: Uuid = Uuid::from_u128(77);

/// Returns the result for one question: its score, or why it is left out.
fn verdict(question: Question, status: CustomerStatus, texts: &[&str]) -> std::result::Result<i32, Reason> {
    let customer = customer(status);
    let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
    let situation =
        Situation { now: at(1_000), conversation_id: Some(TALK), customer: &customer, texts: &texts };
    let candidates = Candidates { open: vec![question], ..Default::default() };
    let ranking = rank(&candidates, &situation, 5).expect("a ranking");
    match (ranking.questions.as_slice(), ranking.left_out.as_slice()) {
        ([next], []) => Ok(next.score),
        ([], [left_out]) => Err(left_out.reason),
        other => panic!("{other:?}"),
    }
}

fn timed(timing: QuestionTiming) -> Question {
    Question { timing: Text(timing), ..question(1) }
}

#[test]
fn the_score_is_what_the_docs_say() {
    use CustomerStatus::{Active, Lead};
    for (priority, score) in [
        (Priority::Low, 1_080),
        (Priority::Normal, 2_080),
        (Priority::High, 3_080),
        (Priority::Urgent, 4_080),
    ] {
        assert_eq!(verdict(Question { priority: Text(priority), ..question(1) }, Lead, &[]), Ok(score));
    }
    for (timing, status, score) in [
        (QuestionTiming::Immediate, Lead, 2_100),
        (QuestionTiming::Scheduled, Lead, 2_090),
        (QuestionTiming::NextMessage, Lead, 2_080),
        (QuestionTiming::BeforePurchase, Lead, 2_060),
        (QuestionTiming::AfterPurchase, Active, 2_060),
        (QuestionTiming::NextConversation, Lead, 2_020),
    ] {
        assert_eq!(verdict(timed(timing), status, &[]), Ok(score), "{timing:?}");
    }
    let relevant =
        Question { question: "Which opening hours?".to_owned(), ..timed(QuestionTiming::WhenRelevant) };
    assert_eq!(verdict(relevant.clone(), Lead, &["Our HOURS changed"]), Ok(2_060));
    assert_eq!(verdict(relevant, Lead, &["The opening", "hours"]), Ok(2_080));
    let wordy = "alpha bravo charlie delta echoes foxtrot";
    assert_eq!(verdict(Question { purpose: wordy.to_owned(), ..question(1) }, Lead, &[wordy]), Ok(2_180));
    let asked = Question { attempt_count: 4, asked_at: Some(at(0)), ..question(1) };
    assert_eq!(verdict(asked, Lead, &[]), Ok(1_960));
}

#[test]
fn thresholds_of_time_hold_from_their_moment_on() {
    let cooling = |seconds| Question {
        cooldown_until: Some(at(seconds)),
        attempt_count: 1,
        asked_at: Some(at(0)),
        ..question(1)
    };
    let scheduled =
        |seconds| Question { scheduled_at: Some(at(seconds)), ..timed(QuestionTiming::Scheduled) };
    for ready in [cooling(1_000), scheduled(1_000)] {
        assert!(verdict(ready, CustomerStatus::Lead, &[]).is_ok());
    }
    assert_eq!(verdict(cooling(1_001), CustomerStatus::Lead, &[]), Err(Reason::CoolingDown));
    assert_eq!(verdict(scheduled(1_001), CustomerStatus::Lead, &[]), Err(Reason::NotDue));
}

#[test]
fn every_reason_leaves_out() {
    use CustomerStatus::{Active, Blocked, Churned, Lead};
    let asked = |attempt_count| Question { attempt_count, asked_at: Some(at(0)), ..question(1) };
    for (question, status, reason) in [
        (question(1), Blocked, Reason::CustomerBlocked),
        (Question { target_field: "email".to_owned(), ..question(1) }, Lead, Reason::Known),
        (asked(5), Lead, Reason::Exhausted),
        (Question { asked_conversation_id: Some(TALK), ..asked(1) }, Lead, Reason::AskedHere),
        (timed(QuestionTiming::BeforePurchase), Active, Reason::NotDue),
        (timed(QuestionTiming::AfterPurchase), Lead, Reason::NotDue),
        (timed(QuestionTiming::AfterPurchase), Churned, Reason::NotDue),
        (
            Question { source_conversation_id: Some(TALK), ..timed(QuestionTiming::NextConversation) },
            Lead,
            Reason::NotDue,
        ),
        (timed(QuestionTiming::WhenRelevant), Lead, Reason::NotRelevant),
    ] {
        assert_eq!(verdict(question.clone(), status, &["What about it?"]), Err(reason), "{question:?}");
    }
    let unknown = Question { target_field: "phone".to_owned(), ..question(1) };
    assert!(verdict(unknown, Lead, &[]).is_ok());
}

#[test]
fn what_was_declined_or_answered_stays_so_under_another_name() {
    let customer = customer(CustomerStatus::Lead);
    let situation = Situation { now: at(0), conversation_id: None, customer: &customer, texts: &[] };
    let text = |id, text: &str, target_field: &str| Question {
        question: text.to_owned(),
        target_field: target_field.to_owned(),
        ..question(id)
    };
    let candidates = Candidates {
        open: vec![
            text(1, "how OLD are you", ""),
            text(2, "Your number?", "phone"),
            text(3, "Where do you live?", ""),
            text(4, "And the city?", "city"),
            text(5, "and the  city", ""),
        ],
        declined: vec![text(11, "How old are you?", "phone")],
        answered: vec![text(12, "Where do you live", "")],
    };
    let ranking = rank(&candidates, &situation, 5).expect("a ranking");
    let asked: Vec<_> = ranking.questions.iter().map(|next| next.question.id.as_u128()).collect();
    assert_eq!(asked, [4]);
    let left_out: Vec<_> =
        ranking.left_out.iter().map(|left_out| (left_out.id.as_u128(), left_out.reason)).collect();
    let expected = [
        (1, Reason::Declined),
        (2, Reason::Declined),
        (3, Reason::Answered),
        (5, Reason::Duplicate),
        (11, Reason::Declined),
        (12, Reason::Answered),
    ];
    assert_eq!(left_out, expected);
}

#[test]
fn a_reason_is_made_of_its_parts() {
    let customer = customer(CustomerStatus::Lead);
    let texts = ["Coffee and cake".to_owned()];
    let situation = Situation { now: at(0), conversation_id: None, customer: &customer, texts: &texts };
    let open = Question {
        question: "Do you sell coffee, or cake?".to_owned(),
        priority: Text(Priority::High),
        attempt_count: 2,
        asked_at: Some(at(0)),
        ..question(1)
    };
    let candidates = Candidates { open: vec![open], ..Default::default() };
    let reason = rank(&candidates, &situation, 1).expect("a ranking").questions[0].reason.clone();
    let expected = "of high priority; to be asked with the next message; asked 2 times; in common with the talk: cake, coffee";
    assert_eq!(reason, expected);
}

#[test]
fn words_are_compared_without_case_accents_and_grammar() {
    let expected: BTreeSet<_> = ["cafe", "offnungszeiten", "店"].map(str::to_owned).into();
    assert_eq!(words("What about your CAFÉ's... Café? Öffnungszeiten 店 a an"), {
        let mut words = expected;
        words.insert("cafe's".to_owned());
        words
    });
    assert_eq!(normal("  Wie  heißt—du? "), normal("wie HEIẞT du"));
    assert_eq!(normal("???"), "???");
}

fn any_question() -> impl Strategy<Value = Question> {
    let numbers = (1..12_u128, 1..5_i32, 1..8_i32, 0..7_i32);
    let times = (prop::option::of(0..2_000_i64), prop::option::of(0..2_000_i64), 0..3_i64);
    let places = (any::<bool>(), any::<bool>(), prop::sample::select(vec!["", "email", "phone", "city"]));
    (numbers, times, places).prop_map(
        |((id, priority, timing, attempt_count), (cools, expires, created), places)| {
            let (created_here, asked_here, target_field) = places;
            Question {
                priority: Text(Priority::try_from(priority).expect("a word")),
                timing: Text(QuestionTiming::try_from(timing).expect("a word")),
                scheduled_at: cools.map(at),
                cooldown_until: cools.map(at),
                expires_at: expires.map(at),
                attempt_count,
                source_conversation_id: created_here.then_some(TALK),
                asked_conversation_id: asked_here.then_some(TALK),
                target_field: target_field.to_owned(),
                created_at: at(created),
                question: format!("Number {}?", id % 9),
                ..question(id)
            }
        },
    )
}

fn any_questions() -> impl Strategy<Value = Vec<Question>> {
    prop::collection::vec(any_question(), 0..12).prop_map(|mut questions| {
        questions.sort_by_key(|question| question.id);
        questions.dedup_by_key(|question| question.id);
        questions
    })
}

proptest! {
    #[test]
    fn a_ranking_depends_on_nothing_but_its_input(
        open in any_questions().prop_flat_map(|open| (Just(open.clone()), Just(open).prop_shuffle())),
        declined in any_questions(),
        status in 1..7_i32,
        limit in 0..8_usize,
    ) {
        let (open, shuffled) = open;
        let customer = customer(CustomerStatus::try_from(status).expect("a word"));
        let texts = ["Number 3 and number 4".to_owned()];
        let situation =
            Situation { now: at(1_000), conversation_id: Some(TALK), customer: &customer, texts: &texts };
        let of = |open: &[Question], limit| {
            let declined = declined.clone();
            rank(&Candidates { open: open.to_vec(), declined, answered: Vec::new() }, &situation, limit)
                .expect("a ranking")
        };
        let all = of(&open, usize::MAX);
        prop_assert_eq!(&all, &of(&shuffled, usize::MAX));
        let some = of(&open, limit);
        prop_assert_eq!(&some.questions[..], &all.questions[..limit.min(all.questions.len())]);
        prop_assert_eq!(&some.left_out, &all.left_out);
        // Every question that has not expired is asked or left out, exactly once.
        let alive = open.iter().filter(|open| open.expires_at.is_none_or(|expires| expires > at(1_000)));
        let mut expected: Vec<_> = alive.chain(&declined).map(|question| question.id).collect();
        let mut told: Vec<_> = all.questions.iter().map(|next| next.question.id).collect();
        told.extend(all.left_out.iter().map(|left_out| left_out.id));
        expected.sort();
        told.sort();
        prop_assert_eq!(told, expected);
        for pair in all.questions.windows(2) {
            prop_assert!(pair[0].score >= pair[1].score);
        }
        for next in &all.questions {
            prop_assert!(next.score > 0 && next.question.attempt_count < MAX_ATTEMPTS);
            prop_assert!(next.question.target_field != "email", "what is known is not asked");
        }
    }
}
