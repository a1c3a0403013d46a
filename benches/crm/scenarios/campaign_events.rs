//! Recording events of campaigns, compared with a plain insert of as many events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crm_backend::pb;
use crm_backend::pb::assign_customers_request::Customers;
use crm_backend::pb::campaign_event_result::Result as Outcome;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::fill::{self, Ids};
use crate::measure::Load;
use crate::pgbench::{BATCH, Script, Share};
use crate::report::Measured;
use crate::stage::Stage;
use crate::{Result, client};

/// The number of customers of each campaign.
const CUSTOMERS: u64 = 2_500;

/// The connections, and the calls in flight on each.
const CONNECTIONS: usize = 4;
const CALLS: usize = 2;

/// The pgbench clients that write batches: on few cores more are no faster.
const CLIENTS: usize = 2;

/// A tenant's campaign with its customers.
#[derive(Clone, Copy)]
struct Campaign {
    tenant: Uuid,
    id: Uuid,
    customers: Ids,
}

/// `campaign_events`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let channel = client::channel(stage.address).await?;
    let mut campaigns = Vec::new();
    for tenant in stage.fresh_tenants().await? {
        let customers = fill::customers(&stage.sql, tenant.id, tenant.customer, CUSTOMERS).await?;
        let id = campaign(&channel, tenant.id).await?;
        campaigns.push(Campaign { tenant: tenant.id, id, customers });
    }
    fill::tidy(&stage.sql).await?;
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for round in 0..stage.options.rounds {
        stage.settle().await?;
        values.push(load(stage, &campaigns, round).await?.rate(stage.options.round()).await? * BATCH as f64);
        if let Some(pgbench) = &stage.pgbench {
            let shares = campaigns
                .iter()
                .map(|campaign| (Share { tenant: campaign.tenant, ids: campaign.customers }, campaign.id));
            let script = Script::campaign_events(shares.collect());
            stage.settle().await?;
            let rate = pgbench.rate(&script, CLIENTS, stage.options.seconds()).await?;
            baselines.push(rate * BATCH as f64);
        }
    }
    Ok(vec![Measured::rounds("campaign_events", &values)?.beside_pgbench(&baselines)])
}

/// Creates a campaign for all customers of a tenant.
pub(crate) async fn campaign(channel: &Channel, tenant: Uuid) -> Result<Uuid> {
    let mut client = client::campaigns(channel, tenant)?;
    let request = pb::CreateCampaignRequest {
        campaign: Some(pb::Campaign { name: "Autumn tasting".to_owned(), ..Default::default() }),
        request_id: String::new(),
    };
    let created = client.create_campaign(request).await?.into_inner();
    let id = created.campaign.map(|campaign| campaign.id).ok_or("an answer without the campaign")?;
    let assign = pb::AssignCustomersRequest {
        campaign_id: id.clone(),
        customers: Some(Customers::Filter(pb::ListCustomersRequest::default())),
        request_id: String::new(),
    };
    client.assign_customers(assign).await?;
    Ok(Uuid::parse_str(&id)?)
}

/// Starts calls with one batch each, for the campaigns in turn.
async fn load(stage: &Stage<'_>, campaigns: &[Campaign], round: u32) -> Result<Load> {
    let channels = client::channels(stage.address, CONNECTIONS).await?;
    let mut load = Load::new();
    let number = Arc::new(AtomicU64::new(0));
    for (channel, campaign) in
        channels.iter().cycle().take(CONNECTIONS * CALLS).zip(campaigns.iter().copied().cycle())
    {
        let client = client::campaigns(channel, campaign.tenant)?;
        let number = Arc::clone(&number);
        load.spawn_calls(move || {
            let mut client = client.clone();
            let request = batch(campaign, round, number.fetch_add(BATCH, Ordering::Relaxed));
            async move {
                let recorded = client.record_campaign_events(request).await?.into_inner();
                let all = recorded.results.iter().all(|result| {
                    matches!(result.result, Some(Outcome::CampaignEvent(_))) && !result.deduplicated
                });
                all.then_some(()).ok_or_else(|| "an event was not recorded".into())
            }
        });
    }
    Ok(load)
}

/// Returns the events from this number on, of the customers in turn.
fn batch(campaign: Campaign, round: u32, first: u64) -> pb::RecordCampaignEventsRequest {
    let events = (first..first + BATCH).map(|number| pb::CampaignEvent {
        event_id: format!("{round}-{number}"),
        customer_id: campaign.customers.text(number % campaign.customers.count + 1),
        kind: pb::CampaignEventKind::Opened.into(),
        ..Default::default()
    });
    pb::RecordCampaignEventsRequest {
        campaign_id: campaign.id.to_string(),
        events: events.collect(),
        request_id: String::new(),
    }
}
