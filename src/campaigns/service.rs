//! `CampaignService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::assignments::store::Assignment;
use super::store::Cursor;
use super::{actions, assignments, events, performance, wire};
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::servers::campaign_service_server::CampaignService;
use crate::rpc::together::Together;
use crate::rpc::update::Updating;
use crate::rpc::{self, Call, PageKey};
use crate::times;

/// `CampaignService`.
pub struct Campaigns {
    db: Db,
    page_key: PageKey,
}

impl Campaigns {
    /// Creates the service over this database.
    pub fn new(db: Db, page_key: PageKey) -> Self {
        Self { db, page_key }
    }
}

#[async_trait]
impl CampaignService for Campaigns {
    async fn create_campaign(
        &self,
        request: Request<pb::CreateCampaignRequest>,
    ) -> Result<Response<pb::CreateCampaignResponse>, Status> {
        let (call, campaign) =
            Call::read(request, |call| wire::create(&call.message, Uuid::now_v7(), times::now()))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let campaign = actions::create(tx, campaign.clone()).await?;
            Ok(pb::CreateCampaignResponse { campaign: Some(campaign.into()) })
        });
        Ok(response.await?)
    }

    async fn get_campaign(
        &self,
        request: Request<pb::GetCampaignRequest>,
    ) -> Result<Response<pb::GetCampaignResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let campaign = actions::get(tx, id).await?;
            Ok(pb::GetCampaignResponse { campaign: Some(campaign.into()) })
        });
        Ok(response.await?)
    }

    async fn list_campaigns(
        &self,
        request: Request<pb::ListCampaignsRequest>,
    ) -> Result<Response<pb::ListCampaignsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = wire::filter(&call.message);
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = actions::list(tx, &filter, direction, &page).await?;
            let (campaigns, next_page_token) = self.page_key.finish(&call, &page, rows, Cursor::at)?;
            Ok(pb::ListCampaignsResponse { campaigns, next_page_token })
        });
        Ok(response.await?)
    }

    async fn update_campaign(
        &self,
        request: Request<pb::UpdateCampaignRequest>,
    ) -> Result<Response<pb::UpdateCampaignResponse>, Status> {
        let wanted = Updating::open(request)?;
        let response = wanted.answer(&self.db, async |tx: &TenantTx| {
            actions::update(tx, wanted.id, wanted.expected, wanted.change(wire::update)).await
        });
        Ok(response.await?)
    }

    async fn delete_campaign(
        &self,
        request: Request<pb::DeleteCampaignRequest>,
    ) -> Result<Response<pb::DeleteCampaignResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let campaign = actions::delete(tx, id, expected).await?;
            Ok(pb::DeleteCampaignResponse { campaign: Some(campaign.into()) })
        });
        Ok(response.await?)
    }

    async fn assign_customers(
        &self,
        request: Request<pb::AssignCustomersRequest>,
    ) -> Result<Response<pb::AssignCustomersResponse>, Status> {
        let (call, (campaign_id, (whom, invalid))) = Call::read(request, |call| {
            let campaign_id = rpc::id("campaign_id", &call.message.campaign_id);
            let tenant = call.context.caller.tenant().as_uuid();
            (campaign_id, assignments::wire::whom(tenant, &call.message)).together()
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let assigned = assignments::actions::assign(tx, campaign_id, &whom).await?;
            Ok(assignments::wire::assigned(assigned, invalid.clone()))
        });
        Ok(response.await?)
    }

    async fn unassign_customers(
        &self,
        request: Request<pb::UnassignCustomersRequest>,
    ) -> Result<Response<pb::UnassignCustomersResponse>, Status> {
        let call = Call::open(request)?;
        let campaign_id = rpc::id("campaign_id", &call.message.campaign_id)?;
        let named = assignments::wire::leaving(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let removed = assignments::actions::unassign(tx, campaign_id, &named.ids).await?;
            Ok(assignments::wire::left(&named, removed))
        });
        Ok(response.await?)
    }

    async fn list_campaign_customers(
        &self,
        request: Request<pb::ListCampaignCustomersRequest>,
    ) -> Result<Response<pb::ListCampaignCustomersResponse>, Status> {
        let (call, (page, of)) = Call::read(request, |call| {
            (self.page_key.open(call), assignments::wire::of(&call.message)).together()
        })?;
        let filter = assignments::wire::filter(&call.message);
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let at = |last: &Assignment| assignments::store::Cursor::at(of, last);
            let rows = assignments::actions::list(tx, of, &filter, &page).await?;
            let (campaign_customers, next_page_token) = self.page_key.finish(&call, &page, rows, at)?;
            Ok(pb::ListCampaignCustomersResponse { campaign_customers, next_page_token })
        });
        Ok(response.await?)
    }

    async fn record_campaign_events(
        &self,
        request: Request<pb::RecordCampaignEventsRequest>,
    ) -> Result<Response<pb::RecordCampaignEventsResponse>, Status> {
        let (call, batch) =
            Call::read(request, |call| events::wire::Batch::new(&call.message, times::now()))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let outcomes = events::actions::record(tx, batch.campaign_id, &batch.events).await?;
            Ok(batch.answer(outcomes))
        });
        Ok(response.await?)
    }

    async fn get_campaign_event(
        &self,
        request: Request<pb::GetCampaignEventRequest>,
    ) -> Result<Response<pb::GetCampaignEventResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let event = events::actions::get(tx, id).await?;
            Ok(pb::GetCampaignEventResponse { campaign_event: Some(event.into()) })
        });
        Ok(response.await?)
    }

    async fn list_campaign_events(
        &self,
        request: Request<pb::ListCampaignEventsRequest>,
    ) -> Result<Response<pb::ListCampaignEventsResponse>, Status> {
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = events::wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = events::actions::list(tx, &filter, direction, &page).await?;
            let (campaign_events, next_page_token) =
                self.page_key.finish(&call, &page, rows, events::model::Cursor::at)?;
            Ok(pb::ListCampaignEventsResponse { campaign_events, next_page_token })
        });
        Ok(response.await?)
    }

    async fn get_campaign_performance(
        &self,
        request: Request<pb::GetCampaignPerformanceRequest>,
    ) -> Result<Response<pb::GetCampaignPerformanceResponse>, Status> {
        let (call, params) = Call::read(request, |call| performance::wire::params(&call.message))?;
        let response = rpc::snapshot(&self.db, &call, async |tx: &TenantTx| {
            Ok(performance::wire::performance(&params, performance::actions::read(tx, &params).await?))
        });
        Ok(response.await?)
    }
}
