//! GetCustomerStatistics.

use std::collections::BTreeMap;

use crm_backend::pb::{
    Conversation, ConversationEnvironment, Customer, CustomerStatus, DashboardCount,
    GetCustomerStatisticsRequest, GetCustomerStatisticsResponse, GrowthPeriod,
};
use crm_testkit::Sql;

use crate::support::campaigns::at;
use crate::support::customers::named;
use crate::support::{Crm, Refusal, Tenant};

/// Returns values with their counts.
fn pairs(counts: &[DashboardCount]) -> Vec<(&str, i64)> {
    counts.iter().map(|count| (count.value.as_str(), count.row_count)).collect()
}

/// Returns every number of an answer, with the request that lists its rows.
fn numbers(answer: &GetCustomerStatisticsResponse) -> impl Iterator<Item = &DashboardCount> {
    let all = [&answer.statuses, &answer.industry_categories, &answer.sources].into_iter().flatten();
    let growth = answer.growth.iter().filter_map(|growth| growth.created.as_ref());
    all.chain(&answer.total).chain(&answer.created).chain(growth)
}

/// Compares every number with the rows that its own request lists.
async fn lists_its_rows(tenant: &Tenant, answer: &GetCustomerStatisticsResponse) {
    for number in numbers(answer) {
        match &number.rows {
            Some(rows) => assert_eq!(tenant.listed(rows).await, number.row_count, "{number:?}"),
            None => assert_eq!(number.value, "", "only what says nothing cannot be listed"),
        }
    }
}

async fn customer(tenant: &Tenant, status: CustomerStatus, industry: &str, source: &str) -> Customer {
    let request = Customer {
        status: status.into(),
        industry_category: industry.to_owned(),
        source: source.to_owned(),
        ..named("Café Zoë")
    };
    tenant.create(request).await.expect("a customer")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_customers_count_by_what_they_are_now() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    customer(&other, CustomerStatus::Churned, "ships", "fair").await;
    customer(&tenant, CustomerStatus::Active, "food", "web").await;
    customer(&tenant, CustomerStatus::Lead, "food", "").await;
    customer(&tenant, CustomerStatus::Lead, "Food", "web").await;
    let moved = customer(&tenant, CustomerStatus::Prospect, "cars", "fair").await;
    let wanted = Customer { status: CustomerStatus::Blocked.into(), source: "web".to_owned(), ..moved };
    tenant.update(wanted, &["status", "source"]).await.expect("changed");
    let gone = customer(&tenant, CustomerStatus::Churned, "ships", "fair").await;
    let back = customer(&tenant, CustomerStatus::Inactive, "ships", "web").await;
    for id in [&gone.id, &back.id] {
        tenant.delete(id).await.expect("deleted");
    }
    tenant.undelete(&back.id).await.expect("back");

    let answer = tenant.customer_statistics(Default::default()).await.expect("an answer");
    assert_eq!(answer.total.as_ref().map(|total| total.row_count), Some(5));
    assert_eq!(answer.created.as_ref().map(|created| created.row_count), Some(5));
    assert_eq!(
        pairs(&answer.statuses),
        [
            ("CUSTOMER_STATUS_LEAD", 2),
            ("CUSTOMER_STATUS_ACTIVE", 1),
            ("CUSTOMER_STATUS_INACTIVE", 1),
            ("CUSTOMER_STATUS_BLOCKED", 1)
        ]
    );
    assert_eq!(pairs(&answer.industry_categories), [("food", 2), ("Food", 1), ("cars", 1), ("ships", 1)]);
    assert_eq!(pairs(&answer.sources), [("web", 4), ("", 1)]);
    lists_its_rows(&tenant, &answer).await;
    let nobody = crm.tenant().customer_statistics(Default::default()).await.expect("an answer");
    assert_eq!(nobody.total.map(|total| total.row_count), Some(0));
    assert_eq!((nobody.statuses.len(), nobody.sources.len(), nobody.active_count), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_nothing_counts_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = customer(&tenant, CustomerStatus::Active, "food", "web").await;
    let sql = crm.sql().await;
    let changes = "SELECT sum(revision)::bigint FROM customer_counts";
    let before = sql.number(changes).await;
    tenant.update(Customer { city: "Graz".to_owned(), ..zoe.clone() }, &["city"]).await.expect("changed");
    let same = Customer { etag: String::new(), ..zoe.clone() };
    tenant.update(same, &["status", "source", "industry_category"]).await.expect("the same");
    tenant.create(Customer { slug: zoe.slug.clone(), ..named("Zoe") }).await.expect_err("taken");
    assert_eq!(sql.number(changes).await, before);
    assert_eq!(sql.number("SELECT count(DISTINCT shard) FROM customer_counts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_hundred_values_are_those_that_most_have() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    sql.run(&format!(
        "INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers)
         SELECT '{}', 'SOURCE', 'source ' || n, n % 3, n FROM generate_series(0, 150) n",
        tenant.id
    ))
    .await;
    let answer = tenant.customer_statistics(Default::default()).await.expect("an answer");
    assert_eq!(answer.sources.len(), 100);
    assert_eq!(pairs(&answer.sources)[..2], [("source 150", 150), ("source 149", 149)]);
    assert_eq!(answer.sources[99].row_count, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn active_customers_are_those_with_a_real_conversation_in_the_window() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let open =
        async |tenant: &Tenant, customer_id: &str, environment: ConversationEnvironment, start: &str| {
            let request = Conversation {
                customer_id: customer_id.to_owned(),
                environment: environment.into(),
                start_time: Some(at(start)),
                ..Default::default()
            };
            tenant.open(request).await.expect("a conversation");
        };
    let (ana, ben) = (tenant.customer("Ana").await.id, tenant.customer("Ben").await.id);
    open(&tenant, &ana, ConversationEnvironment::Live, "2026-01-10T00:00:00Z").await;
    open(&tenant, &ana, ConversationEnvironment::Live, "2026-01-20T00:00:00Z").await;
    open(&tenant, &ben, ConversationEnvironment::Test, "2026-01-15T00:00:00Z").await;
    open(&tenant, &ben, ConversationEnvironment::Live, "2026-02-01T00:00:00Z").await;
    open(&other, &other.customer("Zoe").await.id, ConversationEnvironment::Live, "2026-01-15T00:00:00Z")
        .await;
    let answer = |from: &str, until: &str| {
        let request = GetCustomerStatisticsRequest {
            time_from: Some(at(from)),
            time_until: Some(at(until)),
            ..Default::default()
        };
        let tenant = tenant.clone();
        async move { tenant.customer_statistics(request).await.expect("an answer") }
    };
    for (from, until, active, rows) in [
        ("2026-01-10T00:00:00Z", "2026-02-01T00:00:00Z", 1, 2),
        ("2026-01-10T00:00:00Z", "2026-02-01T00:00:00.000001Z", 2, 3),
        ("2026-01-10T00:00:00.000001Z", "2026-01-20T00:00:00Z", 0, 0),
    ] {
        let answer = answer(from, until).await;
        assert_eq!(answer.active_count, active, "{from}");
        assert_eq!(tenant.listed(&answer.active_rows.expect("a request")).await, rows, "{from}");
    }
}

/// Creates customers with these creation times.
async fn created_at(sql: &Sql, tenant: &Tenant, times: &[&str]) {
    for time in times {
        let id = tenant.customer("Zoe").await.id;
        sql.run(&format!("UPDATE customers SET created_at = '{time}' WHERE id = '{id}'")).await;
    }
}

fn growth_in(zone: &str, period: GrowthPeriod, from: &str, until: &str) -> GetCustomerStatisticsRequest {
    GetCustomerStatisticsRequest {
        time_from: Some(at(from)),
        time_until: Some(at(until)),
        time_zone: zone.to_owned(),
        growth_period: period.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_goes_by_the_days_of_the_time_zone() {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let cases = [
        // Clocks go forward on the 29th, which has 23 hours, and back on October 25th, which has
        // 25.
        (
            ("Europe/Berlin", "2026-03-27T23:00:00Z", "2026-03-31T00:00:00Z"),
            vec![
                "2026-03-28T22:59:59.999999Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T21:59:59Z",
                "2026-03-29T22:00:00Z",
            ],
            vec![("2026-03-28", 1), ("2026-03-29", 2), ("2026-03-30", 1), ("2026-03-31", 0)],
        ),
        (
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-26T23:00:00Z"),
            vec!["2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"],
            vec![("2026-10-25", 2), ("2026-10-26", 1)],
        ),
        // An offset with half an hour, and an hour more in summer.
        (
            ("America/St_Johns", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z"),
            vec![
                "2026-03-08T03:29:59Z",
                "2026-03-08T03:30:00Z",
                "2026-03-09T02:29:59Z",
                "2026-03-09T02:30:00Z",
            ],
            vec![("2026-03-07", 1), ("2026-03-08", 2), ("2026-03-09", 1)],
        ),
        // November 4th had no midnight.
        (
            ("America/Sao_Paulo", "2018-11-03T03:00:00Z", "2018-11-05T12:00:00Z"),
            vec![
                "2018-11-04T02:59:59Z",
                "2018-11-04T03:00:00Z",
                "2018-11-05T01:59:59Z",
                "2018-11-05T02:00:00Z",
            ],
            vec![("2018-11-03", 1), ("2018-11-04", 2), ("2018-11-05", 1)],
        ),
        (
            ("Africa/Cairo", "2026-04-23T21:00:00Z", "2026-04-25T12:00:00Z"),
            vec![
                "2026-04-23T21:59:59Z",
                "2026-04-23T22:00:00Z",
                "2026-04-24T20:59:59Z",
                "2026-04-24T21:00:00Z",
            ],
            vec![("2026-04-23", 1), ("2026-04-24", 2), ("2026-04-25", 1)],
        ),
    ];
    for ((zone, from, until), times, days) in cases {
        let tenant = crm.tenant();
        created_at(&sql, &tenant, &times).await;
        let request = growth_in(zone, GrowthPeriod::Unspecified, from, until);
        let answer = tenant.customer_statistics(request).await.expect("an answer");
        let growth: Vec<_> = answer
            .growth
            .iter()
            .map(|growth| {
                (growth.date.as_str(), growth.created.as_ref().map_or(-1, |created| created.row_count))
            })
            .collect();
        assert_eq!(growth, days, "{zone}");
        assert_eq!(answer.window.as_ref().map(|window| window.time_zone.as_str()), Some(zone));
        lists_its_rows(&tenant, &answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_goes_by_weeks_and_months_that_the_window_cuts() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let times =
        ["2026-01-31T23:30:00Z", "2026-02-01T22:00:00Z", "2026-02-02T00:00:00Z", "2026-03-02T00:00:00Z"];
    created_at(&crm.sql().await, &tenant, &times).await;
    let growth = async |zone: &str, period, from: &str, until: &str| -> BTreeMap<String, i64> {
        let answer =
            tenant.customer_statistics(growth_in(zone, period, from, until)).await.expect("an answer");
        lists_its_rows(&tenant, &answer).await;
        let growth = answer.growth.into_iter();
        growth.map(|growth| (growth.date, growth.created.expect("a number").row_count)).collect()
    };
    let of = |pairs: &[(&str, i64)]| {
        pairs.iter().map(|(date, count)| ((*date).to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };
    let (from, until) = ("2026-01-31T23:00:00Z", "2026-03-02T00:00:00Z");
    let weeks = growth("", GrowthPeriod::Week, from, until).await;
    let expected =
        of(&[("2026-01-26", 2), ("2026-02-02", 1), ("2026-02-09", 0), ("2026-02-16", 0), ("2026-02-23", 0)]);
    assert_eq!(weeks, expected);
    let months = growth("Europe/Berlin", GrowthPeriod::Month, from, until).await;
    assert_eq!(months, of(&[("2026-02-01", 3), ("2026-03-01", 0)]));
    let months = growth("America/New_York", GrowthPeriod::Month, from, "2026-03-02T00:00:01Z").await;
    assert_eq!(months, of(&[("2026-01-01", 1), ("2026-02-01", 2), ("2026-03-01", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_said_back_and_one_that_is_none_is_refused() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let answer = tenant.customer_statistics(Default::default()).await.expect("an answer");
    let window = answer.window.expect("a window");
    let (from, until) = (window.time_from.expect("a time"), window.time_until.expect("a time"));
    assert_eq!((until.seconds - from.seconds, from.nanos), (30 * 86_400, until.nanos));
    assert_eq!(window.time_zone, "UTC");
    let request = |from: Option<&str>, until: Option<&str>| GetCustomerStatisticsRequest {
        time_from: from.map(at),
        time_until: until.map(at),
        ..Default::default()
    };
    let day = "2026-01-01T00:00:00Z";
    for (from, until) in [
        (Some(day), Some(day)),
        (Some("2026-01-02T00:00:00Z"), Some(day)),
        (Some("2024-01-01T00:00:00Z"), Some(day)),
    ] {
        let refused = tenant.customer_statistics(request(from, until)).await.expect_err("no window");
        refused.is_invalid(&["time_from"]);
        let refused = tenant
            .conversation_statistics(crm_backend::pb::GetConversationStatisticsRequest {
                time_from: from.map(at),
                time_until: until.map(at),
                ..Default::default()
            })
            .await;
        refused.expect_err("no window").is_invalid(&["time_from"]);
        let refused = tenant.funnel(crm_backend::pb::GetConversionFunnelRequest {
            time_from: from.map(at),
            time_until: until.map(at),
            ..Default::default()
        });
        refused.await.expect_err("no window").is_invalid(&["time_from"]);
    }
    let nowhere = GetCustomerStatisticsRequest { time_zone: "Mars/Olympus".to_owned(), ..Default::default() };
    tenant.customer_statistics(nowhere).await.expect_err("no zone").is_invalid(&["time_zone"]);
}
