//! Purchases: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::actions::Receipt;
use super::rules::Refunding;
use super::store::refunds::Refund;
use super::store::{Filter, Item, Purchase};
use crate::conversations::rules::check_not_ahead;
use crate::db::json::Json;
use crate::engagement::rules::check_outcome;
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::etag::Etag;
use crate::rpc::together::{self, Together};
use crate::rpc::words::{Text, stored, stored_each, wire};
use crate::rpc::{self, money, times};

impl From<Receipt> for pb::Purchase {
    fn from(value: Receipt) -> Self {
        let Receipt { purchase, refunds, touches: (first, last) } = value;
        let Purchase {
            id,
            customer_id,
            order_id,
            currency,
            amount_micros,
            refunded_micros,
            status,
            items: Json(items),
            purchased_at,
            conversation_id,
            campaign_id,
            created_at,
            updated_at,
            revision,
        } = purchase;
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            order_id: order_id.unwrap_or_default(),
            amount: Some(money::of_micros(&currency, amount_micros.into())),
            refunded: Some(money::of_micros(&currency, refunded_micros.into())),
            status: wire(Some(status)),
            items: items.into_iter().map(|item| item_to_wire(item, &currency)).collect(),
            purchase_time: Some(times::to_wire(purchased_at)),
            conversation_id: rpc::optional_text(conversation_id),
            campaign_id: rpc::optional_text(campaign_id),
            first_touch_campaign_id: rpc::optional_text(first),
            last_touch_campaign_id: rpc::optional_text(last),
            refunds: refunds.into_iter().map(|refund| refund_to_wire(refund, &currency)).collect(),
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

fn refund_to_wire(refund: Refund, currency: &str) -> pb::Refund {
    let Refund { id, purchase_id: _, amount_micros, reason, created_at } = refund;
    pb::Refund {
        id: id.to_string(),
        amount: Some(money::of_micros(currency, amount_micros.into())),
        reason,
        create_time: Some(times::to_wire(created_at)),
    }
}

/// Which purchases a list shows.
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

/// A new purchase.
pub(crate) fn record(request: &pb::RecordPurchaseRequest, id: Uuid, now: DateTime<Utc>) -> Result<Purchase> {
    let pb::RecordPurchaseRequest {
        customer_id,
        order_id,
        amount,
        items,
        purchase_time,
        conversation_id,
        campaign_id,
        conversation_outcome,
        request_id: _,
    } = request;
    let purchased_at = times::optional(purchase_time.as_ref()).unwrap_or(now);
    let (ids, (amount, items), ()) = (
        (
            rpc::id("customer_id", customer_id),
            rpc::optional_id("conversation_id", conversation_id),
            rpc::optional_id("campaign_id", campaign_id),
        )
            .together(),
        rpc::required("amount", amount.as_ref()).and_then(|amount| {
            let currency = amount.currency_code.as_str();
            let items = items.iter().enumerate().map(|(index, item)| self::item(index, item, currency));
            let micros = money::to_micros("amount", amount).map(|micros| (currency, micros));
            (micros, together::all(items)).together()
        }),
        check_not_ahead("purchase_time", purchased_at, now),
    )
        .together()?;
    let ((currency, amount_micros), (customer_id, conversation_id, campaign_id)) = (amount, ids);
    check_outcome(stored(*conversation_outcome), conversation_id)?;
    Ok(Purchase {
        id,
        customer_id,
        order_id: rpc::non_empty(order_id),
        currency: currency.to_owned(),
        amount_micros,
        refunded_micros: 0,
        status: Text(pb::PurchaseStatus::Paid),
        items: Json(items),
        purchased_at,
        conversation_id,
        campaign_id,
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// One thing that was bought, in the currency of the purchase.
fn item(index: usize, item: &pb::PurchaseItem, currency: &str) -> Result<Item> {
    let pb::PurchaseItem { sku, name, quantity, unit_price } = item;
    let field = format!("items[{index}].unit_price");
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

/// What is to be paid back: more than nothing.
pub(crate) fn refunding(request: &pb::RefundPurchaseRequest) -> Result<Refunding> {
    let pb::RefundPurchaseRequest { id: _, amount, reason, etag: _, request_id: _ } = request;
    if let Some(amount) = amount
        && money::to_micros("amount", amount)? == 0
    {
        return Err(Error::invalid("amount", "money.gt", "must be more than nothing"));
    }
    Ok(Refunding { amount: amount.clone(), reason: reason.clone() })
}
