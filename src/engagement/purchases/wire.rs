//! Purchases: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::actions::{Done, Receipt, Repayment};
use super::rules::{Refunding, Settling};
use super::store::refunds::Refund;
use super::store::{Filter, Item, Purchase};
use crate::campaigns::touches::store::Touches;
use crate::conversations::rules::check_not_ahead;
use crate::db::json::Json;
use crate::db::words::{Text, stored, stored_each, wire};
use crate::engagement::rules::check_outcome;
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::etag::Etag;
use crate::rpc::together::{self, Together};
use crate::rpc::{self, money, structs};
use crate::times;

impl From<Receipt> for pb::Purchase {
    fn from(value: Receipt) -> Self {
        let Receipt { purchase, refunds, touches: Touches { first, last } } = value;
        let Purchase {
            id,
            customer_id,
            order_id,
            payment_id,
            currency,
            amount_micros,
            refunded_micros,
            status,
            recorded_status: _,
            items: Json(items),
            purchased_at,
            has_purchased_at: _,
            conversation_id,
            campaign_id,
            outcome: _,
            metadata,
            void_reason,
            created_at,
            updated_at,
            revision,
        } = purchase;
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            order_id: order_id.unwrap_or_default(),
            payment_id: payment_id.unwrap_or_default(),
            amount: Some(money::of_micros(&currency, amount_micros.into())),
            refunded: Some(money::of_micros(&currency, refunded_micros.into())),
            status: wire(Some(status)),
            items: items.into_iter().map(|item| item_to_wire(item, &currency)).collect(),
            purchase_time: Some(times::to_wire(purchased_at)),
            conversation_id: rpc::optional_text(conversation_id),
            campaign_id: rpc::optional_text(campaign_id),
            first_touch_campaign_id: rpc::optional_text(first),
            last_touch_campaign_id: rpc::optional_text(last),
            conversation_outcome: 0,
            metadata: structs::from_json(&metadata),
            void_reason,
            refunds: refunds
                .into_iter()
                .map(|refund| Repayment { refund, currency: currency.clone() }.into())
                .collect(),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

fn item_to_wire(item: Item, currency: &str) -> pb::PurchaseItem {
    let Item { sku, name, quantity, unit_price_micros } = item;
    let unit_price = unit_price_micros.map(|micros| money::of_micros(currency, micros.into()));
    pb::PurchaseItem { sku, name, quantity, unit_price }
}

impl From<Repayment> for pb::Refund {
    fn from(Repayment { refund, currency }: Repayment) -> Self {
        let Refund { id, purchase_id, refund_id, amount_micros, reason, created_at } = refund;
        Self {
            id: id.to_string(),
            purchase_id: purchase_id.to_string(),
            refund_id: refund_id.unwrap_or_default(),
            amount: Some(money::of_micros(&currency, amount_micros.into())),
            reason,
            create_time: Some(times::to_wire(created_at)),
        }
    }
}

impl From<Done> for pb::RecordPurchaseResponse {
    fn from(Done { receipt, deduplicated }: Done) -> Self {
        Self { purchase: Some(receipt.into()), deduplicated }
    }
}

impl From<Done> for pb::SettlePurchaseResponse {
    fn from(Done { receipt, deduplicated }: Done) -> Self {
        Self { purchase: Some(receipt.into()), deduplicated }
    }
}

impl From<Done> for pb::VoidPurchaseResponse {
    fn from(Done { receipt, deduplicated }: Done) -> Self {
        Self { purchase: Some(receipt.into()), deduplicated }
    }
}

impl From<Done> for pb::RefundPurchaseResponse {
    fn from(Done { receipt, deduplicated }: Done) -> Self {
        Self { purchase: Some(receipt.into()), deduplicated }
    }
}

/// Returns which purchases a list shows.
pub(crate) fn filter(request: &pb::ListPurchasesRequest) -> Result<Filter> {
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", &request.conversation_id)?,
        campaign_id: rpc::optional_id("campaign_id", &request.campaign_id)?,
        order_id: rpc::non_empty(&request.order_id),
        statuses: stored_each(&request.statuses),
        currency: rpc::non_empty(&request.currency_code),
        purchased_from: times::optional(request.purchase_time_from.as_ref()),
        purchased_until: times::optional(request.purchase_time_until.as_ref()),
    })
}

/// Returns the row of a new purchase.
pub(crate) fn record(request: &pb::RecordPurchaseRequest, id: Uuid, now: DateTime<Utc>) -> Result<Purchase> {
    let pb::RecordPurchaseRequest { purchase, request_id: _ } = request;
    let pb::Purchase {
        id: _,
        customer_id,
        order_id,
        payment_id,
        status,
        amount,
        refunded: _,
        items,
        purchase_time,
        conversation_id,
        campaign_id,
        first_touch_campaign_id: _,
        last_touch_campaign_id: _,
        conversation_outcome,
        metadata,
        void_reason: _,
        refunds: _,
        create_time: _,
        update_time: _,
        etag: _,
    } = rpc::required("purchase", purchase.as_ref())?;
    let purchased_at = times::optional(purchase_time.as_ref());
    let (ids, (amount, items), ()) = (
        (
            rpc::id("purchase.customer_id", customer_id),
            rpc::optional_id("purchase.conversation_id", conversation_id),
            rpc::optional_id("purchase.campaign_id", campaign_id),
        )
            .together(),
        rpc::required("purchase.amount", amount.as_ref()).and_then(|amount| {
            let currency = amount.currency_code.as_str();
            let items = items.iter().enumerate().map(|(index, item)| self::item(index, item, currency));
            let micros = money::to_micros("purchase.amount", amount).map(|micros| (currency, micros));
            (micros, together::all(items)).together()
        }),
        check_not_ahead("purchase.purchase_time", purchased_at.unwrap_or(now), now),
    )
        .together()?;
    let ((currency, amount_micros), (customer_id, conversation_id, campaign_id)) = (amount, ids);
    let outcome = stored(*conversation_outcome);
    check_outcome("purchase.conversation_id", outcome, conversation_id)?;
    let status = stored(*status).unwrap_or(Text(pb::PurchaseStatus::Paid));
    Ok(Purchase {
        id,
        customer_id,
        order_id: rpc::non_empty(order_id),
        payment_id: rpc::non_empty(payment_id),
        currency: currency.to_owned(),
        amount_micros,
        refunded_micros: 0,
        status,
        recorded_status: status,
        items: Json(items),
        purchased_at: purchased_at.unwrap_or(now),
        has_purchased_at: purchased_at.is_some(),
        conversation_id,
        campaign_id,
        outcome,
        metadata: structs::to_json(metadata.as_ref()),
        void_reason: String::new(),
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// Returns one item of a purchase, in the currency of the purchase.
fn item(index: usize, item: &pb::PurchaseItem, currency: &str) -> Result<Item> {
    let pb::PurchaseItem { sku, name, quantity, unit_price } = item;
    let field = format!("purchase.items[{index}].unit_price");
    let price = |price: &pb::Money| {
        let same = money::check_currency(&field, price, currency);
        (same, money::to_micros(&field, price)).together().map(|((), micros)| micros)
    };
    Ok(Item {
        sku: sku.clone(),
        name: name.clone(),
        quantity: if *quantity == 0 { 1 } else { *quantity },
        unit_price_micros: unit_price.as_ref().map(price).transpose()?,
    })
}

/// Returns how a payment ended.
pub(crate) fn settling(request: &pb::SettlePurchaseRequest) -> Settling {
    Settling { status: request.status(), payment_id: rpc::non_empty(&request.payment_id) }
}

/// Returns the refund that a request asks for. Its amount must be more than 0.
pub(crate) fn refunding(request: &pb::RefundPurchaseRequest) -> Result<Refunding> {
    let pb::RefundPurchaseRequest { id: _, amount, reason, refund_id, etag: _, request_id: _ } = request;
    if let Some(amount) = amount
        && money::to_micros("amount", amount)? == 0
    {
        return Err(Error::invalid("amount", "money.gt", "must be more than nothing"));
    }
    Ok(Refunding { amount: amount.clone(), reason: reason.clone(), refund_id: rpc::non_empty(refund_id) })
}
