//! `DashboardService`.

use tonic::{Request, Response, Status, async_trait};

use super::{campaigns, conversations, customers, funnel};
use crate::db::{Db, TenantTx};
use crate::pb;
use crate::rpc::servers::dashboard_service_server::DashboardService;
use crate::rpc::{self, Call};
use crate::times;

/// `DashboardService`.
pub struct Dashboard {
    db: Db,
}

impl Dashboard {
    /// Creates the service over this database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl DashboardService for Dashboard {
    async fn get_customer_statistics(
        &self,
        request: Request<pb::GetCustomerStatisticsRequest>,
    ) -> Result<Response<pb::GetCustomerStatisticsResponse>, Status> {
        let (call, params) =
            Call::read(request, |call| customers::wire::params(&call.message, times::now()))?;
        let response = rpc::snapshot(&self.db, &call, async |tx: &TenantTx| {
            Ok(customers::wire::answer(&params, customers::actions::read(tx, &params).await?))
        });
        Ok(response.await?)
    }

    async fn get_conversation_statistics(
        &self,
        request: Request<pb::GetConversationStatisticsRequest>,
    ) -> Result<Response<pb::GetConversationStatisticsResponse>, Status> {
        let (call, params) =
            Call::read(request, |call| conversations::wire::params(&call.message, times::now()))?;
        let response = rpc::snapshot(&self.db, &call, async |tx: &TenantTx| {
            Ok(conversations::wire::answer(&params, &conversations::actions::read(tx, &params).await?))
        });
        Ok(response.await?)
    }

    async fn get_campaign_statistics(
        &self,
        request: Request<pb::GetCampaignStatisticsRequest>,
    ) -> Result<Response<pb::GetCampaignStatisticsResponse>, Status> {
        let (call, params) = Call::read(request, |call| campaigns::params(&call.message, times::now()))?;
        let response =
            rpc::snapshot(&self.db, &call, async |tx: &TenantTx| campaigns::read(tx, &params).await);
        Ok(response.await?)
    }

    async fn get_conversion_funnel(
        &self,
        request: Request<pb::GetConversionFunnelRequest>,
    ) -> Result<Response<pb::GetConversionFunnelResponse>, Status> {
        let (call, params) = Call::read(request, |call| funnel::wire::params(&call.message, times::now()))?;
        let response = rpc::snapshot(&self.db, &call, async |tx: &TenantTx| {
            Ok(funnel::wire::answer(&params, funnel::actions::read(tx, &params).await?))
        });
        Ok(response.await?)
    }
}
