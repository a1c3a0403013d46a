//! `EngagementService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::interest;
use super::interest::store::scores::AsOf;
use super::interest::wire::Wish;
use super::purchases;
use super::purchases::actions::Receipt;
use crate::conversations::feed::Feed;
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::together::Together;
use crate::rpc::words::stored;
use crate::rpc::{self, Call, PageKey, page, times};

/// `EngagementService`.
pub struct Engagements {
    db: Db,
    page_key: PageKey,
    feed: Feed,
}

impl Engagements {
    /// The service over this database. Conversations that get an outcome are told of through `feed`.
    pub(crate) fn new(db: Db, page_key: PageKey, feed: Feed) -> Self {
        Self { db, page_key, feed }
    }
}

#[async_trait]
impl pb::engagement_service_server::EngagementService for Engagements {
    async fn record_interest_events(
        &self,
        request: Request<pb::RecordInterestEventsRequest>,
    ) -> Result<Response<pb::RecordInterestEventsResponse>, Status> {
        let call = Call::open(request)?;
        let now = times::now();
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let events = interest::wire::record(&call.message, now);
            let results = interest::actions::record(tx, events).await?;
            Ok(interest::wire::recorded(&call.message, results))
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
            let (events, next) = interest::actions::list(tx, &filter, direction, &page).await?;
            let (interest_events, next) = page::fit(events, next, Cursor::at);
            Ok(pb::ListInterestEventsResponse {
                interest_events,
                next_page_token: self.page_key.next(&call, next)?,
            })
        });
        Ok(response.await?)
    }

    async fn list_interest_scores(
        &self,
        request: Request<pb::ListInterestScoresRequest>,
    ) -> Result<Response<pb::ListInterestScoresResponse>, Status> {
        let call = Call::open(request)?;
        let Wish { customer_id, as_of, limit } = interest::wire::wish(&call.message, times::now())?;
        let response = rpc::read(&self.db, &call, async |tx: &TenantTx| {
            let scores = interest::actions::score(tx, customer_id, AsOf::Time(as_of), limit).await?;
            Ok(pb::ListInterestScoresResponse {
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
        let outcome = stored(call.message.conversation_outcome);
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let receipt = purchases::actions::record(tx, purchase.clone(), outcome).await?;
            Ok(pb::RecordPurchaseResponse { purchase: Some(receipt.into()) })
        });
        let response = response.await?;
        if let Some((id, _)) = purchase.conversation_id.zip(outcome) {
            self.feed.changed(&call.context.caller, id);
        }
        Ok(response)
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
            let (receipts, next) = purchases::actions::list(tx, &filter, direction, &page).await?;
            let end = |receipt: &Receipt| Cursor::at(&receipt.purchase);
            let (purchases, next) = page::fit(receipts, next, end);
            Ok(pb::ListPurchasesResponse { purchases, next_page_token: self.page_key.next(&call, next)? })
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
            let receipt = purchases::actions::refund(tx, id, expected, refunding.clone()).await?;
            Ok(pb::RefundPurchaseResponse { purchase: Some(receipt.into()) })
        });
        Ok(response.await?)
    }
}
