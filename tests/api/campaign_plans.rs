//! The reads of campaigns: lists read a page of an index, a batch looks up its own rows, and counts read an index
//! without rows.

use crm_backend::pb::{
    AssignmentStatus, Campaign, CampaignEventKind, CampaignStatus, ContactChannel, Customer,
    GetCampaignPerformanceRequest, ListCampaignCustomersRequest, ListCampaignEventsRequest,
    ListCampaignsRequest, ListCustomersRequest,
};
use uuid::Uuid;

use crate::plans::hold;
use crate::support::campaigns::{Outcome, as_status, at, event, planned};
use crate::support::citus::Citus;
use crate::support::customers::named;
use crate::support::sql::{multiply_conversations, multiply_customers, settle};
use crate::support::{Crm, Tenant};

/// A tenant with 2,000 customers and two campaigns for all of them, with five events per customer and campaign, and
/// with many campaigns without events; beside another tenant with as much.
struct Large {
    crm: Crm,
    tenant: Tenant,
    campaign: String,
    customers: Vec<String>,
}

impl Large {
    async fn new() -> Self {
        let crm = Crm::start().await;
        let sql = crm.sql().await;
        let (tenant, other) = (crm.tenant(), crm.tenant());
        let mut campaign = String::new();
        for tenant in [&other, &tenant] {
            tenant.create(Customer { source: "fair".to_owned(), ..named("Bakery") }).await.expect("created");
            multiply_customers(&sql, tenant, 1_999).await;
            tenant.create(Customer { source: "web".to_owned(), ..named("Rare") }).await.expect("created");
            for name in ["First", "Second"] {
                campaign = tenant.campaign(name).await.id;
                tenant.assign_found(&campaign, ListCustomersRequest::default()).await.expect("assigned");
                fill(&sql, &campaign).await;
            }
            multiply_campaigns(&sql, &campaign, 2_000).await;
        }
        let rare = Campaign { channel: ContactChannel::Post.into(), ..planned("Rare") };
        let rare = tenant.plan(rare).await.expect("created");
        tenant.revise_campaign(as_status(&rare, CampaignStatus::Active), &[]).await.expect("active");
        tenant.conversation().await;
        multiply_conversations(&sql, &tenant, 1_000).await;
        // The customer of the conversation was created later, and is in no campaign.
        let assigned = format!(
            "SELECT DISTINCT customer_id FROM campaign_customers WHERE campaign_id = '{campaign}' ORDER BY 1"
        );
        let customers = sql.texts(&assigned).await;
        settle(
            &sql,
            &[
                "conversations",
                "campaigns",
                "campaign_customers",
                "campaign_events",
                "customers",
                "purchases",
                "interest_events",
            ],
        )
        .await;
        Self { crm, tenant, campaign, customers }
    }
}

/// Adds five events for every customer of a campaign, with one conversion overall.
async fn fill(sql: &crm_testkit::Sql, campaign: &str) {
    sql.run(&format!(
        "INSERT INTO campaign_events (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at,
             has_occurred_at)
         SELECT a.tenant_id, gen_random_uuid(), a.campaign_id, a.campaign_id || ' ' || a.customer_id || ' ' || k.n, a.customer_id, k.kind,
             timestamptz '2026-03-01 08:00Z' + row_number() OVER () * interval '1 s', true
         FROM campaign_customers a, (VALUES (1, 'SENT'), (2, 'DELIVERED'), (3, 'OPENED'), (4, 'CLICKED'),
             (5, 'REPLIED')) k (n, kind) WHERE a.campaign_id = '{campaign}';
         UPDATE campaign_events SET kind = 'CONVERTED' WHERE id = (SELECT id FROM campaign_events
             WHERE campaign_id = '{campaign}' ORDER BY occurred_at OFFSET 5000 LIMIT 1);
         INSERT INTO purchases (tenant_id, id, customer_id, campaign_id, currency, amount_micros, purchased_at)
         SELECT a.tenant_id, gen_random_uuid(), a.customer_id, CASE WHEN n = 1 THEN a.campaign_id END, 'EUR', 1,
             timestamptz '2026-03-01 08:00Z' + row_number() OVER () * interval '1 s'
         FROM (SELECT * FROM campaign_customers WHERE campaign_id = '{campaign}' LIMIT 100) a,
             generate_series(1, 20) n"
    ))
    .await;
}

/// Adds `copies` of a campaign, each a millisecond younger.
async fn multiply_campaigns(sql: &crm_testkit::Sql, campaign: &str, copies: u32) {
    sql.run(&format!(
        "INSERT INTO campaigns SELECT copy.* FROM campaigns c, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(c, jsonb_build_object(
             'id', gen_random_uuid(), 'created_at', c.created_at + n * interval '1 ms')) copy
         WHERE c.id = '{campaign}'"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_campaigns_reads_a_page_of_an_index() {
    let Large { crm, tenant, .. } = Large::new().await;
    let all = ListCampaignsRequest::default;
    for (request, count, index) in [
        (all(), 50, "campaigns_tenant_id_created_at_idx"),
        (
            ListCampaignsRequest { order_by: "create_time".to_owned(), ..all() },
            50,
            "campaigns_tenant_id_created_at_idx",
        ),
        (
            ListCampaignsRequest { statuses: vec![CampaignStatus::Active.into()], ..all() },
            1,
            "campaigns_tenant_id_status_idx",
        ),
        (
            ListCampaignsRequest { channels: vec![ContactChannel::Post.into()], ..all() },
            1,
            "campaigns_tenant_id_channel_idx",
        ),
    ] {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            assert_eq!(tenant.campaign_page(request.clone()).await.expect("a page").campaigns.len(), count);
        };
        hold(&crm, &tenant, &what, list, &[index], 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_assignments_reads_a_page_of_an_index() {
    let Large { crm, tenant, campaign, customers } = Large::new().await;
    let sql = crm.sql().await;
    sql.run(&format!(
        "UPDATE campaign_customers SET progress = 50 WHERE campaign_id = '{campaign}' AND customer_id IN ('{}')",
        customers[100..120].join("', '")
    ))
    .await;
    settle(&sql, &["campaign_customers"]).await;
    let opened = vec![AssignmentStatus::Opened.into()];
    let all = ListCampaignCustomersRequest::default;
    for (request, count, index) in [
        (
            ListCampaignCustomersRequest { campaign_id: campaign.clone(), ..all() },
            50,
            "campaign_customers_pkey",
        ),
        (
            ListCampaignCustomersRequest { campaign_id: campaign.clone(), statuses: opened, ..all() },
            20,
            "campaign_customers_progress_idx",
        ),
        (
            ListCampaignCustomersRequest { customer_id: customers[7].clone(), ..all() },
            2,
            "campaign_customers_customer_idx",
        ),
        (
            ListCampaignCustomersRequest { campaign_id: campaign.clone(), exclude_refused: true, ..all() },
            50,
            "campaign_customers_pkey",
        ),
    ] {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.assignment_page(request.clone()).await.expect("a page");
            assert_eq!(page.campaign_customers.len(), count);
        };
        // For each customer on the page, it is looked up whether the customer may be contacted.
        let indexes = [index, "campaigns_pkey", "customers_pkey", "customer_consents_pkey"];
        hold(&crm, &tenant, &what, list, &indexes, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_events_reads_a_page_of_an_index() {
    let Large { crm, tenant, campaign, customers } = Large::new().await;
    let all = ListCampaignEventsRequest::default;
    let of = || ListCampaignEventsRequest { campaign_id: campaign.clone(), ..all() };
    let window = |request| ListCampaignEventsRequest {
        occur_time_from: Some(at("2026-03-01T08:10:00Z")),
        occur_time_until: Some(at("2026-03-01T08:10:30Z")),
        ..request
    };
    for (request, count, index) in [
        (all(), 50, "campaign_events_tenant_id_occurred_at_idx"),
        (
            ListCampaignEventsRequest { order_by: "occur_time".to_owned(), ..all() },
            50,
            "campaign_events_tenant_id_occurred_at_idx",
        ),
        (of(), 50, "campaign_events_campaign_idx"),
        (window(of()), 30, "campaign_events_campaign_idx"),
        (
            ListCampaignEventsRequest { customer_id: customers[7].clone(), ..all() },
            10,
            "campaign_events_customer_idx",
        ),
    ] {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.event_page(request.clone()).await.expect("a page");
            assert_eq!(page.campaign_events.len(), count, "{what}");
        };
        hold(&crm, &tenant, &what, list, &[index, "campaign_events_pkey", "campaigns_pkey"], 60).await;
    }
    // A rare kind is found in the index alone: only its single row is read.
    let rare = ListCampaignEventsRequest { kinds: vec![CampaignEventKind::Converted.into()], ..of() };
    let list = async |tenant: &Tenant| {
        let page = tenant.event_page(rare.clone()).await.expect("a page");
        assert_eq!(page.campaign_events.len(), 1);
    };
    let indexes = ["campaign_events_campaign_idx", "campaign_events_pkey", "campaigns_pkey"];
    hold(&crm, &tenant, "a rare kind", list, &indexes, 10_006).await;
    if Citus::is_another("what an index fetches is a count") {
        return;
    }
    let fetched =
        "SELECT idx_tup_fetch FROM pg_stat_user_indexes WHERE indexrelname = 'campaign_events_campaign_idx'";
    // Except a page that changed just before: the index does not show whether its rows are visible.
    assert!(crm.sql().await.number(fetched).await < 1_200, "rows are read to look at their kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_events_looks_up_what_it_is_about() {
    let Large { crm, tenant, campaign, customers } = Large::new().await;
    let record = async |tenant: &Tenant| {
        let batch: Vec<_> = customers[..10]
            .iter()
            .map(|customer| event(&Uuid::new_v4().to_string(), customer, CampaignEventKind::Sent))
            .collect();
        let results = tenant.record(&campaign, &batch).await.expect("recorded");
        assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
    };
    // A campaign is looked up once, and again by every event's foreign key.
    let indexes = [
        "campaign_events_event_id_key",
        "customers_pkey",
        "campaigns_pkey",
        "campaign_customers_pkey",
        "campaign_customers_customer_idx",
        "conversations_pkey",
        "audit_events_pkey",
    ];
    hold(&crm, &tenant, "RecordCampaignEvents", record, &indexes, 40).await;
    let withdraw = async |tenant: &Tenant| {
        let batch: Vec<_> = customers[..10]
            .iter()
            .map(|customer| event(&Uuid::new_v4().to_string(), customer, CampaignEventKind::OptedOut))
            .collect();
        tenant.record(&campaign, &batch).await.expect("recorded");
    };
    // A consent has a foreign key to its event.
    let indexes: Vec<_> =
        indexes.into_iter().chain(["customer_consents_pkey", "campaign_events_pkey"]).collect();
    hold(&crm, &tenant, "what is said about being contacted", withdraw, &indexes, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn assigning_looks_customers_up() {
    let Large { crm, tenant, customers, .. } = Large::new().await;
    let assign = async |tenant: &Tenant| {
        let campaign = tenant.campaign("New").await.id;
        let some: Vec<_> = customers[..10].iter().map(String::as_str).collect();
        assert_eq!(tenant.assign(&campaign, &some).await.expect("assigned").added_count, 10);
    };
    let indexes = [
        "customers_pkey",
        "campaigns_pkey",
        // Both contain the whole key.
        "campaign_customers_pkey",
        "campaign_customers_customer_idx",
        "campaign_events_customer_idx",
        "customer_consents_pkey",
        "audit_events_pkey",
    ];
    hold(&crm, &tenant, "AssignCustomers", assign, &indexes, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_reads_an_index_and_no_rows() {
    let Large { crm, tenant, campaign, .. } = Large::new().await;
    let request = GetCampaignPerformanceRequest { campaign_id: campaign.clone(), ..Default::default() };
    let count = async |tenant: &Tenant| {
        let answer = tenant.performance(request.clone()).await.expect("counted");
        assert_eq!(answer.total.expect("a total").customer_count, 2_001);
    };
    let indexes = [
        "campaign_events_campaign_idx",
        "campaign_customers_pkey",
        "campaign_customers_progress_idx",
        "campaigns_pkey",
        "purchases_campaign_idx",
        "interest_events_campaign_idx",
    ];
    // Three counts of ten thousand events of this campaign, and one of its customers; no rows of other campaigns.
    hold(&crm, &tenant, "GetCampaignPerformance", count, &indexes, 3 * 10_005 + 2_001 + 10).await;
    let window = GetCampaignPerformanceRequest {
        time_from: Some(at("2026-03-01T08:10:00Z")),
        time_until: Some(at("2026-03-01T08:10:30Z")),
        ..request
    };
    let count = async |tenant: &Tenant| drop(tenant.performance(window.clone()).await.expect("counted"));
    hold(&crm, &tenant, "a window", count, &indexes, 2_001 + 3 * 30 + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_a_rare_source_are_found_by_it() {
    let Large { crm, tenant, .. } = Large::new().await;
    let rare = ListCustomersRequest { source: "web".to_owned(), ..Default::default() };
    let list = async |tenant: &Tenant| {
        assert_eq!(tenant.list(rare.clone()).await.expect("a page").customers.len(), 1);
    };
    hold(&crm, &tenant, "a source", list, &["customers_tenant_id_source_idx"], 2).await;
}
