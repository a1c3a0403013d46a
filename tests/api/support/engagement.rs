//! Helpers for interest and purchases.

use crm_backend::pb::{
    CampaignEvent, CampaignEventKind, GetInterestEventRequest, GetInterestScoresRequest,
    GetInterestScoresResponse, GetPurchaseRequest, InterestEvent, InterestEventResult, InterestKind,
    ListInterestEventsRequest, ListInterestEventsResponse, ListPurchasesRequest, ListPurchasesResponse,
    ListRefundsRequest, Money, Purchase, PurchaseStatus, RecordInterestEventsRequest, RecordPurchaseRequest,
    Refund, RefundPurchaseRequest, SettlePurchaseRequest, VoidPurchaseRequest,
};
use crm_testkit::Sql;
use prost_types::Timestamp;
use tonic::Status;
use uuid::Uuid;

use super::Tenant;
use super::campaigns::{Outcome, event};
use super::context::at;

/// Returns an amount of euros.
pub(crate) fn euros(units: i64, cents: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos: cents * 10_000_000 }
}

/// Returns an event that a customer viewed something, this many minutes after nine o'clock on a day in 2026.
pub(crate) fn viewed(event_id: &str, subject: &str, minutes: i64) -> InterestEvent {
    InterestEvent {
        event_id: event_id.to_owned(),
        kind: InterestKind::Viewed.into(),
        subject: subject.to_owned(),
        occur_time: at(minutes),
        ..Default::default()
    }
}

/// Returns a request with events of one customer.
pub(crate) fn events(customer_id: &str, events: &[InterestEvent]) -> RecordInterestEventsRequest {
    RecordInterestEventsRequest {
        customer_id: customer_id.to_owned(),
        events: events.to_vec(),
        request_id: String::new(),
    }
}

/// Returns a purchase for this many euros.
pub(crate) fn bought(customer_id: &str, units: i64) -> Purchase {
    Purchase { customer_id: customer_id.to_owned(), amount: Some(euros(units, 0)), ..Default::default() }
}

/// Returns a refund of this many euros; without a number, of the rest.
pub(crate) fn back(purchase: &Purchase, units: Option<i64>) -> RefundPurchaseRequest {
    RefundPurchaseRequest {
        id: purchase.id.clone(),
        amount: units.map(|units| euros(units, 0)),
        ..Default::default()
    }
}

/// Adds `copies` of every interest event of a tenant: with another id and event_id, each a minute older.
pub(crate) async fn multiply_interest(sql: &Sql, tenant: &Tenant, copies: u32) {
    let tenant = tenant.id;
    sql.run(&format!(
        "INSERT INTO interest_events SELECT copy.* FROM interest_events e, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(e, jsonb_build_object(
             'id', gen_random_uuid(), 'event_id', e.event_id || '/' || n,
             'occurred_at', e.occurred_at - n * interval '1 min')) copy
         WHERE e.tenant_id = '{tenant}'"
    ))
    .await;
}

/// Adds `copies` of every purchase of a tenant, each a minute older, and a refund to all of them.
pub(crate) async fn multiply_purchases(sql: &Sql, tenant: &Tenant, copies: u32) {
    let tenant = tenant.id;
    sql.run(&format!(
        "INSERT INTO purchases SELECT copy.* FROM purchases p, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(p, jsonb_build_object(
             'id', gen_random_uuid(), 'order_id', p.order_id || '/' || n,
             'purchased_at', p.purchased_at - n * interval '1 min')) copy
         WHERE p.tenant_id = '{tenant}';
         INSERT INTO purchase_refunds (tenant_id, id, purchase_id, amount_micros)
         SELECT tenant_id, gen_random_uuid(), id, 1 FROM purchases WHERE tenant_id = '{tenant}'"
    ))
    .await;
}

/// Adds `copies` of every campaign of a tenant, and of every campaign event, each a minute older.
pub(crate) async fn multiply_campaigns(sql: &Sql, tenant: &Tenant, copies: u32) {
    let tenant = tenant.id;
    sql.run(&format!(
        "INSERT INTO campaigns SELECT copy.* FROM campaigns c, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(), 'name', c.name || ' ' || n)) copy
         WHERE c.tenant_id = '{tenant}';
         INSERT INTO campaign_events SELECT copy.* FROM campaign_events e, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(e, jsonb_build_object(
             'id', gen_random_uuid(), 'event_id', e.event_id || '/' || n,
             'occurred_at', e.occurred_at - n * interval '1 min')) copy
         WHERE e.tenant_id = '{tenant}'"
    ))
    .await;
}

impl Tenant {
    /// Records a campaign event of a customer, this many minutes after nine.
    pub(crate) async fn react(
        &self,
        (campaign_id, customer_id): (&str, &str),
        kind: CampaignEventKind,
        minutes: i64,
    ) {
        let reaction = event(&Uuid::new_v4().to_string(), customer_id, kind);
        let reaction = CampaignEvent { occur_time: at(minutes), ..reaction };
        let results = self.record(campaign_id, &[reaction]).await.expect("recorded");
        assert!(results.iter().all(|result| result.error().is_none()), "{results:?}");
    }

    /// Records events, and returns the result of each.
    pub(crate) async fn record_interest(
        &self,
        request: RecordInterestEventsRequest,
    ) -> Result<Vec<InterestEventResult>, Status> {
        Ok(self.engagement().record_interest_events(request).await?.into_inner().results)
    }

    /// Records events, none of which may be refused.
    pub(crate) async fn show(&self, customer_id: &str, shown: &[InterestEvent]) -> Vec<InterestEventResult> {
        let results = self.record_interest(events(customer_id, shown)).await.expect("recorded");
        let refused: Vec<_> = results.iter().filter(|result| result.error().is_some()).collect();
        assert!(refused.is_empty(), "{refused:?}");
        results
    }

    /// Records that a customer viewed something.
    pub(crate) async fn show_interest(&self, customer_id: &str, subject: &str) {
        self.show(customer_id, &[viewed(&Uuid::new_v4().to_string(), subject, 0)]).await;
    }

    pub(crate) async fn read_interest_event(&self, id: &str) -> Result<InterestEvent, Status> {
        let request = GetInterestEventRequest { id: id.to_owned() };
        let response = self.engagement().get_interest_event(request).await?.into_inner();
        Ok(response.interest_event.expect("the event"))
    }

    pub(crate) async fn interest_page(
        &self,
        request: ListInterestEventsRequest,
    ) -> Result<ListInterestEventsResponse, Status> {
        Ok(self.engagement().list_interest_events(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_interest(&self, mut request: ListInterestEventsRequest) -> Vec<InterestEvent> {
        let mut events = Vec::new();
        loop {
            let page = self.interest_page(request.clone()).await.expect("a page");
            events.extend(page.interest_events);
            if page.next_page_token.is_empty() {
                return events;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn scores(
        &self,
        customer_id: &str,
        as_of_time: Option<Timestamp>,
    ) -> Result<GetInterestScoresResponse, Status> {
        let request =
            GetInterestScoresRequest { customer_id: customer_id.to_owned(), as_of_time, limit: 100 };
        Ok(self.engagement().get_interest_scores(request).await?.into_inner())
    }

    /// Records a purchase for ten euros.
    pub(crate) async fn purchase(&self, customer_id: &str) -> Purchase {
        self.buy(bought(customer_id, 10)).await.expect("a purchase")
    }

    pub(crate) async fn buy(&self, purchase: Purchase) -> Result<Purchase, Status> {
        Ok(self.buy_again(purchase).await?.0)
    }

    /// Records a purchase, and returns whether it was recorded before.
    pub(crate) async fn buy_again(&self, purchase: Purchase) -> Result<(Purchase, bool), Status> {
        let request = RecordPurchaseRequest { purchase: Some(purchase), ..Default::default() };
        let response = self.engagement().record_purchase(request).await?.into_inner();
        Ok((response.purchase.expect("the purchase"), response.deduplicated))
    }

    pub(crate) async fn read_purchase(&self, id: &str) -> Result<Purchase, Status> {
        let request = GetPurchaseRequest { id: id.to_owned() };
        let response = self.engagement().get_purchase(request).await?.into_inner();
        Ok(response.purchase.expect("the purchase"))
    }

    /// Settles a purchase, and returns whether it was settled in this way before.
    pub(crate) async fn settle(
        &self,
        purchase: &Purchase,
        status: PurchaseStatus,
        payment_id: &str,
    ) -> Result<(Purchase, bool), Status> {
        let request = SettlePurchaseRequest {
            id: purchase.id.clone(),
            status: status.into(),
            payment_id: payment_id.to_owned(),
            ..Default::default()
        };
        let response = self.engagement().settle_purchase(request).await?.into_inner();
        Ok((response.purchase.expect("the purchase"), response.deduplicated))
    }

    /// Voids a purchase, and returns whether it was voided before.
    pub(crate) async fn void(&self, purchase: &Purchase, reason: &str) -> Result<(Purchase, bool), Status> {
        let request =
            VoidPurchaseRequest { id: purchase.id.clone(), reason: reason.to_owned(), ..Default::default() };
        let response = self.engagement().void_purchase(request).await?.into_inner();
        Ok((response.purchase.expect("the purchase"), response.deduplicated))
    }

    /// Returns all pages of the refunds of a purchase.
    pub(crate) async fn all_refunds(&self, purchase_id: &str, page_size: i32) -> Result<Vec<Refund>, Status> {
        let purchase_id = purchase_id.to_owned();
        let mut request = ListRefundsRequest { page_size, purchase_id, ..Default::default() };
        let mut refunds = Vec::new();
        loop {
            let page = self.engagement().list_refunds(request.clone()).await?.into_inner();
            refunds.extend(page.refunds);
            if page.next_page_token.is_empty() {
                return Ok(refunds);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn refund(&self, request: RefundPurchaseRequest) -> Result<Purchase, Status> {
        let response = self.engagement().refund_purchase(request).await?.into_inner();
        Ok(response.purchase.expect("the purchase"))
    }

    pub(crate) async fn purchase_page(
        &self,
        request: ListPurchasesRequest,
    ) -> Result<ListPurchasesResponse, Status> {
        Ok(self.engagement().list_purchases(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_purchases(&self, mut request: ListPurchasesRequest) -> Vec<Purchase> {
        let mut purchases = Vec::new();
        loop {
            let page = self.purchase_page(request.clone()).await.expect("a page");
            purchases.extend(page.purchases);
            if page.next_page_token.is_empty() {
                return purchases;
            }
            request.page_token = page.next_page_token;
        }
    }
}
