//! `EngagementService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::interest;
use super::interest::store::scores::AsOf;
use super::interest::wire::Params;
use super::purchases;
use super::purchases::actions::{Receipt, Repayment};
use crate::conversations::feed::Feed;
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::servers::engagement_service_server::EngagementService;
use crate::rpc::together::Together;
use crate::rpc::{self, Call, PageKey};
use crate::times;

/// `EngagementService`.
pub struct Engagements {
    db: Db,
    page_key: PageKey,
    feed: Feed,
}

impl Engagements {
    /// Creates the service over this database. Watchers of conversations that get an outcome are told through
    /// `feed`.
    pub(crate) fn new(db: Db, page_key: PageKey, feed: Feed) -> Self {
        Self { db, page_key, feed }
    }
}

#[async_trait]
impl EngagementService for Engagements {
    async fn record_interest_events(
        &self,
        request: Request<pb::RecordInterestEventsRequest>,
    ) -> Result<Response<pb::RecordInterestEventsResponse>, Status> {
        let call = Call::open(request)?;
        let now = times::now();
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let events = interest::wire::record(&call.message, now);
            let results = interest::actions::record(tx, events).await?;
            Ok(interest::wire::recorded(results))
        });
        let response = response.await?;
        for id in interest::wire::concluded(&call.message, response.get_ref()) {
            self.feed.changed(&call.context.caller, rpc::id("conversation_id", id)?);
        }
        Ok(response)
    }

    async fn list_interest_events(
        &self,
        request: Request<pb::ListInterestEventsRequest>,
    ) -> Result<Response<pb::ListInterestEventsResponse>, Status> {
        use interest::store::Cursor;
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = interest::wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let rows = interest::actions::list(tx, &filter, direction, &page).await?;
            let (interest_events, next_page_token) = self.page_key.finish(&call, &page, rows, Cursor::at)?;
            Ok(pb::ListInterestEventsResponse { interest_events, next_page_token })
        });
        Ok(response.await?)
    }

    async fn get_interest_event(
        &self,
        request: Request<pb::GetInterestEventRequest>,
    ) -> Result<Response<pb::GetInterestEventResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let event = interest::actions::get(tx, id).await?;
            Ok(pb::GetInterestEventResponse { interest_event: Some(event.into()) })
        });
        Ok(response.await?)
    }

    async fn get_interest_scores(
        &self,
        request: Request<pb::GetInterestScoresRequest>,
    ) -> Result<Response<pb::GetInterestScoresResponse>, Status> {
        let call = Call::open(request)?;
        let Params { customer_id, as_of, limit } = interest::wire::params(&call.message, times::now())?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let scores = interest::actions::score(tx, customer_id, AsOf::Time(as_of), limit).await?;
            Ok(pb::GetInterestScoresResponse {
                interest_scores: scores.into_iter().map(Into::into).collect(),
                as_of_time: Some(times::to_wire(as_of)),
            })
        });
        Ok(response.await?)
    }

    async fn record_purchase(
        &self,
        request: Request<pb::RecordPurchaseRequest>,
    ) -> Result<Response<pb::RecordPurchaseResponse>, Status> {
        let (call, purchase) =
            Call::read(request, |call| purchases::wire::record(&call.message, Uuid::now_v7(), times::now()))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            Ok(purchases::actions::record(tx, purchase.clone()).await?.into())
        });
        let response = response.await?;
        if let Some((id, _)) = purchase.conversation_id.zip(purchase.outcome)
            && !response.get_ref().deduplicated
        {
            self.feed.changed(&call.context.caller, id);
        }
        Ok(response)
    }

    async fn get_purchase(
        &self,
        request: Request<pb::GetPurchaseRequest>,
    ) -> Result<Response<pb::GetPurchaseResponse>, Status> {
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let receipt = purchases::actions::get(tx, id).await?;
            Ok(pb::GetPurchaseResponse { purchase: Some(receipt.into()) })
        });
        Ok(response.await?)
    }

    async fn list_purchases(
        &self,
        request: Request<pb::ListPurchasesRequest>,
    ) -> Result<Response<pb::ListPurchasesResponse>, Status> {
        use purchases::store::Cursor;
        let (call, page) = Call::read(request, |call| self.page_key.open(call))?;
        let direction = Direction::of(&call.message.order_by);
        let filter = purchases::wire::filter(&call.message)?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let at = |receipt: &Receipt| Cursor::at(&receipt.purchase);
            let rows = purchases::actions::list(tx, &filter, direction, &page).await?;
            let (purchases, next_page_token) = self.page_key.finish(&call, &page, rows, at)?;
            Ok(pb::ListPurchasesResponse { purchases, next_page_token })
        });
        Ok(response.await?)
    }

    async fn settle_purchase(
        &self,
        request: Request<pb::SettlePurchaseRequest>,
    ) -> Result<Response<pb::SettlePurchaseResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let settling = purchases::wire::settling(&call.message);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            Ok(purchases::actions::settle(tx, id, expected, &settling).await?.into())
        });
        Ok(response.await?)
    }

    async fn void_purchase(
        &self,
        request: Request<pb::VoidPurchaseRequest>,
    ) -> Result<Response<pb::VoidPurchaseResponse>, Status> {
        let (call, (id, expected)) =
            Call::read(request, |call| rpc::subject(&call.message.id, &call.message.etag))?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            Ok(purchases::actions::void(tx, id, expected, &call.message.reason).await?.into())
        });
        Ok(response.await?)
    }

    async fn refund_purchase(
        &self,
        request: Request<pb::RefundPurchaseRequest>,
    ) -> Result<Response<pb::RefundPurchaseResponse>, Status> {
        let (call, ((id, expected), refunding)) = Call::read(request, |call| {
            let subject = rpc::subject(&call.message.id, &call.message.etag);
            (subject, purchases::wire::refunding(&call.message)).together()
        })?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            Ok(purchases::actions::refund(tx, id, expected, refunding.clone()).await?.into())
        });
        Ok(response.await?)
    }

    async fn list_refunds(
        &self,
        request: Request<pb::ListRefundsRequest>,
    ) -> Result<Response<pb::ListRefundsResponse>, Status> {
        use purchases::store::refunds::Cursor;
        let (call, (page, purchase_id)) = Call::read(request, |call| {
            (self.page_key.open(call), rpc::id("purchase_id", &call.message.purchase_id)).together()
        })?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let at = |repayment: &Repayment| Cursor::at(&repayment.refund);
            let rows = purchases::actions::list_refunds(tx, purchase_id, &page).await?;
            let (refunds, next_page_token) = self.page_key.finish(&call, &page, rows, at)?;
            Ok(pb::ListRefundsResponse { refunds, next_page_token })
        });
        Ok(response.await?)
    }
}
