//! How events are found: by index, and without reading more than a page.

use crm_backend::pb::{AuditOutcome, ListAuditEventsRequest};
use prost_types::Timestamp;

use crate::plans::hold;
use crate::support::sql::settle;
use crate::support::{Crm, Tenant};

/// A resource with few events.
const RARE: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// Two tenants with 20,000 events each, one every ten seconds, among them 20 rare ones.
async fn large() -> (Crm, Tenant) {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    for tenant in [&tenant, &other] {
        sql.run(&format!(
            "INSERT INTO audit_events (tenant_id, id, created_at, principal, method, resource_type, resource_id,
                                       outcome, code, reason)
             SELECT '{}', (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || right(md5(n::text), 20))::uuid,
                    at, CASE WHEN rare THEN 'ana' ELSE 'anybody' END, CASE WHEN rare THEN 'S/Rare' ELSE 'S/Usual' END,
                    'CUSTOMER', CASE WHEN rare THEN '{RARE}' ELSE md5((n % 500)::text) END::uuid,
                    CASE WHEN rare THEN 'FAILED' ELSE 'SUCCEEDED' END, CASE WHEN rare THEN 5 ELSE 0 END,
                    CASE WHEN rare THEN 'CUSTOMER_NOT_FOUND' END
             FROM generate_series(0, 19999) AS n,
                  LATERAL (SELECT to_timestamp(1795000000 + n * 10) AS at, n % 1000 = 0 AS rare) AS t",
            tenant.id
        ))
        .await;
    }
    settle(&sql, &["audit_events"]).await;
    (crm, tenant)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_events_reads_a_page_of_an_index() {
    let (crm, tenant) = large().await;
    let list = |request: ListAuditEventsRequest| {
        async move |tenant: &Tenant| {
            let page = tenant.audit_page(request.clone()).await.expect("a page");
            assert!(!page.audit_events.is_empty());
        }
    };
    let page = || ListAuditEventsRequest { page_size: 10, ..Default::default() };
    let time = |seconds: i64| Some(Timestamp { seconds: 1_795_000_000 + seconds, nanos: 0 });
    let text = str::to_owned;
    let second = tenant.audit_page(page()).await.expect("a page").next_page_token;
    for (what, request, index) in [
        ("the newest", page(), "audit_events_pkey"),
        (
            "the oldest",
            ListAuditEventsRequest { order_by: text("create_time"), ..page() },
            "audit_events_pkey",
        ),
        ("the next page", ListAuditEventsRequest { page_token: second, ..page() }, "audit_events_pkey"),
        (
            "a time in the middle",
            ListAuditEventsRequest {
                create_time_from: time(100_000),
                create_time_until: time(100_100),
                ..page()
            },
            "audit_events_pkey",
        ),
        (
            "a rare principal",
            ListAuditEventsRequest { principal: text("ana"), ..page() },
            "audit_events_tenant_id_principal_idx",
        ),
        (
            "a rare method",
            ListAuditEventsRequest { method: text("S/Rare"), ..page() },
            "audit_events_tenant_id_method_idx",
        ),
        (
            "a thing",
            ListAuditEventsRequest { resource_id: text(RARE), ..page() },
            "audit_events_tenant_id_resource_id_idx",
        ),
        (
            "what failed",
            ListAuditEventsRequest { outcomes: vec![AuditOutcome::Failed.into()], ..page() },
            "audit_events_tenant_id_outcome_idx",
        ),
    ] {
        hold(&crm, &tenant, what, list(request), &[index], 25).await;
    }
}
