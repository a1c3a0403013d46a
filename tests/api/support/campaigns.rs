//! Helpers for campaigns.

use std::time::Duration;

use crm_backend::pb::assign_customers_request::Customers;
use crm_backend::pb::{
    AssignCustomersRequest, AssignCustomersResponse, AssignmentStatus, Campaign, CampaignCustomer,
    CampaignEvent, CampaignEventKind, CampaignEventResult, CampaignStatus, CreateCampaignRequest,
    CustomerIds, DeleteCampaignRequest, GetCampaignPerformanceRequest, GetCampaignPerformanceResponse,
    GetCampaignRequest, ListCampaignCustomersRequest, ListCampaignCustomersResponse,
    ListCampaignEventsRequest, ListCampaignEventsResponse, ListCampaignsRequest, ListCampaignsResponse,
    ListCustomersRequest, Money, RecordCampaignEventsRequest, UnassignCustomersRequest,
    UnassignCustomersResponse, UpdateCampaignRequest,
};
use crm_backend::pb::{
    GetCampaignEventRequest, InterestEventResult, campaign_event_result, interest_event_result,
};
use prost::Message;
use tonic::{Request, Status};
use tonic_types::pb as google_rpc;

use super::Tenant;
use super::customers::mask;

/// Returns a campaign of this name, to be created.
pub(crate) fn planned(name: &str) -> Campaign {
    Campaign { name: name.to_owned(), ..Default::default() }
}

/// Returns the campaign with a status.
pub(crate) fn as_status(campaign: &Campaign, status: CampaignStatus) -> Campaign {
    Campaign { id: campaign.id.clone(), status: status.into(), ..Default::default() }
}

/// Returns an event of this moment, to be recorded.
pub(crate) fn event(event_id: &str, customer_id: &str, kind: CampaignEventKind) -> CampaignEvent {
    CampaignEvent {
        event_id: event_id.to_owned(),
        customer_id: customer_id.to_owned(),
        kind: kind.into(),
        ..Default::default()
    }
}

/// The same at a given time, e.g. `2026-03-29T01:30:00Z`.
pub(crate) fn event_at(
    event_id: &str,
    customer_id: &str,
    kind: CampaignEventKind,
    time: &str,
) -> CampaignEvent {
    CampaignEvent { occur_time: Some(at(time)), ..event(event_id, customer_id, kind) }
}

/// Parses a time.
pub(crate) fn at(text: &str) -> prost_types::Timestamp {
    text.parse().expect("a time")
}

/// Returns an amount.
pub(crate) fn money(currency_code: &str, units: i64, nanos: i32) -> Money {
    Money { currency_code: currency_code.to_owned(), units, nanos }
}

/// Returns an amount of euros.
pub(crate) fn euros(units: i64) -> Money {
    money("EUR", units, 0)
}

impl Tenant {
    /// Creates a campaign of this name.
    pub(crate) async fn campaign(&self, name: &str) -> Campaign {
        self.plan(planned(name)).await.expect("a campaign")
    }

    pub(crate) async fn plan(&self, campaign: Campaign) -> Result<Campaign, Status> {
        let request = CreateCampaignRequest { campaign: Some(campaign), ..Default::default() };
        let response = self.campaigns().create_campaign(request).await?.into_inner();
        Ok(response.campaign.expect("the campaign"))
    }

    pub(crate) async fn read_campaign(&self, id: &str) -> Result<Campaign, Status> {
        let request = GetCampaignRequest { id: id.to_owned() };
        let response = self.campaigns().get_campaign(request).await?.into_inner();
        Ok(response.campaign.expect("the campaign"))
    }

    pub(crate) async fn campaign_page(
        &self,
        request: ListCampaignsRequest,
    ) -> Result<ListCampaignsResponse, Status> {
        Ok(self.campaigns().list_campaigns(request).await?.into_inner())
    }

    /// Changes the fields of a campaign that `paths` names; without paths, the fields that are set.
    pub(crate) async fn revise_campaign(&self, wanted: Campaign, paths: &[&str]) -> Result<Campaign, Status> {
        let update_mask = (!paths.is_empty()).then(|| mask(paths));
        let request = UpdateCampaignRequest { campaign: Some(wanted), update_mask, ..Default::default() };
        let response = self.campaigns().update_campaign(request).await?.into_inner();
        Ok(response.campaign.expect("the campaign"))
    }

    pub(crate) async fn delete_campaign(&self, id: &str, etag: &str) -> Result<Campaign, Status> {
        let request =
            DeleteCampaignRequest { id: id.to_owned(), etag: etag.to_owned(), ..Default::default() };
        let response = self.campaigns().delete_campaign(request).await?.into_inner();
        Ok(response.campaign.expect("the campaign"))
    }

    /// Assigns customers by their ids.
    pub(crate) async fn assign(
        &self,
        campaign_id: &str,
        customer_ids: &[&str],
    ) -> Result<AssignCustomersResponse, Status> {
        let customer_ids = customer_ids.iter().map(ToString::to_string).collect();
        self.assign_those(campaign_id, Customers::Ids(CustomerIds { customer_ids })).await
    }

    /// Assigns the customers that a filter finds.
    pub(crate) async fn assign_found(
        &self,
        campaign_id: &str,
        filter: ListCustomersRequest,
    ) -> Result<AssignCustomersResponse, Status> {
        self.assign_those(campaign_id, Customers::Filter(filter)).await
    }

    async fn assign_those(
        &self,
        campaign_id: &str,
        customers: Customers,
    ) -> Result<AssignCustomersResponse, Status> {
        let mut request = Request::new(AssignCustomersRequest {
            campaign_id: campaign_id.to_owned(),
            customers: Some(customers),
            request_id: String::new(),
        });
        // Thousands of customers wait their turn behind the batches of other tests.
        request.set_timeout(Duration::from_secs(30));
        Ok(self.campaigns().assign_customers(request).await?.into_inner())
    }

    pub(crate) async fn unassign(
        &self,
        campaign_id: &str,
        customer_ids: &[&str],
    ) -> Result<UnassignCustomersResponse, Status> {
        let request = UnassignCustomersRequest {
            campaign_id: campaign_id.to_owned(),
            customer_ids: customer_ids.iter().map(ToString::to_string).collect(),
            request_id: String::new(),
        };
        Ok(self.campaigns().unassign_customers(request).await?.into_inner())
    }

    pub(crate) async fn assignment_page(
        &self,
        request: ListCampaignCustomersRequest,
    ) -> Result<ListCampaignCustomersResponse, Status> {
        Ok(self.campaigns().list_campaign_customers(request).await?.into_inner())
    }

    /// Returns the customers of a campaign, page by page.
    pub(crate) async fn assignments(&self, campaign_id: &str) -> Vec<CampaignCustomer> {
        let mut request = ListCampaignCustomersRequest {
            campaign_id: campaign_id.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = self.assignment_page(request.clone()).await.expect("a page");
            found.extend(page.campaign_customers);
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns the status of a customer in a campaign.
    pub(crate) async fn progress(&self, campaign_id: &str, customer_id: &str) -> AssignmentStatus {
        let request = ListCampaignCustomersRequest {
            campaign_id: campaign_id.to_owned(),
            customer_id: customer_id.to_owned(),
            ..Default::default()
        };
        let page = self.assignment_page(request).await.expect("a page");
        let [assignment] = page.campaign_customers.as_slice() else { panic!("not assigned: {page:?}") };
        assignment.status()
    }

    pub(crate) async fn record(
        &self,
        campaign_id: &str,
        events: &[CampaignEvent],
    ) -> Result<Vec<CampaignEventResult>, Status> {
        let request = RecordCampaignEventsRequest {
            campaign_id: campaign_id.to_owned(),
            events: events.to_vec(),
            request_id: String::new(),
        };
        Ok(self.campaigns().record_campaign_events(request).await?.into_inner().results)
    }

    pub(crate) async fn read_campaign_event(&self, id: &str) -> Result<CampaignEvent, Status> {
        let request = GetCampaignEventRequest { id: id.to_owned() };
        let response = self.campaigns().get_campaign_event(request).await?.into_inner();
        Ok(response.campaign_event.expect("the event"))
    }

    pub(crate) async fn event_page(
        &self,
        request: ListCampaignEventsRequest,
    ) -> Result<ListCampaignEventsResponse, Status> {
        Ok(self.campaigns().list_campaign_events(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_events(&self, mut request: ListCampaignEventsRequest) -> Vec<CampaignEvent> {
        let mut events = Vec::new();
        loop {
            let page = self.event_page(request.clone()).await.expect("a page");
            events.extend(page.campaign_events);
            if page.next_page_token.is_empty() {
                return events;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn performance(
        &self,
        request: GetCampaignPerformanceRequest,
    ) -> Result<GetCampaignPerformanceResponse, Status> {
        Ok(self.campaigns().get_campaign_performance(request).await?.into_inner())
    }
}

/// The result of an event of a batch.
pub(crate) trait Outcome {
    /// Why the event was refused.
    fn error(&self) -> Option<&google_rpc::Status>;

    /// The ids of the recorded event: the server's and the client's.
    fn ids(&self) -> Option<(&str, &str)>;

    /// Whether it was recorded before.
    fn is_deduplicated(&self) -> bool;

    /// The server's id of the recorded event; empty for one that was refused.
    fn id(&self) -> &str {
        self.ids().map_or("", |(id, _)| id)
    }

    /// The client's id of the recorded event; empty for one that was refused.
    fn event_id(&self) -> &str {
        self.ids().map_or("", |(_, event_id)| event_id)
    }
}

impl Outcome for CampaignEventResult {
    fn error(&self) -> Option<&google_rpc::Status> {
        match &self.result {
            Some(campaign_event_result::Result::Error(error)) => Some(error),
            _ => None,
        }
    }

    fn ids(&self) -> Option<(&str, &str)> {
        match &self.result {
            Some(campaign_event_result::Result::CampaignEvent(event)) => Some((&event.id, &event.event_id)),
            _ => None,
        }
    }

    fn is_deduplicated(&self) -> bool {
        self.deduplicated
    }
}

impl Outcome for InterestEventResult {
    fn error(&self) -> Option<&google_rpc::Status> {
        match &self.result {
            Some(interest_event_result::Result::Error(error)) => Some(error),
            _ => None,
        }
    }

    fn ids(&self) -> Option<(&str, &str)> {
        match &self.result {
            Some(interest_event_result::Result::InterestEvent(event)) => Some((&event.id, &event.event_id)),
            _ => None,
        }
    }

    fn is_deduplicated(&self) -> bool {
        self.deduplicated
    }
}

/// Returns why an event was refused.
#[track_caller]
pub(crate) fn refusal<R: Outcome + std::fmt::Debug>(result: &R) -> Status {
    let error = result.error().unwrap_or_else(|| panic!("not refused: {result:?}"));
    assert!(!result.is_deduplicated(), "{result:?}");
    Status::with_details(error.code.into(), error.message.clone(), error.encode_to_vec().into())
}
