//! GetConversionFunnel, compared with a computation for each customer.

use crm_backend::contract::Word;
use crm_backend::pb::{
    ConversionFunnel, EntryPoint, FunnelGrouping, FunnelStep, GetConversionFunnelRequest,
    GetConversionFunnelResponse, dashboard_rows::List,
};
use crm_testkit::Random;
use prost_types::{Duration, Timestamp};
use uuid::Uuid;

use crate::support::funnel::{EPOCH, Event, Question, Reached, campaigns, follow, insert_all};
use crate::support::{Crm, Refusal, Tenant};

/// All steps.
const STEPS: [FunnelStep; 6] = [
    FunnelStep::Contacted,
    FunnelStep::Engaged,
    FunnelStep::Conversed,
    FunnelStep::Interested,
    FunnelStep::Converted,
    FunnelStep::Purchased,
];

/// The seconds in which everything happens: few, so that many events have the same time.
const SECONDS: u64 = 60;

fn second(second: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: EPOCH + second, nanos: 0 })
}

fn request(question: &Question) -> GetConversionFunnelRequest {
    let Question { window: (from, until), max_seconds, steps, grouping, campaign, entry_points } = question;
    GetConversionFunnelRequest {
        time_from: second(*from),
        time_until: second(*until),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        max_duration: Some(Duration { seconds: *max_seconds, nanos: 0 }),
        grouping: (*grouping).into(),
        campaign_id: campaign.map(|id| id.to_string()).unwrap_or_default(),
        entry_points: entry_points.iter().map(|entry_point| (*entry_point).into()).collect(),
    }
}

/// Returns an answer in the form of `follow`.
fn found(answer: &GetConversionFunnelResponse) -> Vec<(String, Vec<Reached>)> {
    let group = |funnel: &ConversionFunnel| match funnel.entry_point() {
        EntryPoint::Unspecified => funnel.campaign_id.clone(),
        entry_point => entry_point.word().to_owned(),
    };
    let reached = |funnel: &ConversionFunnel| {
        let steps = funnel.steps.iter();
        steps
            .map(|step| (step.customer_count, step.median_duration.as_ref().map(|time| time.seconds)))
            .collect()
    };
    answer.funnels.iter().map(|funnel| (group(funnel), reached(funnel))).collect()
}

/// Checks that rates agree with the numbers beside them.
fn check_rates(funnel: &ConversionFunnel) {
    let entered = funnel.steps[0].customer_count;
    let share = |part: i64, whole: i64| (whole > 0).then(|| part as f64 / whole as f64);
    let mut before = None;
    for step in &funnel.steps {
        assert_eq!(step.rate_of_entry, share(step.customer_count, entered), "{step:?}");
        assert_eq!(step.rate_of_previous, before.and_then(|before| share(step.customer_count, before)));
        before = Some(step.customer_count);
    }
}

/// Returns steps in random order.
fn steps(dice: &mut Random) -> Vec<FunnelStep> {
    let mut left = STEPS.to_vec();
    let count = 2 + dice.below(5);
    let mut steps = Vec::new();
    for _ in 0..count {
        let step = dice.pick(&left);
        left.retain(|other| *other != step);
        steps.push(step);
    }
    steps
}

/// Creates a tenant with events of some customers.
async fn eventful(crm: &Crm, tenant: &Tenant, dice: &mut Random) -> (Vec<Event>, Vec<Uuid>) {
    let sql = crm.sql().await;
    let mut customers = Vec::new();
    for _ in 0..12 {
        customers.push(tenant.customer("Zoe").await.id.parse().expect("a UUID"));
    }
    let campaigns = campaigns(&sql, tenant, 3).await;
    let events: Vec<_> = (0..240).map(|_| Event::any(dice, &customers, &campaigns, SECONDS)).collect();
    insert_all(&sql, tenant, &events).await;
    (events, campaigns)
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_come_as_far_as_whoever_follows_them_one_by_one_sees() {
    let crm = Crm::start().await;
    let other = crm.tenant();
    eventful(&crm, &other, &mut Random::new(99)).await;
    let mut reached_all = 0;
    for seed in 0..4 {
        let mut dice = Random::new(seed);
        let tenant = crm.tenant();
        let (events, campaigns) = eventful(&crm, &tenant, &mut dice).await;
        for _ in 0..30 {
            let from = i64::try_from(dice.below(SECONDS)).expect("few");
            let length = 1 + i64::try_from(dice.below(SECONDS)).expect("few");
            let campaign = (dice.below(4) == 0).then(|| dice.pick(&campaigns));
            let entry_points = match dice.below(5) {
                0 => vec![EntryPoint::Email],
                1 => vec![EntryPoint::Email, EntryPoint::Whatsapp],
                _ => Vec::new(),
            };
            for grouping in
                [FunnelGrouping::Unspecified, FunnelGrouping::Campaign, FunnelGrouping::EntryPoint]
            {
                let question = Question {
                    window: (from, from + length),
                    max_seconds: 1 + i64::try_from(dice.below(40)).expect("few"),
                    steps: steps(&mut dice),
                    grouping,
                    campaign,
                    entry_points: entry_points.clone(),
                };
                let answer = tenant.funnel(request(&question)).await.expect("an answer");
                assert_eq!(found(&answer), follow(&events, &question), "seed {seed}: {question:?}");
                answer.funnels.iter().for_each(check_rates);
                let last =
                    |funnel: &ConversionFunnel| funnel.steps.last().map_or(0, |step| step.customer_count);
                reached_all += answer.funnels.iter().map(last).sum::<i64>();
            }
        }
    }
    assert!(reached_all > 100, "funnels through which nobody comes show little: {reached_all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funnel_that_nobody_entered_has_its_steps() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let answer = tenant.funnel(Default::default()).await.expect("an answer");
    let [funnel] = answer.funnels.as_slice() else { panic!("one funnel: {answer:?}") };
    let steps: Vec<_> = funnel.steps.iter().map(|step| step.step()).collect();
    let default =
        [FunnelStep::Contacted, FunnelStep::Conversed, FunnelStep::Interested, FunnelStep::Purchased];
    assert_eq!(steps, default);
    for step in &funnel.steps {
        assert_eq!((step.customer_count, step.rate_of_entry, step.rate_of_previous), (0, None, None));
        assert_eq!(step.median_duration, None);
    }
    let grouped =
        GetConversionFunnelRequest { grouping: FunnelGrouping::Campaign.into(), ..Default::default() };
    assert_eq!(tenant.funnel(grouped).await.expect("an answer").funnels, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_listed_by_the_time_in_which_it_is_looked_for() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let answer = tenant.funnel(GetConversionFunnelRequest {
        time_from: second(0),
        time_until: second(10),
        steps: STEPS.iter().map(|step| (*step).into()).collect(),
        max_duration: Some(Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    });
    let answer = answer.await.expect("an answer");
    let mut lists = Vec::new();
    for step in &answer.funnels[0].steps {
        for rows in &step.rows {
            let (kinds, from, until) = match rows.list.as_ref().expect("a request") {
                List::Conversations(list) => {
                    (list.environments.len(), list.start_time_from, list.start_time_until)
                }
                List::CampaignEvents(list) => (list.kinds.len(), list.occur_time_from, list.occur_time_until),
                List::InterestEvents(list) => (list.kinds.len(), list.occur_time_from, list.occur_time_until),
                List::Purchases(list) => {
                    (list.statuses.len(), list.purchase_time_from, list.purchase_time_until)
                }
                other => panic!("no events: {other:?}"),
            };
            let seconds = |time: Option<Timestamp>| time.expect("a time").seconds - EPOCH;
            lists.push((step.step(), kinds, seconds(from), seconds(until)));
        }
    }
    let expected = [
        (FunnelStep::Contacted, 2, 0, 10),
        (FunnelStep::Contacted, 1, 0, 10),
        (FunnelStep::Engaged, 3, 0, 15),
        (FunnelStep::Conversed, 1, 0, 15),
        (FunnelStep::Interested, 9, 0, 15),
        (FunnelStep::Converted, 1, 0, 15),
        (FunnelStep::Converted, 1, 0, 15),
        (FunnelStep::Purchased, 3, 0, 15),
    ];
    assert_eq!(lists, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_rule_is_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let steps = |steps: &[i32]| GetConversionFunnelRequest { steps: steps.to_vec(), ..Default::default() };
    let duration = |seconds: i64| GetConversionFunnelRequest {
        max_duration: Some(Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    for (request, field) in [
        (steps(&[1]), "steps"),
        (steps(&[1, 1]), "steps"),
        (steps(&[1, 2, 3, 4, 5, 6, 1]), "steps"),
        (steps(&[1, 0]), "steps[1]"),
        (steps(&[1, 77]), "steps[1]"),
        (duration(0), "max_duration"),
        (duration(-1), "max_duration"),
        (duration(365 * 86_400 + 1), "max_duration"),
        (GetConversionFunnelRequest { grouping: 7, ..Default::default() }, "grouping"),
        (GetConversionFunnelRequest { campaign_id: "x".to_owned(), ..Default::default() }, "campaign_id"),
        (GetConversionFunnelRequest { entry_points: vec![0], ..Default::default() }, "entry_points[0]"),
    ] {
        let what = format!("{request:?}");
        let refused = tenant.funnel(request).await.expect_err(&what);
        assert_eq!(refused.reason(), "FIELD_INVALID", "{what}");
        assert!(refused.fields().contains(&field.to_owned()), "{what}: {:?}", refused.fields());
    }
}
