//! Parallel events and assignments of the same customers, and the same events from many clients.

use crm_backend::pb::{CampaignEvent, CampaignEventKind};
use crm_testkit::{Random, Sql};

use crate::support::campaigns::{Outcome, event};
use crate::support::sql::multiply_customers;
use crate::support::{Crm, Tenant, at_once};

/// Clients that record at the same time.
const CLIENTS: usize = 8;

const KINDS: [CampaignEventKind; 7] = [
    CampaignEventKind::Sent,
    CampaignEventKind::Bounced,
    CampaignEventKind::Delivered,
    CampaignEventKind::Opened,
    CampaignEventKind::Clicked,
    CampaignEventKind::Replied,
    CampaignEventKind::Converted,
];

/// Creates this many customers of a tenant.
async fn customers(tenant: &Tenant, sql: &Sql, count: u32) -> Vec<String> {
    tenant.customer("Bakery").await;
    multiply_customers(sql, tenant, count - 1).await;
    sql.texts(&format!("SELECT id FROM customers WHERE tenant_id = '{}' ORDER BY id", tenant.id)).await
}

/// The number of assignments whose progress differs from that of their events.
const ASTRAY: &str = "SELECT count(*) FROM campaign_customers a WHERE a.progress <> (
    SELECT coalesce(max(10 + 10 * array_position(ARRAY['SENT', 'BOUNCED', 'DELIVERED', 'OPENED', 'CLICKED',
        'REPLIED', 'CONVERTED'], e.kind)), 10)
    FROM campaign_events e WHERE (e.tenant_id, e.campaign_id, e.customer_id)
        = (a.tenant_id, a.campaign_id, a.customer_id))";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_an_assignment_never_miss_each_other() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let ids = customers(&tenant, &sql, 200).await;
    let campaign = tenant.campaign("Spring").await.id;
    let record = |client: usize| {
        let tenant = if client.is_multiple_of(2) { tenant.clone() } else { tenant.through(&replica) };
        let (ids, campaign) = (ids.clone(), campaign.clone());
        async move {
            let mut random = Random::new(client as u64);
            for batch in 0..25 {
                let events: Vec<CampaignEvent> = (0..20)
                    .map(|number| {
                        let id = format!("{client} {batch} {number}");
                        event(&id, random.choose::<String>(&ids), *random.choose(&KINDS))
                    })
                    .collect();
                let results = tenant.record(&campaign, &events).await.expect("recorded");
                assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
            }
        }
    };
    let assign = |half: usize| {
        let (tenant, ids, campaign) = (tenant.clone(), ids.clone(), campaign.clone());
        async move {
            for chunk in ids[half * 100..(half + 1) * 100].chunks(5) {
                let chunk: Vec<_> = chunk.iter().map(String::as_str).collect();
                tenant.assign(&campaign, &chunk).await.expect("assigned, though others record all the time");
                tenant.unassign(&campaign, &chunk[..1]).await.expect("unassigned");
                tenant.assign(&campaign, &chunk).await.expect("assigned");
            }
        }
    };
    let clients = (0..CLIENTS).map(|client| Box::pin(record(client)) as futures_util::future::BoxFuture<_>);
    let assigners = (0..2).map(|half| Box::pin(assign(half)) as futures_util::future::BoxFuture<_>);
    at_once(clients.chain(assigners).collect::<Vec<_>>()).await;
    assert_eq!(sql.number("SELECT count(*) FROM campaign_events").await, 8 * 25 * 20);
    assert_eq!(sql.number("SELECT count(*) FROM campaign_customers").await, 200);
    assert!(sql.number("SELECT count(*) FROM campaign_customers WHERE progress > 10").await > 190);
    assert_eq!(sql.number(ASTRAY).await, 0, "every assignment has come as far as its events say");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_from_many_sides_in_any_order_are_recorded_once() {
    let crm = Crm::start().await;
    let replica = crm.replica().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let ids = customers(&tenant, &sql, 40).await;
    let campaign = tenant.campaign("Spring").await.id;
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    tenant.assign(&campaign, &all).await.expect("assigned");
    let events: Vec<CampaignEvent> = (0..280)
        .map(|number| event(&format!("{number}"), &ids[number % ids.len()], KINDS[number % KINDS.len()]))
        .collect();
    let record = |client: usize| {
        let tenant = if client.is_multiple_of(2) { tenant.clone() } else { tenant.through(&replica) };
        let (mut events, campaign) = (events.clone(), campaign.clone());
        async move {
            Random::new(client as u64).shuffle(&mut events);
            let mut new = 0;
            for batch in events.chunks(70) {
                let results = tenant.record(&campaign, batch).await.expect("recorded");
                assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
                new += results.iter().filter(|result| !result.deduplicated).count();
            }
            new
        }
    };
    let new: Vec<usize> = at_once((0..CLIENTS).map(record)).await;
    assert_eq!(new.iter().sum::<usize>(), events.len(), "each was new to one of them: {new:?}");
    assert_eq!(sql.number("SELECT count(*) FROM campaign_events").await, 280);
    assert_eq!(sql.number(ASTRAY).await, 0);
}
