//! `EngagementService`.

use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::interest;
use super::interest::store::scores::AsOf;
use super::purchases;
use super::purchases::actions::Receipt;
use crate::conversations::feed::Feed;
use crate::db::keyset::Direction;
use crate::db::{Db, TenantTx};
use crate::error::Result;
use crate::pb;
use crate::rpc::words::stored;
use crate::rpc::{self, Call, PageKey, etag, page, times};

/// Subjects that scores are given of when the client does not say: what a person reads at a glance.
const DEFAULT_SCORES: i64 = 20;

/// Subjects that scores are given of at most.
const MAX_SCORES: i64 = 100;

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
        let call = Call::open(request)?;
        let page = self.page_key.open(&call)?;
        let direction = direction(&call.message.order_by);
        let filter = events(&call.message)?;
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
        let pb::ListInterestScoresRequest { customer_id, as_of_time, limit } = &call.message;
        let customer_id = rpc::id("customer_id", customer_id)?;
        let as_of = as_of_time.as_ref().and_then(times::from_wire).unwrap_or_else(times::now);
        let limit = match i64::from(*limit) {
            0 => DEFAULT_SCORES,
            limit => limit.min(MAX_SCORES),
        };
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
        let call = Call::open(request)?;
        let purchase = purchases::wire::record(&call.message, Uuid::now_v7(), times::now())?;
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
        let call = Call::open(request)?;
        let page = self.page_key.open(&call)?;
        let direction = direction(&call.message.order_by);
        let filter = bought(&call.message)?;
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
        let call = Call::open(request)?;
        let id = rpc::id("id", &call.message.id)?;
        let expected = etag::to_revision("etag", &call.message.etag)?;
        let refunding = purchases::wire::refunding(&call.message)?;
        let response = rpc::mutate(&self.db, &call, async |tx: &TenantTx| {
            let receipt = purchases::actions::refund(tx, id, expected, refunding.clone()).await?;
            Ok(pb::RefundPurchaseResponse { purchase: Some(receipt.into()) })
        });
        Ok(response.await?)
    }
}

/// Which way a list runs: the newest first, unless its order is named by a time alone.
fn direction(order_by: &str) -> Direction {
    match order_by {
        "occur_time" | "purchase_time" => Direction::Ascending,
        _ => Direction::Descending,
    }
}

fn events(request: &pb::ListInterestEventsRequest) -> Result<interest::store::Filter> {
    let subject = (!request.subject.is_empty()).then(|| interest::rules::subject_key(&request.subject));
    Ok(interest::store::Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", &request.conversation_id)?,
        campaign_id: rpc::optional_id("campaign_id", &request.campaign_id)?,
        kinds: request.kinds.iter().filter_map(|kind| stored(*kind)).collect(),
        subject_key: subject,
        occurred_from: request.occur_time_from.as_ref().and_then(times::from_wire),
        occurred_until: request.occur_time_until.as_ref().and_then(times::from_wire),
    })
}

fn bought(request: &pb::ListPurchasesRequest) -> Result<purchases::store::Filter> {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(purchases::store::Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", &request.conversation_id)?,
        campaign_id: rpc::optional_id("campaign_id", &request.campaign_id)?,
        order_id: text(&request.order_id),
        statuses: request.statuses.iter().filter_map(|status| stored(*status)).collect(),
        currency: text(&request.currency_code),
        purchased_from: request.purchase_time_from.as_ref().and_then(times::from_wire),
        purchased_until: request.purchase_time_until.as_ref().and_then(times::from_wire),
    })
}
