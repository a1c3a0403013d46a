//! What one transaction does to purchases.

use std::collections::{BTreeMap, HashMap};

use futures_util::try_join;
use uuid::Uuid;

use super::rules::{self, Refunding};
use super::store::refunds::{self, Refund};
use super::store::{self, Cursor, Filter, Purchase};
use crate::campaigns::touches::store::list_touches;
use crate::db::TenantTx;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::pb::ConversationOutcome;
use crate::rpc::etag::{self, Etag};
use crate::rpc::words::Text;
use crate::rpc::{Page, times};
use crate::{campaigns, conversations, customers};

/// Refunds that come with a purchase at most: nobody pays back in so many parts.
const MAX_REFUNDS: i64 = 100;

/// A purchase with what is read beside it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Receipt {
    pub(crate) purchase: Purchase,
    /// In the order in which they were made.
    pub(crate) refunds: Vec<Refund>,
    /// The campaigns with which the customer first and last had to do before it.
    pub(crate) touches: (Option<Uuid>, Option<Uuid>),
}

/// Adds a purchase, and gives the conversation that it came of its outcome.
pub(crate) async fn record(
    tx: &TenantTx,
    purchase: Purchase,
    outcome: Option<Text<ConversationOutcome>>,
) -> Result<Receipt> {
    customers::actions::require(tx, purchase.customer_id).await?;
    if let Some(id) = purchase.conversation_id {
        conversations::actions::require_of(tx, purchase.customer_id, id).await?;
    }
    if let Some(id) = purchase.campaign_id
        && campaigns::store::hold_each(tx, &[id]).await?.is_empty()
    {
        return Err(campaigns::rules::not_found(id));
    }
    if !store::insert(tx, &purchase).await? {
        return Err(taken(tx, &purchase).await?);
    }
    let outcomes: BTreeMap<_, _> = purchase.conversation_id.zip(outcome).into_iter().collect();
    conversations::actions::conclude(tx, &outcomes).await?;
    complete_one(tx, purchase).await
}

/// The error that names the purchase which has the order.
async fn taken(tx: &TenantTx, purchase: &Purchase) -> Result<Error> {
    let order_id = purchase.order_id.as_deref().unwrap_or_default();
    let other = store::find_id_by_order(tx, order_id).await?;
    let other = other.ok_or_else(|| Error::internal("an order is taken by no purchase"))?;
    Ok(rules::order_id_taken(other))
}

/// Writes down that money was paid back. The purchase is held, so that of many at once none pays back what
/// another one has.
pub(crate) async fn refund(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    refunding: Refunding,
) -> Result<Receipt> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, current.etag())?;
    let (purchase, refund) = rules::refund(&current, refunding, Uuid::now_v7(), times::now())?;
    refunds::insert(tx, &refund).await?;
    store::update(tx, &purchase).await?;
    complete_one(tx, purchase).await
}

/// One page of purchases, and where the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<(Vec<Receipt>, Option<Cursor>)> {
    // A plan for any value knows neither rare words nor common ones.
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let (purchases, more) = page.cut(store::list(tx, filter, direction, page).await?);
    let next = purchases.last().filter(|_| more).map(Cursor::at);
    Ok((complete(tx, purchases).await?, next))
}

async fn complete_one(tx: &TenantTx, purchase: Purchase) -> Result<Receipt> {
    let receipt = complete(tx, vec![purchase]).await?.pop();
    receipt.ok_or_else(|| Error::internal("a purchase without a receipt"))
}

/// Reads what belongs to purchases, in one flight.
async fn complete(tx: &TenantTx, purchases: Vec<Purchase>) -> Result<Vec<Receipt>> {
    if purchases.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = purchases.iter().map(|purchase| purchase.id).collect();
    let paid: Vec<_> =
        purchases.iter().map(|purchase| (purchase.customer_id, purchase.purchased_at)).collect();
    let (latest, touches) = try_join!(refunds::list_latest(tx, &ids, MAX_REFUNDS), list_touches(tx, &paid))?;
    let mut refunds: HashMap<Uuid, Vec<Refund>> = HashMap::new();
    for refund in latest.into_iter().rev() {
        refunds.entry(refund.purchase_id).or_default().push(refund);
    }
    let receipts = purchases.into_iter().zip(touches).map(|(purchase, touches)| Receipt {
        refunds: refunds.remove(&purchase.id).unwrap_or_default(),
        purchase,
        touches,
    });
    Ok(receipts.collect())
}
