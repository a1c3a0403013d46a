//! Helpers for the dashboard and for the checks of its numbers.

use crm_backend::pb::{
    DashboardRows, GetCampaignStatisticsRequest, GetCampaignStatisticsResponse,
    GetConversationStatisticsRequest, GetConversationStatisticsResponse, GetConversionFunnelRequest,
    GetConversionFunnelResponse, GetCustomerStatisticsRequest, GetCustomerStatisticsResponse,
    dashboard_rows::List,
};
use tonic::Status;

use super::Tenant;

impl Tenant {
    pub(crate) async fn customer_statistics(
        &self,
        request: GetCustomerStatisticsRequest,
    ) -> Result<GetCustomerStatisticsResponse, Status> {
        Ok(self.dashboard().get_customer_statistics(request).await?.into_inner())
    }

    pub(crate) async fn conversation_statistics(
        &self,
        request: GetConversationStatisticsRequest,
    ) -> Result<GetConversationStatisticsResponse, Status> {
        Ok(self.dashboard().get_conversation_statistics(request).await?.into_inner())
    }

    pub(crate) async fn campaign_statistics(
        &self,
        request: GetCampaignStatisticsRequest,
    ) -> Result<GetCampaignStatisticsResponse, Status> {
        Ok(self.dashboard().get_campaign_statistics(request).await?.into_inner())
    }

    pub(crate) async fn funnel(
        &self,
        request: GetConversionFunnelRequest,
    ) -> Result<GetConversionFunnelResponse, Status> {
        Ok(self.dashboard().get_conversion_funnel(request).await?.into_inner())
    }

    /// Returns how many rows a number's own request lists.
    pub(crate) async fn listed(&self, rows: &DashboardRows) -> i64 {
        let count = match rows.list.clone().expect("a request") {
            List::Customers(request) => self.list_all(request).await.len(),
            List::Conversations(request) => self.all_conversations(request).await.len(),
            List::Campaigns(request) => self.campaign_page(request).await.expect("a page").campaigns.len(),
            List::CampaignEvents(request) => self.all_events(request).await.len(),
            other => panic!("no list yet of {other:?}"),
        };
        i64::try_from(count).expect("a number of rows")
    }
}
