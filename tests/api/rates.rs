//! Rates are shares: for all events, in any order and with repetitions, each is between 0 and 1 and has the value
//! that the contract defines.

use std::collections::{BTreeMap, BTreeSet};

use crm_backend::pb::{
    CampaignEvent, CampaignEventKind, CampaignPerformance, GetCampaignPerformanceRequest,
    GetCampaignStatisticsRequest, GetConversionFunnelRequest,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost_types::Timestamp;

use crate::support::campaigns::{Outcome, at, event_at};
use crate::support::{Crm, Tenant};

use CampaignEventKind::{Bounced, Clicked, Delivered, Opened, Sent, SpamReported};

/// An event: the campaign, the customer, the kind, and the day of March.
type Event = (usize, usize, CampaignEventKind, usize);

const CAMPAIGNS: usize = 2;
const CUSTOMERS: usize = 4;

fn rates(of: &CampaignPerformance) -> [Option<f64>; 8] {
    let CampaignPerformance {
        delivery_rate,
        open_rate,
        click_rate,
        reply_rate,
        conversion_rate,
        opt_out_rate,
        spam_rate,
        bounce_rate,
        ..
    } = of;
    [
        *delivery_rate,
        *open_rate,
        *click_rate,
        *reply_rate,
        *conversion_rate,
        *opt_out_rate,
        *spam_rate,
        *bounce_rate,
    ]
}

/// The kinds of the rates, in the same order: shares of the sent or of the reached customers.
fn kinds() -> [(CampaignEventKind, bool); 8] {
    use CampaignEventKind::{Converted, OptedOut, Replied};
    [
        (Delivered, true),
        (Opened, false),
        (Clicked, false),
        (Replied, false),
        (Converted, false),
        (OptedOut, false),
        (SpamReported, false),
        (Bounced, true),
    ]
}

/// Returns the customers of a campaign with a kind of event, each with the day of the first one.
fn first(events: &[Event], campaign: usize, kind: CampaignEventKind) -> BTreeMap<usize, usize> {
    let mut days = BTreeMap::new();
    for event in events.iter().filter(|event| (event.0, event.2) == (campaign, kind)) {
        let day = days.entry(event.1).or_insert(event.3);
        *day = event.3.min(*day);
    }
    days
}

/// Returns to whom a campaign was sent and whom it reached, overall or on a day.
fn cohorts(events: &[Event], campaign: usize, day: Option<usize>) -> [BTreeSet<usize>; 2] {
    let on = |days: BTreeMap<usize, usize>| {
        days.into_iter().filter(|(_, on)| day.is_none_or(|day| day == *on)).map(|(who, _)| who).collect()
    };
    let has_deliveries = !first(events, campaign, Delivered).is_empty();
    let reaching = if has_deliveries { Delivered } else { Sent };
    [on(first(events, campaign, Sent)), on(first(events, campaign, reaching))]
}

/// Returns the rates of several campaigns together, computed from the events.
fn expected(events: &[Event], campaigns: &[usize], day: Option<usize>) -> [Option<f64>; 8] {
    kinds().map(|(kind, of_sent)| {
        let (mut part, mut whole) = (0, 0);
        for campaign in campaigns {
            let [sent, reached] = cohorts(events, *campaign, day);
            let cohort = if of_sent { sent } else { reached };
            let had = first(events, *campaign, kind);
            whole += cohort.len();
            part += cohort.iter().filter(|who| had.contains_key(who)).count();
        }
        (whole > 0).then(|| part as f64 / whole as f64)
    })
}

#[track_caller]
fn are_shares(of: &CampaignPerformance) {
    for rate in rates(of).into_iter().flatten() {
        assert!((0.0..=1.0).contains(&rate), "{of:?}");
    }
}

fn story() -> impl Strategy<Value = Vec<Event>> {
    let kinds = (1..).map_while(|number| CampaignEventKind::try_from(number).ok());
    let kind = prop_oneof![
        prop::sample::select(vec![Sent, Delivered, Opened]),
        prop::sample::select(kinds.collect::<Vec<_>>())
    ];
    prop::collection::vec((0..CAMPAIGNS, 0..CUSTOMERS, kind, 1..6_usize), 1..40).prop_shuffle()
}

/// Sends the events to a new tenant, each twice. Returns the campaigns.
async fn tell(tenant: &Tenant, events: &[Event]) -> Vec<String> {
    let (mut campaigns, mut customers) = (Vec::new(), Vec::new());
    for number in 0..CAMPAIGNS {
        campaigns.push(tenant.campaign(&format!("{number}")).await.id);
    }
    for number in 0..CUSTOMERS {
        customers.push(tenant.customer(&format!("{number}")).await.id);
    }
    for (number, campaign) in campaigns.iter().enumerate() {
        let of = events.iter().enumerate().filter(|(_, event)| event.0 == number);
        let batch: Vec<CampaignEvent> = of
            .map(|(place, (_, who, kind, day))| {
                event_at(&place.to_string(), &customers[*who], *kind, &format!("2026-03-{day:02}T12:00:00Z"))
            })
            .collect();
        if batch.is_empty() {
            continue;
        }
        for batch in [batch.clone(), batch] {
            let results = tenant.record(campaign, &batch).await.expect("recorded");
            assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
        }
    }
    campaigns
}

fn march() -> (Option<Timestamp>, Option<Timestamp>) {
    (Some(at("2026-03-01T00:00:00Z")), Some(at("2026-04-01T00:00:00Z")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rate_of_every_answer_is_the_share_that_the_contract_says() {
    const CASES: usize = 10;
    let crm = Crm::start().await;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let events = story().new_tree(&mut runner).expect("a story").current();
        let tenant = crm.tenant();
        let campaigns = tell(&tenant, &events).await;
        for (number, campaign_id) in campaigns.iter().enumerate() {
            let request =
                GetCampaignPerformanceRequest { campaign_id: campaign_id.clone(), ..Default::default() };
            let answer = tenant.performance(request).await.expect("counted");
            let total = answer.total.as_ref().expect("a total");
            are_shares(total);
            assert_eq!(rates(total), expected(&events, &[number], None), "{events:?}");
            let (mut sent, mut reached) = (0, 0);
            for day in &answer.days {
                let of = day.performance.as_ref().expect("a performance");
                are_shares(of);
                let date = day.date.rsplit('-').next().and_then(|day| day.parse().ok()).expect("a day");
                assert_eq!(rates(of), expected(&events, &[number], Some(date)), "{} {events:?}", day.date);
                sent += of.sent_customer_count;
                reached += of.reached_customer_count;
            }
            assert_eq!((sent, reached), (total.sent_customer_count, total.reached_customer_count));
        }
        let (time_from, time_until) = march();
        let request = GetCampaignStatisticsRequest { time_from, time_until, ..Default::default() };
        let answer = tenant.campaign_statistics(request).await.expect("counted");
        let total = answer.total.as_ref().expect("a total");
        assert_eq!(rates(total), expected(&events, &[0, 1], None), "{events:?}");
        for campaign in &answer.campaigns {
            let number = campaigns.iter().position(|id| *id == campaign.campaign_id).expect("a campaign");
            let of = campaign.performance.as_ref().expect("a performance");
            assert_eq!(rates(of), expected(&events, &[number], None), "{events:?}");
        }
        for grouping in 0..3 {
            let request =
                GetConversionFunnelRequest { time_from, time_until, grouping, ..Default::default() };
            let steps = vec![1, 2, 5];
            for request in [request.clone(), GetConversionFunnelRequest { steps, ..request }] {
                let answer = tenant.funnel(request).await.expect("counted");
                for step in answer.funnels.iter().flat_map(|funnel| &funnel.steps) {
                    for rate in [step.rate_of_entry, step.rate_of_previous].into_iter().flatten() {
                        assert!((0.0..=1.0).contains(&rate), "{step:?} {events:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_what_was_not_delivered_makes_no_rate_of_two_and_tuesday_counts_for_monday() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    // Customer 0 is reached on the second and opens it on the third; customer 1 opens it without a delivery.
    let events = [(0, 0, Delivered, 2), (0, 0, Opened, 3), (0, 1, Opened, 3)];
    let campaign_id = tell(&tenant, &events).await.swap_remove(0);
    let request = GetCampaignPerformanceRequest { campaign_id, ..Default::default() };
    let answer = tenant.performance(request).await.expect("counted");
    let total = answer.total.expect("a total");
    assert_eq!((total.open_rate, total.reached_customer_count), (Some(1.0), 1));
    let days: Vec<_> = answer.days.iter().filter_map(|day| day.performance.as_ref()).collect();
    let shown: Vec<_> = days.iter().map(|day| (day.open_rate, day.reached_customer_count)).collect();
    assert_eq!(shown, [(Some(1.0), 1), (None, 0)]);
    assert_eq!(days[1].counts[0].event_count, 2, "what happened on the third is counted there");
}
