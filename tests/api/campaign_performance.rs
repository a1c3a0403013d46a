//! The counts of campaigns.

use crm_backend::pb::{
    Campaign, CampaignEvent, CampaignEventKind, CampaignPerformance, GetCampaignPerformanceRequest,
    GetCampaignPerformanceResponse, Money,
};
use tonic::Code;
use uuid::Uuid;

use crate::campaign_revenues::Purchase;
use crate::support::campaigns::{Outcome, at, euros, event, event_at, money, planned};
use crate::support::{Crm, Refusal, Tenant};

use CampaignEventKind::{Bounced, Clicked, Converted, Delivered, Opened, OptedOut, Replied, Sent};

pub(crate) fn of(campaign: &Campaign) -> GetCampaignPerformanceRequest {
    GetCampaignPerformanceRequest { campaign_id: campaign.id.clone(), ..Default::default() }
}

/// The counts of a performance: kind, events, customers.
fn counts(performance: &CampaignPerformance) -> Vec<(CampaignEventKind, i64, i64)> {
    performance.counts.iter().map(|count| (count.kind(), count.event_count, count.customer_count)).collect()
}

pub(crate) async fn customers(tenant: &Tenant, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(tenant.customer(&format!("Customer {number}")).await.id);
    }
    ids
}

pub(crate) async fn record(tenant: &Tenant, campaign: &Campaign, events: &[CampaignEvent]) {
    for result in tenant.record(&campaign.id, events).await.expect("recorded") {
        assert_eq!(result.error(), None, "{result:?}");
    }
}

/// Checks that every number agrees with the list of its rows.
pub(crate) async fn rows_agree(tenant: &Tenant, answer: &GetCampaignPerformanceResponse) {
    let days = answer.days.iter().map(|day| day.performance.as_ref().expect("a performance"));
    for performance in days.chain(&answer.total) {
        for count in &performance.counts {
            let rows = tenant.all_events(count.rows.clone().expect("rows")).await;
            assert_eq!(rows.len(), usize::try_from(count.event_count).expect("a count"), "{count:?}");
            let customers: std::collections::BTreeSet<_> =
                rows.iter().map(|event| &event.customer_id).collect();
            assert_eq!(customers.len(), usize::try_from(count.customer_count).expect("a count"));
            assert!(rows.iter().all(|event| event.kind() == count.kind()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_customers_are_counted_by_kind_and_rated_by_whom_it_reached() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let ids = customers(&tenant, 5).await;
    let campaign = tenant.campaign("Spring").await;
    tenant.assign(&campaign.id, &[&ids[0], &ids[1]]).await.expect("assigned");
    let mut events = Vec::new();
    let mut happened = |kind, who: &[usize]| {
        for customer in who {
            events.push(event(&format!("{}", events.len()), &ids[*customer], kind));
        }
    };
    happened(Sent, &[0, 1, 2, 3, 0]);
    happened(Bounced, &[3]);
    happened(Delivered, &[0, 1]);
    happened(Opened, &[0, 0, 0]);
    happened(Converted, &[0, 4]);
    happened(OptedOut, &[1]);
    record(&tenant, &campaign, &events).await;
    let answer = tenant.performance(of(&campaign)).await.expect("counted");
    let total = answer.total.clone().expect("a total");
    let expected = [
        (Sent, 5, 4),
        (Bounced, 1, 1),
        (Delivered, 2, 2),
        (Opened, 3, 1),
        (Converted, 2, 2),
        (OptedOut, 1, 1),
    ];
    assert_eq!(counts(&total), expected);
    assert_eq!((total.customer_count, answer.assigned_count), (5, 2));
    assert_eq!((total.delivery_rate, total.bounce_rate), (Some(0.5), Some(0.25)));
    assert_eq!((total.open_rate, total.click_rate, total.reply_rate), (Some(0.5), Some(0.0), Some(0.0)));
    assert_eq!((total.conversion_rate, total.opt_out_rate), (Some(0.5), Some(0.5)));
    assert_eq!((total.cost, total.cost_per_conversion), (None, None), "it has no currency");
    assert_eq!(total.revenues, []);
    rows_agree(&tenant, &answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_campaign_in_which_nothing_happened_there_is_nothing() {
    let crm = Crm::start().await;
    let (tenant, stranger) = (crm.tenant(), crm.tenant());
    let campaign = tenant.campaign("Spring").await;
    let answer = tenant.performance(of(&campaign)).await.expect("counted");
    let expected = GetCampaignPerformanceResponse {
        total: Some(CampaignPerformance::default()),
        days: vec![],
        assigned_count: 0,
    };
    assert_eq!(answer, expected);
    let error = stranger.performance(of(&campaign)).await.expect_err("not theirs");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    for time_zone in ["Europe/Bielefeld", "europe/berlin", "+01:00", "UTC\0"] {
        let request = GetCampaignPerformanceRequest { time_zone: time_zone.to_owned(), ..of(&campaign) };
        tenant.performance(request).await.expect_err("no zone").is_invalid(&["time_zone"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_twice_and_shuffled_gives_the_same_numbers() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let ids = customers(&tenant, 7).await;
    let kinds = [Sent, Delivered, Opened, Clicked, Replied, Converted, OptedOut, Bounced];
    let events = |campaign: &str| -> Vec<CampaignEvent> {
        let event = |number: usize| {
            let time = format!("2026-03-{:02}T{:02}:00:00Z", 1 + number % 20, number % 24);
            let id = format!("{campaign} {number}");
            CampaignEvent {
                cost: number
                    .is_multiple_of(3)
                    .then(|| money("EUR", 0, 1_000 * i32::try_from(number).expect("small"))),
                ..event_at(&id, &ids[number % ids.len()], kinds[number % kinds.len()], &time)
            }
        };
        (0..200).map(event).collect()
    };
    let spend = || Campaign { budget: Some(euros(10)), ..planned("Spring") };
    let mut answers = Vec::new();
    for tidy in [true, false] {
        let campaign = tenant.plan(spend()).await.expect("created");
        let mut events = events(&campaign.id);
        if !tidy {
            events.extend(events.clone());
            // A step that reaches every index.
            events = (0..events.len()).map(|number| events[number * 149 % events.len()].clone()).collect();
        }
        for batch in events.chunks(37) {
            record(&tenant, &campaign, batch).await;
        }
        for customer in &ids {
            Purchase {
                customer,
                campaign: Some(&campaign),
                currency: "EUR",
                amount: 9,
                refunded: 2,
                time: "2026-03-10T12:00:00Z",
            }
            .insert(&sql, &tenant)
            .await;
        }
        let answer = tenant.performance(of(&campaign)).await.expect("counted");
        rows_agree(&tenant, &answer).await;
        answers.push(without_rows(answer));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].days.len(), 20);
}

/// Returns only the numbers: rows name the campaign.
fn without_rows(mut answer: GetCampaignPerformanceResponse) -> GetCampaignPerformanceResponse {
    let days = answer.days.iter_mut().filter_map(|day| day.performance.as_mut());
    for performance in days.chain(&mut answer.total) {
        performance.counts.iter_mut().for_each(|count| count.rows = None);
        performance.conversions.iter_mut().for_each(|conversions| conversions.campaign_event_rows = None);
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_those_of_the_time_zone_also_where_clocks_change() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Spring").await;
    let times = [
        // Winter time ends on 2026-03-29 at 01:00Z, so this day has 23 hours.
        ("2026-03-28T22:59:59.999999Z", "2026-03-28"),
        ("2026-03-28T23:00:00Z", "2026-03-29"),
        ("2026-03-29T21:59:59.999999Z", "2026-03-29"),
        ("2026-03-29T22:00:00Z", "2026-03-30"),
        // Winter time returns on 2026-10-25, which has 25 hours.
        ("2026-10-24T21:59:59Z", "2026-10-24"),
        ("2026-10-24T22:00:00Z", "2026-10-25"),
        ("2026-10-25T22:59:59.999999Z", "2026-10-25"),
        ("2026-10-25T23:00:00Z", "2026-10-26"),
    ];
    let events: Vec<_> = times.iter().map(|(time, _)| event_at(time, &zoe, Opened, time)).collect();
    record(&tenant, &campaign, &events).await;
    let in_berlin = GetCampaignPerformanceRequest { time_zone: "Europe/Berlin".to_owned(), ..of(&campaign) };
    let answer = tenant.performance(in_berlin.clone()).await.expect("counted");
    let shown: Vec<_> = answer.days.iter().map(|day| day.date.as_str()).collect();
    let expected = ["2026-03-28", "2026-03-29", "2026-03-30", "2026-10-24", "2026-10-25", "2026-10-26"];
    assert_eq!(shown, expected);
    assert_eq!(answer.days[1].start_time, Some(at("2026-03-28T23:00:00Z")));
    assert_eq!(answer.days[5].start_time, Some(at("2026-10-25T23:00:00Z")));
    for day in &answer.days {
        let events = times.iter().filter(|(_, date)| *date == day.date).count();
        let performance = day.performance.as_ref().expect("a performance");
        assert_eq!(counts(performance), [(Opened, i64::try_from(events).expect("few"), 1)], "{}", day.date);
    }
    rows_agree(&tenant, &answer).await;
    let in_utc = tenant.performance(of(&campaign)).await.expect("counted");
    let shown: Vec<_> = in_utc.days.iter().map(|day| day.date.as_str()).collect();
    assert_eq!(shown, ["2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25"]);
    // A window that begins and ends within a day: the rows are limited to the window too.
    let part = GetCampaignPerformanceRequest {
        time_from: Some(at("2026-03-29T00:00:00Z")),
        time_until: Some(at("2026-10-25T12:00:00Z")),
        ..in_berlin
    };
    let answer = tenant.performance(part).await.expect("counted");
    let total = answer.total.as_ref().expect("a total");
    assert_eq!(counts(total), [(Opened, 4, 1)]);
    assert_eq!(answer.days.len(), 4);
    rows_agree(&tenant, &answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_thousand_days_are_shown_and_all_are_counted() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Always").await;
    // Late in one UTC day and early in the next, which is one day in Berlin; then eight days without events.
    sql.run(&format!(
        "INSERT INTO campaign_events (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at,
             has_occurred_at)
         SELECT '{}', gen_random_uuid(), '{}', n || ' ' || h, '{zoe}', 'SENT',
             timestamptz '2000-01-01 23:30Z' + n * interval '240 hours' + h * interval '2 hours', true
         FROM generate_series(0, 1199) n, generate_series(0, 1) h",
        tenant.id, campaign.id
    ))
    .await;
    let request = GetCampaignPerformanceRequest { time_zone: "Europe/Berlin".to_owned(), ..of(&campaign) };
    let answer = tenant.performance(request).await.expect("counted");
    assert_eq!(counts(answer.total.as_ref().expect("a total")), [(Sent, 2_400, 1)]);
    assert_eq!(answer.days.len(), 1_000);
    for day in &answer.days {
        assert_eq!(counts(day.performance.as_ref().expect("a performance")), [(Sent, 2, 1)], "{}", day.date);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_added_up_exactly_with_what_was_spent_in_the_total() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let ids = customers(&tenant, 3).await;
    let largest = money("EUR", 1_000_000_000_000, 999_999_000);
    let request = Campaign { spent: Some(money("EUR", 5, 1_000)), ..planned("Spring") };
    let campaign = tenant.plan(request).await.expect("created");
    let costly = |number: usize, kind, cost: Money| CampaignEvent {
        cost: Some(cost),
        ..event_at(&format!("{number}"), &ids[number % 3], kind, "2026-03-01T08:00:00Z")
    };
    // The sum of ten of the largest amounts exceeds 64 bits of millionths.
    let mut events: Vec<_> = (0..10).map(|number| costly(number, Sent, largest.clone())).collect();
    events.push(costly(10, Converted, money("EUR", 0, 1_000)));
    events.push(costly(11, Converted, money("EUR", 0, 2_000)));
    events.push(costly(12, Converted, money("EUR", 0, 0)));
    record(&tenant, &campaign, &events).await;
    let answer = tenant.performance(of(&campaign)).await.expect("counted");
    let [day] = answer.days.as_slice() else { panic!("one day: {answer:?}") };
    let day = day.performance.as_ref().expect("a performance");
    assert_eq!(day.cost, Some(money("EUR", 10_000_000_000_009, 999_993_000)));
    assert_eq!(day.cost_per_conversion, Some(money("EUR", 3_333_333_333_336, 666_664_000)), "by three");
    let total = answer.total.expect("a total");
    assert_eq!(total.cost, Some(money("EUR", 10_000_000_000_014, 999_994_000)));
    assert_eq!(total.cost_per_conversion, Some(money("EUR", 3_333_333_333_338, 333_331_000)));
    let quiet = Campaign { budget: Some(euros(7)), ..planned("Quiet") };
    let quiet = tenant.plan(quiet).await.expect("created");
    let total = tenant.performance(of(&quiet)).await.expect("counted").total.expect("a total");
    assert_eq!((total.cost, total.cost_per_conversion), (Some(euros(0)), None), "nobody converted");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_of_one_tenant() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    for tenant in [&ana, &ben] {
        let zoe = tenant.customer("Zoe").await.id;
        let campaign = tenant.campaign("Spring").await;
        record(tenant, &campaign, &[event("a", &zoe, Sent)]).await;
        let total = tenant.performance(of(&campaign)).await.expect("counted").total.expect("a total");
        assert_eq!(counts(&total), [(Sent, 1, 1)]);
    }
    let unknown = Campaign { id: Uuid::now_v7().to_string(), ..Default::default() };
    let error = ana.performance(of(&unknown)).await.expect_err("no campaign");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
}
