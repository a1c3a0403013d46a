use super::*;
use crate::pb::{Priority, QuestionTiming};

const ALL: [Status; 7] = [
    Status::Pending,
    Status::Asked,
    Status::Answered,
    Status::Verified,
    Status::Declined,
    Status::Skipped,
    Status::Expired,
];

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Returns a question in this state, without other data.
fn question(status: Status) -> Question {
    Question {
        id: Uuid::from_u128(1),
        customer_id: Uuid::from_u128(2),
        question: "Why?".to_owned(),
        target_field: String::new(),
        purpose: String::new(),
        priority: Text(Priority::Normal),
        timing: Text(QuestionTiming::NextMessage),
        scheduled_at: None,
        status: Text(status),
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

fn source(message: u128) -> Source {
    Source { conversation_id: Some(Uuid::from_u128(7)), message_id: Some(Uuid::from_u128(message)) }
}

fn steps() -> [Step; 5] {
    [
        Step::Ask { source: source(8), cooldown: TimeDelta::hours(1) },
        Step::Answer { source: source(9), answer: "Because".to_owned(), confidence: Some(0.5) },
        Step::Verify { by: "ana".to_owned() },
        Step::Skip { declined: false, reason: "later".to_owned() },
        Step::Skip { declined: true, reason: "private".to_owned() },
    ]
}

#[test]
fn every_step_leads_from_every_state_where_the_table_says() {
    use Status::{Answered, Asked, Declined, Skipped, Verified};
    // ask, answer, verify, skip, decline
    let table = [
        (Status::Pending, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Status::Asked, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Status::Answered, [None, Some(Answered), Some(Verified), None, None]),
        (Status::Verified, [None; 5]),
        (Status::Declined, [None; 5]),
        (Status::Skipped, [Some(Asked), Some(Answered), None, Some(Skipped), Some(Declined)]),
        (Status::Expired, [None, Some(Answered), None, None, None]),
    ];
    assert_eq!(table.map(|(status, _)| status), ALL);
    for (from, expected) in table {
        for (step, to) in steps().iter().zip(expected) {
            let before = question(from);
            let after = step.take(&before, at(60));
            match (to, after) {
                (Some(to), Ok(after)) => assert_eq!(after.status.0, to, "{from:?} {step:?}"),
                (None, Err(error)) => {
                    assert_eq!(error.reason(), ErrorReason::PendingQuestionStepNotAllowed);
                    let text = error.to_string();
                    assert!(text.contains(&format!("the question is {}", from.word())), "{text}");
                    let allowed = text.rsplit(": ").next().expect("a list");
                    for (kind, to) in Kind::ALL.into_iter().zip(expected) {
                        assert_eq!(
                            allowed.split(", ").any(|word| word == kind.name()),
                            to.is_some(),
                            "{text}"
                        );
                    }
                }
                (to, after) => panic!("{from:?} {step:?}: {to:?}, {after:?}"),
            }
        }
    }
}

#[test]
fn a_step_that_was_taken_is_recognised_and_another_one_is_not() {
    let is_repeated =
        |step: &Step, question: &Question| step.is_repeated(question).expect("no contradiction");
    for step in steps() {
        let from = if matches!(step, Step::Verify { .. }) { Status::Answered } else { Status::Pending };
        let before = question(from);
        assert!(!is_repeated(&step, &before), "{step:?}");
        let after = step.take(&before, at(60)).expect("allowed");
        assert!(is_repeated(&step, &after), "{step:?}");
        for other in steps().iter().filter(|other| **other != step) {
            assert!(!is_repeated(other, &after), "{other:?} after {step:?}");
        }
    }
    let [ask, answer, ..] = steps();
    let asked = ask.take(&question(Status::Pending), at(60)).expect("allowed");
    let answered = answer.take(&asked, at(61)).expect("allowed");
    assert!(is_repeated(&ask, &answered), "a late repeat changes nothing either");
    let elsewhere = Step::Ask { source: source(10), cooldown: TimeDelta::hours(1) };
    assert!(!is_repeated(&elsewhere, &asked));
    let unnamed = Step::Ask { source: Source::default(), cooldown: TimeDelta::zero() };
    assert!(!is_repeated(&unnamed, &question(Status::Asked)), "without a message every time counts");
    let surer = Step::Answer { source: source(9), answer: "Because".to_owned(), confidence: Some(0.6) };
    assert!(!is_repeated(&surer, &answered));
    let skipped = steps()[3].take(&asked, at(61)).expect("allowed");
    let silent = |declined| Step::Skip { declined, reason: String::new() };
    assert!(is_repeated(&silent(false), &skipped) && !is_repeated(&silent(true), &skipped));
}

#[test]
fn what_differs_from_the_step_that_was_taken_is_named() {
    let [ask, answer, verify, _, decline] = steps();
    let asked = ask.take(&question(Status::Pending), at(60)).expect("allowed");
    let longer = Step::Ask { source: source(8), cooldown: TimeDelta::hours(2) };
    let error = longer.is_repeated(&asked).expect_err("another cooldown");
    assert_eq!(error.reason(), ErrorReason::IdempotencyKeyReused);
    assert!(error.to_string().contains("another cooldown;"), "{error}");
    let answered = answer.take(&asked, at(61)).expect("allowed");
    let verified = verify.take(&answered, at(62)).expect("allowed");
    let declined = decline.take(&asked, at(61)).expect("allowed");
    for (step, question, named) in [
        (
            Step::Answer { source: source(9), answer: "Otherwise".to_owned(), confidence: None },
            &verified,
            "VERIFIED with another answer, confidence;",
        ),
        (Step::Verify { by: "ben".to_owned() }, &verified, "VERIFIED with another verified_by;"),
        (
            Step::Skip { declined: true, reason: "busy".to_owned() },
            &declined,
            "DECLINED with another reason;",
        ),
        (steps()[3].clone(), &declined, "DECLINED with another declined, reason;"),
    ] {
        assert!(!step.is_repeated(question).expect("another step"));
        let error = step.take(question, at(70)).expect_err("not allowed");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn asking_counts_and_starts_the_cooldown() {
    let [ask, ..] = steps();
    let once = ask.take(&question(Status::Pending), at(60)).expect("allowed");
    let twice = ask.take(&once, at(120)).expect("allowed");
    assert_eq!((once.attempt_count, twice.attempt_count), (1, 2));
    assert_eq!((twice.asked_at, twice.cooldown_until), (Some(at(120)), Some(at(3_720))));
    assert_eq!(twice.asked_message_id, Some(Uuid::from_u128(8)));
}

#[test]
fn what_waits_expires_by_itself_and_nothing_else_does() {
    for status in ALL {
        let mortal = Question { expires_at: Some(at(100)), ..question(status) };
        let waits = matches!(status, Status::Pending | Status::Asked | Status::Skipped);
        assert_eq!(as_of(mortal.clone(), at(99)), mortal, "{status:?}");
        for now in [100, 101] {
            let seen = as_of(mortal.clone(), at(now)).status.0;
            assert_eq!(seen, if waits { Status::Expired } else { status });
        }
        assert_eq!(as_of(question(status), at(1_000)).status.0, status);
        assert_eq!(check_update(&question(status)).is_ok(), is_open(&question(status)));
    }
}
