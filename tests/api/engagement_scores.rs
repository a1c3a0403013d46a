//! A customer's interests, computed from events.

use std::collections::BTreeMap;

use crm_backend::pb::{GetInterestScoresRequest, InterestEvent, InterestScore};
use prost::Message;
use prost_types::Timestamp;
use tonic::Code;

use crate::support::context::at;
use crate::support::engagement::{multiply_interest, viewed};
use crate::support::{Crm, Refusal, micros};

const DAY: i64 = 24 * 60;

/// The largest difference between two orders of summation.
const TOLERANCE: f64 = 1e-9;

/// Returns the scores of events, by the formula of the contract, without code of the service.
fn by_hand(events: &[InterestEvent], as_of: i64) -> Vec<InterestScore> {
    let mut subjects: BTreeMap<String, InterestScore> = BTreeMap::new();
    for event in events {
        let age_days = (as_of - micros(event.occur_time)) as f64 / 86_400e6;
        if !(0.0..360.0).contains(&age_days) {
            continue;
        }
        let name = event.subject.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let score = subjects.entry(name).or_default();
        score.score += event.weight.expect("a weight") * 0.5_f64.powf(age_days / 30.0);
        score.event_count += 1;
        if score.last_occur_time.is_none_or(|last| micros(Some(last)) < micros(event.occur_time)) {
            score.last_occur_time = event.occur_time;
            score.subject.clone_from(&event.subject);
        }
    }
    let mut scores: Vec<_> = subjects.into_values().collect();
    scores.sort_by(|one, other| other.score.total_cmp(&one.score));
    scores
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_what_the_formula_gives_at_any_time_and_always_the_same_bytes() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let subjects = ["Beans", "beans", " Cups", "mugs", "MUGS "];
    let shown: Vec<_> = (0..300_i64)
        .map(|number| {
            let subject = subjects[usize::try_from(number * number % 5).expect("small")];
            let minutes = -number * number * 7 % (500 * DAY) - number;
            let event = viewed(&number.to_string(), subject, minutes);
            InterestEvent { weight: Some((number * 37 % 100) as f64 * 0.37 - 9.0), ..event }
        })
        .collect();
    tenant.show(&zoe, &shown).await;
    let events = tenant.all_interest(Default::default()).await;
    for days in [-400, -300, -30, -1, 0, 1, 100, 359, 360, 400] {
        let as_of = at(days * DAY);
        let answer = tenant.scores(&zoe, as_of).await.expect("scores");
        assert_eq!(answer.as_of_time, as_of);
        let expected = by_hand(&events, micros(as_of));
        let (scores, count) = (&answer.interest_scores, expected.len());
        assert_eq!(scores.len(), count, "{days}");
        for (score, expected) in scores.iter().zip(&expected) {
            assert!((score.score - expected.score).abs() < TOLERANCE, "{days}: {score:?} {expected:?}");
            let same = InterestScore { score: expected.score, ..score.clone() };
            assert_eq!(same, *expected, "{days}");
        }
        let again = tenant.through(&replica).scores(&zoe, as_of).await.expect("scores");
        assert_eq!(again.encode_to_vec(), answer.encode_to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_half_after_30_days_and_a_quarter_after_60() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let shown = InterestEvent { weight: Some(8.0), ..viewed("e1", "Beans", 0) };
    tenant.show(&zoe, &[shown]).await;
    for (days, score) in [(0, 8.0), (30, 4.0), (60, 2.0), (90, 1.0), (330, 8.0 / 2_048.0)] {
        let scores = tenant.scores(&zoe, at(days * DAY)).await.expect("scores").interest_scores;
        assert!((scores[0].score - score).abs() < TOLERANCE, "{days}: {scores:?}");
    }
    // Before its time, and after 360 days, an event does not count.
    let before = at(0).map(|time| Timestamp { seconds: time.seconds - 1, nanos: 999_999_000 });
    for as_of in [before, at(360 * DAY)] {
        assert_eq!(tenant.scores(&zoe, as_of).await.expect("scores").interest_scores, []);
    }
    let edges = [-62_135_596_800, 253_402_300_799].map(|seconds| Some(Timestamp { seconds, nanos: 0 }));
    for as_of in edges {
        assert_eq!(tenant.scores(&zoe, as_of).await.expect("scores").interest_scores, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_come_first_in_the_words_of_their_latest_events() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let weighs = |event_id: &str, subject: &str, minutes, weight| InterestEvent {
        weight: Some(weight),
        ..viewed(event_id, subject, minutes)
    };
    let shown = [
        weighs("b", "Single Origin Beans", 2, 1.0),
        weighs("a", "single origin  beans", 1, 2.0),
        weighs("c", "Cups", 0, -1.0),
        weighs("d", "apples", 5, 1.0),
        weighs("e", "Bananas", 5, 1.0),
    ];
    tenant.show(&zoe, &shown).await;
    let scores = tenant.scores(&zoe, at(5)).await.expect("scores").interest_scores;
    let names: Vec<_> = scores.iter().map(|score| score.subject.as_str()).collect();
    assert_eq!(names, ["Single Origin Beans", "apples", "Bananas", "Cups"], "equals by their subjects");
    assert_eq!((scores[0].event_count, scores[0].last_occur_time), (2, at(2)));
    assert!(scores[3].score < 0.0, "who declines something is less than not interested");
    let page = async |limit: i32| {
        let customer_id = zoe.clone();
        let request = GetInterestScoresRequest { customer_id, as_of_time: at(5), limit };
        tenant.engagement().get_interest_scores(request).await
    };
    let first = page(2).await.expect("scores").into_inner().interest_scores;
    assert_eq!(first, scores[..2]);
    page(-1).await.expect_err("negative").is_invalid(&["limit"]);
    // Without a time, the scores are as of now: all events were months ago.
    let now = tenant.scores(&zoe, None).await.expect("scores");
    assert!(micros(now.as_of_time) > micros(at(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_20_when_not_said_and_100_at_most() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let shown: Vec<_> =
        (0..120).map(|number| viewed(&format!("{number}"), &format!("{number}"), 0)).collect();
    tenant.show(&zoe, &shown).await;
    for (limit, count) in [(0, 20), (1, 1), (100, 100), (i32::MAX, 100)] {
        let request = GetInterestScoresRequest { customer_id: zoe.clone(), as_of_time: at(0), limit };
        let scores = tenant.engagement().get_interest_scores(request).await.expect("scores").into_inner();
        assert_eq!(scores.interest_scores.len(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_10000_events_count() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    tenant.show(&zoe, &[viewed("new", "Beans", 0)]).await;
    // Each a minute older, which is within the year.
    multiply_interest(&crm.sql().await, &tenant, 9_998).await;
    tenant.show(&zoe, &[viewed("old", "Cups", -20_000), viewed("older", "Mugs", -20_001)]).await;
    let scores = tenant.scores(&zoe, at(0)).await.expect("scores").interest_scores;
    let counts: Vec<_> = scores.iter().map(|score| (score.subject.as_str(), score.event_count)).collect();
    assert_eq!(counts, [("Beans", 9_999), ("Cups", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_of_nobody_are_not_found() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let stranger = other.customer("Ben").await.id;
    other.show_interest(&stranger, "Beans").await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for id in [&stranger, &unknown] {
        tenant.scores(id, None).await.expect_err("nobody").is(Code::NotFound, "CUSTOMER_NOT_FOUND");
    }
    let zoe = tenant.customer("Zoe").await.id;
    assert_eq!(tenant.scores(&zoe, None).await.expect("no scores").interest_scores, []);
}
