//! GetCampaignStatistics.

use crm_backend::pb::{
    Campaign, CampaignEventKind, CampaignPerformance, CampaignStatus, GetCampaignStatisticsRequest,
};

use crate::support::campaigns::{as_status, at, euros, event_at, planned};
use crate::support::{Crm, Refusal, Tenant};

const FROM: &str = "2026-01-01T00:00:00Z";
const UNTIL: &str = "2026-02-01T00:00:00Z";

fn january() -> GetCampaignStatisticsRequest {
    GetCampaignStatisticsRequest {
        time_from: Some(at(FROM)),
        time_until: Some(at(UNTIL)),
        ..Default::default()
    }
}

/// Creates a tenant whose campaigns had events around January.
async fn busy(tenant: &Tenant) -> [String; 3] {
    let (ana, ben) = (tenant.customer("Ana").await.id, tenant.customer("Ben").await.id);
    let spring = Campaign { budget: Some(euros(100)), ..planned("spring") };
    let spring = tenant.plan(spring).await.expect("a campaign");
    let summer = tenant.campaign("summer").await;
    let silent = tenant.campaign("silent").await;
    tenant.revise_campaign(as_status(&silent, CampaignStatus::Active), &["status"]).await.expect("begun");
    let of_spring = [
        event_at("1", &ana, CampaignEventKind::Sent, FROM),
        event_at("2", &ben, CampaignEventKind::Sent, "2026-01-31T23:59:59.999999Z"),
        event_at("3", &ana, CampaignEventKind::Opened, "2026-01-02T00:00:00Z"),
        event_at("4", &ana, CampaignEventKind::Opened, UNTIL),
        event_at("5", &ben, CampaignEventKind::Opened, "2025-12-31T23:59:59.999999Z"),
    ];
    tenant.record(&spring.id, &of_spring).await.expect("recorded");
    let of_summer = [event_at("6", &ana, CampaignEventKind::Clicked, "2026-01-03T00:00:00Z")];
    tenant.record(&summer.id, &of_summer).await.expect("recorded");
    let of_silent = [event_at("7", &ana, CampaignEventKind::Clicked, UNTIL)];
    tenant.record(&silent.id, &of_silent).await.expect("recorded");
    [spring.id, summer.id, silent.id]
}

/// Returns kinds with their events and customers.
fn counts(performance: &CampaignPerformance) -> Vec<(CampaignEventKind, i64, i64)> {
    let counts = performance.counts.iter();
    counts.map(|count| (count.kind(), count.event_count, count.customer_count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_count_by_what_happened_in_the_window() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let [spring, summer, _] = busy(&tenant).await;
    busy(&other).await;
    let answer = tenant.campaign_statistics(january()).await.expect("an answer");
    let window = answer.window.as_ref().expect("a window");
    assert_eq!((window.time_from, window.time_until), (Some(at(FROM)), Some(at(UNTIL))));
    let statuses: Vec<_> =
        answer.statuses.iter().map(|count| (count.value.as_str(), count.row_count)).collect();
    assert_eq!(statuses, [("CAMPAIGN_STATUS_DRAFT", 2), ("CAMPAIGN_STATUS_ACTIVE", 1)]);
    let total = answer.total.as_ref().expect("a total");
    let expected = [
        (CampaignEventKind::Sent, 2, 2),
        (CampaignEventKind::Opened, 1, 1),
        (CampaignEventKind::Clicked, 1, 1),
    ];
    assert_eq!((counts(total), total.customer_count, &total.cost), (expected.to_vec(), 2, &None));
    let ids: Vec<_> = answer.campaigns.iter().map(|campaign| &campaign.campaign_id).collect();
    assert_eq!(ids, [&spring, &summer]);
    let numbers = answer.campaigns.iter().filter_map(|campaign| campaign.performance.as_ref()).chain([total]);
    for count in numbers.flat_map(|performance| &performance.counts) {
        let request = count.rows.clone().expect("a request");
        let listed = tenant.all_events(request).await.len();
        assert_eq!(i64::try_from(listed).ok(), Some(count.event_count), "{count:?}");
    }
    for status in &answer.statuses {
        assert_eq!(tenant.listed(status.rows.as_ref().expect("a request")).await, status.row_count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_none_is_refused() {
    let crm = Crm::start().await;
    let request = GetCampaignStatisticsRequest { time_until: Some(at(FROM)), ..january() };
    crm.tenant().campaign_statistics(request).await.expect_err("no window").is_invalid(&["time_from"]);
    let request = GetCampaignStatisticsRequest { attribution: 9, ..january() };
    crm.tenant().campaign_statistics(request).await.expect_err("no word").is_invalid(&["attribution"]);
}
