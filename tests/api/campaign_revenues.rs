//! The revenue of campaigns.

use crm_backend::pb::{
    Campaign, CampaignAttribution, CampaignEventKind, GetCampaignPerformanceRequest, Money, PurchaseRevenue,
};
use crm_testkit::Sql;

use crate::campaign_performance::{customers, of, record};
use crate::support::campaigns::{at, event_at};
use crate::support::{Crm, Tenant};

use CampaignEventKind::{Clicked, Converted, Opened, Replied, Sent};

/// A recorded purchase and its refund, in whole euros or another currency.
pub(crate) struct Purchase<'p> {
    pub(crate) customer: &'p str,
    pub(crate) campaign: Option<&'p Campaign>,
    pub(crate) currency: &'p str,
    pub(crate) amount: i64,
    pub(crate) refunded: i64,
    pub(crate) time: &'p str,
}

impl Purchase<'_> {
    pub(crate) async fn insert(&self, sql: &Sql, tenant: &Tenant) {
        let Self { customer, campaign, currency, amount, refunded, time } = self;
        let campaign = campaign.map_or("NULL".to_owned(), |campaign| format!("'{}'", campaign.id));
        sql.run(&format!(
            "INSERT INTO purchases (tenant_id, id, customer_id, campaign_id, currency, amount_micros,
                 refunded_micros, purchased_at)
             VALUES ('{}', gen_random_uuid(), '{customer}', {campaign}, '{currency}', {amount} * 1000000,
                 {refunded} * 1000000, '{time}')",
            tenant.id
        ))
        .await;
    }
}

/// Returns revenues in short: currency, purchases, customers, gross, refunded, net.
fn revenues(found: &[PurchaseRevenue]) -> Vec<(String, i64, i64, i64, i64, i64)> {
    let units = |amount: &Option<Money>| amount.as_ref().expect("an amount").units;
    let short = |revenue: &PurchaseRevenue| {
        let PurchaseRevenue { purchase_count, customer_count, gross, refunded, net } = revenue;
        let currency = gross.as_ref().expect("an amount").currency_code.clone();
        (currency, *purchase_count, *customer_count, units(gross), units(refunded), units(net))
    };
    found.iter().map(short).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_a_campaigns_directly_or_by_the_first_or_last_touch() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let ids = customers(&tenant, 4).await;
    let (first, last) = (tenant.campaign("First").await, tenant.campaign("Last").await);
    let touch = async |campaign: &Campaign, customer: usize, kind, time: &str| {
        record(
            &tenant,
            campaign,
            &[event_at(&format!("{} {customer} {time}", campaign.name), &ids[customer], kind, time)],
        )
        .await;
    };
    // Recorded late and out of order; a message that was only sent is not a touch.
    touch(&last, 0, Clicked, "2026-03-10T08:00:00Z").await;
    touch(&first, 0, Opened, "2026-03-01T08:00:00Z").await;
    touch(&last, 0, Sent, "2026-02-01T08:00:00Z").await;
    touch(&first, 0, Replied, "2026-03-11T08:00:01Z").await;
    // The time of the purchase itself counts, and so do exactly 90 days before.
    touch(&last, 1, Converted, "2026-03-11T08:00:00Z").await;
    touch(&first, 1, Opened, "2025-12-11T08:00:00Z").await;
    touch(&first, 2, Opened, "2025-12-11T07:59:59.999999Z").await;
    // At the same time the ids decide.
    touch(&last, 3, Opened, "2026-03-05T08:00:00Z").await;
    touch(&first, 3, Opened, "2026-03-05T08:00:00Z").await;
    assert!(first.id < last.id);
    for (customer, campaign, currency, amount, refunded) in [
        (0, None, "EUR", 100, 30),
        (1, Some(&last), "EUR", 50, 0),
        (1, Some(&last), "USD", 7, 7),
        (2, None, "EUR", 20, 0),
        (3, Some(&first), "EUR", 1, 0),
    ] {
        let time = "2026-03-11T08:00:00Z";
        Purchase { customer: &ids[customer], campaign, currency, amount, refunded, time }
            .insert(&sql, &tenant)
            .await;
    }
    let euros = |purchases, customers, gross, refunded| {
        ("EUR".to_owned(), purchases, customers, gross, refunded, gross - refunded)
    };
    let dollars = ("USD".to_owned(), 1, 1, 7, 7, 0);
    for (campaign, attribution, expected) in [
        (&first, CampaignAttribution::Unspecified, vec![euros(1, 1, 1, 0)]),
        (&first, CampaignAttribution::Direct, vec![euros(1, 1, 1, 0)]),
        (&last, CampaignAttribution::Direct, vec![euros(1, 1, 50, 0), dollars.clone()]),
        (&first, CampaignAttribution::FirstTouch, vec![euros(3, 3, 151, 30), dollars.clone()]),
        (&last, CampaignAttribution::FirstTouch, vec![]),
        (&first, CampaignAttribution::LastTouch, vec![]),
        (&last, CampaignAttribution::LastTouch, vec![euros(3, 3, 151, 30), dollars.clone()]),
    ] {
        let request = GetCampaignPerformanceRequest { attribution: attribution.into(), ..of(campaign) };
        let answer = tenant.performance(request.clone()).await.expect("counted");
        let total = answer.total.expect("a total");
        assert_eq!(revenues(&total.revenues), expected, "{} by {attribution:?}", campaign.name);
        // They belong to the day of the purchase, regardless of that day's events.
        let on_the_day = answer.days.iter().find(|day| day.date == "2026-03-11");
        let of_the_day = on_the_day.and_then(|day| day.performance.as_ref());
        let of_the_day = of_the_day.map_or(vec![], |performance| revenues(&performance.revenues));
        assert_eq!(of_the_day, expected);
        let before =
            GetCampaignPerformanceRequest { time_until: Some(at("2026-03-11T08:00:00Z")), ..request };
        let total = tenant.performance(before).await.expect("counted").total.expect("a total");
        assert_eq!(total.revenues, [], "before they were paid");
    }
    // Purchases that are unpaid or voided do not count.
    for status in ["PENDING", "FAILED", "VOIDED"] {
        sql.run(&format!("UPDATE purchases SET status = '{status}'")).await;
        for attribution in [CampaignAttribution::Direct, CampaignAttribution::LastTouch] {
            let request = GetCampaignPerformanceRequest { attribution: attribution.into(), ..of(&last) };
            let answer = tenant.performance(request).await.expect("counted");
            assert_eq!(answer.total.expect("a total").revenues, [], "{status}");
        }
    }
}
