//! The actions on purchases, each within one transaction.

use std::collections::{BTreeMap, HashMap};

use futures_util::try_join;
use uuid::Uuid;

use super::rules::{self, Refunding, Settling};
use super::store::refunds::{self, Refund};
use super::store::{self, Cursor, Filter, Purchase};
use crate::campaigns::touches::store::{Touches, list_touches};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::rpc::Page;
use crate::rpc::etag::{self, Etag};
use crate::times;
use crate::{campaigns, conversations, customers};

/// The limit of refunds that are returned with a purchase; `ListRefunds` has all of them.
const MAX_REFUNDS: i64 = 100;

/// A purchase with its refunds and touches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Receipt {
    pub(crate) purchase: Purchase,
    /// The refunds, in the order in which they were made.
    pub(crate) refunds: Vec<Refund>,
    /// The campaigns of the customer's first and last touch before it.
    pub(crate) touches: Touches,
}

/// A refund, and the currency of its purchase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Repayment {
    pub(crate) refund: Refund,
    pub(crate) currency: String,
}

/// The result of a call on a purchase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    /// Whether it had been done before, so that nothing changed.
    pub(crate) deduplicated: bool,
}

/// Records a purchase, and writes its outcome to its conversation. If its order is recorded with the same
/// content, the recorded purchase is returned as it is now.
pub(crate) async fn record(tx: &TenantTx, purchase: Purchase) -> Result<Done> {
    if let Some(order_id) = &purchase.order_id
        && let Some(known) = store::find_by_order(tx, order_id).await?
    {
        return again(tx, known, &purchase).await;
    }
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
        // Another call recorded it in between.
        let order_id = purchase.order_id.as_deref().unwrap_or_default();
        let known = store::find_by_order(tx, order_id).await?;
        let known = known.ok_or_else(|| Error::internal("an order is taken by no purchase"))?;
        return again(tx, known, &purchase).await;
    }
    let outcomes: BTreeMap<_, _> = purchase.conversation_id.zip(purchase.outcome).into_iter().collect();
    conversations::actions::conclude(tx, &outcomes).await?;
    Ok(Done { receipt: complete_one(tx, purchase).await?, deduplicated: false })
}

/// Returns the recorded purchase, if the new one has the same content.
async fn again(tx: &TenantTx, known: Purchase, purchase: &Purchase) -> Result<Done> {
    rules::check_same(&known, purchase)?;
    Ok(Done { receipt: complete_one(tx, known).await?, deduplicated: true })
}

/// Returns the purchase with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Receipt> {
    complete_one(tx, store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))?).await
}

/// Records how the payment of a purchase ended.
pub(crate) async fn settle(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    settling: &Settling,
) -> Result<Done> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    let changed = rules::settle(&current, settling, times::now())?;
    change(tx, current, expected, changed).await
}

/// Voids a purchase.
pub(crate) async fn void(tx: &TenantTx, id: Uuid, expected: Option<Etag>, reason: &str) -> Result<Done> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    let changed = rules::void(&current, reason, times::now())?;
    change(tx, current, expected, changed).await
}

/// Writes the change of a locked purchase, if it has one.
async fn change(
    tx: &TenantTx,
    current: Purchase,
    expected: Option<Etag>,
    changed: Option<Purchase>,
) -> Result<Done> {
    let Some(changed) = changed else {
        return Ok(Done { receipt: complete_one(tx, current).await?, deduplicated: true });
    };
    etag::check(expected, current.etag())?;
    store::update(tx, &changed).await?;
    Ok(Done { receipt: complete_one(tx, changed).await?, deduplicated: false })
}

/// Records a refund. The purchase is locked, so that concurrent refunds together do not exceed the payment.
pub(crate) async fn refund(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    refunding: Refunding,
) -> Result<Done> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    if let Some(refund_id) = &refunding.refund_id
        && let Some(known) = refunds::find_by_refund_id(tx, id, refund_id).await?
    {
        rules::check_same_refund(&current, &known, &refunding)?;
        return Ok(Done { receipt: complete_one(tx, current).await?, deduplicated: true });
    }
    etag::check(expected, current.etag())?;
    let (purchase, refund) = rules::refund(&current, refunding, Uuid::now_v7(), times::now())?;
    refunds::insert(tx, &refund).await?;
    store::update(tx, &purchase).await?;
    Ok(Done { receipt: complete_one(tx, purchase).await?, deduplicated: false })
}

/// Returns one page of the refunds of a purchase, and one row more if there is one.
pub(crate) async fn list_refunds(
    tx: &TenantTx,
    purchase_id: Uuid,
    page: &Page<refunds::Cursor>,
) -> Result<Rows<Repayment>> {
    let purchase = store::find(tx, purchase_id).await?.ok_or_else(|| rules::not_found(purchase_id))?;
    let refunds = refunds::list(tx, purchase_id, page).await?;
    Ok(refunds.map(|refund| Repayment { refund, currency: purchase.currency.clone() }))
}

/// Returns one page of purchases.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Receipt>> {
    // A plan for any value does not know which words are rare and which are common.
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    // Nothing else is read of the row after the page.
    let Rows { rows, cut_short } = page.cut(store::list(tx, filter, direction, page).await?);
    Ok(Rows { rows: complete(tx, rows).await?, cut_short })
}

async fn complete_one(tx: &TenantTx, purchase: Purchase) -> Result<Receipt> {
    let receipt = complete(tx, vec![purchase]).await?.pop();
    receipt.ok_or_else(|| Error::internal("a purchase without a receipt"))
}

/// Reads the refunds and the touches of purchases, in one flight.
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
