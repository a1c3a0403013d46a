//! Decisions about purchases that need no database: which purchases are the same, which steps are allowed, and
//! what may be refunded.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Purchase;
use super::store::refunds::Refund;
use crate::campaigns::touches::paid::PAID;
use crate::contract::Word;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, PurchaseStatus as Status};
use crate::rpc::{money, structs};

/// The end of a payment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settling {
    /// PAID or FAILED.
    pub(crate) status: Status,
    /// The new id of the payment; `None` to keep the present one.
    pub(crate) payment_id: Option<String>,
}

/// A refund to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refunding {
    /// The amount; `None` for all that is left.
    pub(crate) amount: Option<crate::pb::Money>,
    pub(crate) reason: String,
    pub(crate) refund_id: Option<String>,
}

/// Refuses a purchase whose order has another one with other content.
pub(crate) fn check_same(known: &Purchase, purchase: &Purchase) -> Result<()> {
    let Purchase {
        id: _,
        customer_id,
        order_id: _,
        payment_id,
        currency,
        amount_micros,
        refunded_micros: _,
        status: _,
        recorded_status,
        items,
        purchased_at,
        has_purchased_at,
        conversation_id,
        campaign_id,
        outcome,
        metadata,
        void_reason: _,
        created_at: _,
        updated_at: _,
        revision: _,
    } = purchase;
    let same_time = *has_purchased_at == known.has_purchased_at
        && (!has_purchased_at || *purchased_at == known.purchased_at);
    // A settlement may have set another one since.
    let may_be_settled = known.recorded_status.0 != Status::Paid && known.revision > 1;
    let same = [
        ("customer_id", *customer_id == known.customer_id),
        ("payment_id", may_be_settled || *payment_id == known.payment_id),
        ("status", *recorded_status == known.recorded_status),
        ("amount", (currency, *amount_micros) == (&known.currency, known.amount_micros)),
        ("items", *items == known.items),
        ("purchase_time", same_time),
        ("conversation_id", *conversation_id == known.conversation_id),
        ("campaign_id", *campaign_id == known.campaign_id),
        ("conversation_outcome", *outcome == known.outcome),
        // Compared as messages: jsonb writes some numbers in another way.
        ("metadata", structs::from_json(metadata) == structs::from_json(&known.metadata)),
    ];
    let differing: Vec<_> = same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect();
    if differing.is_empty() { Ok(()) } else { Err(order_id_taken(known.id, &differing)) }
}

/// Returns the purchase after its payment ended; `None` if it had ended in the same way before.
pub(crate) fn settle(
    current: &Purchase,
    settling: &Settling,
    now: DateTime<Utc>,
) -> Result<Option<Purchase>> {
    let Settling { status, payment_id } = settling;
    let from = current.status.0;
    let is_there = from == *status || (*status == Status::Paid && PAID.contains(&from));
    let same_payment = payment_id.is_none() || *payment_id == current.payment_id;
    if is_there && same_payment {
        return Ok(None);
    }
    match from {
        // A second payment may fail, too.
        Status::Pending | Status::Failed => Ok(Some(Purchase {
            status: Text(*status),
            payment_id: payment_id.clone().or_else(|| current.payment_id.clone()),
            updated_at: now,
            revision: current.revision + 1,
            ..current.clone()
        })),
        _ if is_there => Err(not_allowed(current, "another payment_id")),
        _ => Err(not_allowed(current, &format!("the step to {}", status.word()))),
    }
}

/// Returns the purchase after it was voided; `None` if it was voided before.
pub(crate) fn void(current: &Purchase, reason: &str, now: DateTime<Utc>) -> Result<Option<Purchase>> {
    match current.status.0 {
        Status::Pending | Status::Failed | Status::Paid => Ok(Some(Purchase {
            status: Text(Status::Voided),
            void_reason: reason.to_owned(),
            updated_at: now,
            revision: current.revision + 1,
            ..current.clone()
        })),
        Status::Voided if reason.is_empty() || reason == current.void_reason => Ok(None),
        Status::Voided => Err(not_allowed(current, "another reason")),
        _ => Err(not_allowed(current, "the step to VOIDED")),
    }
}

/// Returns the purchase after the refund, and the row of the refund.
pub(crate) fn refund(
    current: &Purchase,
    refunding: Refunding,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(Purchase, Refund)> {
    let Refunding { amount, reason, refund_id } = refunding;
    if !PAID.contains(&current.status.0) {
        return Err(not_allowed(current, "a refund"));
    }
    let left = current.amount_micros - current.refunded_micros;
    let amount_micros = match amount {
        Some(amount) => {
            money::check_currency("amount", &amount, &current.currency)?;
            money::to_micros("amount", &amount)?
        }
        None => left,
    };
    if left == 0 || amount_micros > left {
        return Err(exceeds(current, left));
    }
    let refunded_micros = current.refunded_micros + amount_micros;
    let status = match refunded_micros == current.amount_micros {
        true => Status::Refunded,
        false => Status::PartiallyRefunded,
    };
    let purchase = Purchase {
        refunded_micros,
        status: Text(status),
        updated_at: now,
        revision: current.revision + 1,
        ..current.clone()
    };
    let refund = Refund { id, purchase_id: current.id, refund_id, amount_micros, reason, created_at: now };
    Ok((purchase, refund))
}

/// Refuses a refund whose id the purchase has with other content. A refund without an amount was all that was
/// left, so it is the same only if nothing is left.
pub(crate) fn check_same_refund(current: &Purchase, known: &Refund, refunding: &Refunding) -> Result<()> {
    let same_amount = match &refunding.amount {
        Some(amount) => {
            amount.currency_code == current.currency
                && money::to_micros("amount", amount)? == known.amount_micros
        }
        None => current.status.0 == Status::Refunded,
    };
    if same_amount && refunding.reason == known.reason {
        return Ok(());
    }
    Err(Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "the purchase has a refund with this refund_id and another amount or reason; use a new one"
            .to_owned(),
        kind: "refund",
        name: known.id.to_string(),
    })
}

/// Returns the error for a purchase that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::PurchaseNotFound, kind: "purchase", name: id.to_string() }
}

/// Returns the error for an order_id of another purchase, which differs in these fields.
pub(crate) fn order_id_taken(other: Uuid, differing: &[&str]) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::OrderIdTaken,
        message: format!(
            "the order_id has the purchase {other} with other content: it differs in {}; use another order_id, or \
             send what was sent before",
            differing.join(", ")
        ),
        kind: "purchase",
        name: other.to_string(),
    }
}

/// Returns the error for a refund of more than is left.
pub(crate) fn exceeds(purchase: &Purchase, left: i64) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::RefundExceedsPayment,
        message: match left {
            0 => "nothing is left of what was paid; there is nothing to pay back".to_owned(),
            left => format!(
                "{} is left of what was paid; pay back that much at most",
                money::show(&purchase.currency, left)
            ),
        },
        subject: subject(purchase),
    }
}

/// Returns the error for a step that the status of the purchase does not allow.
pub(crate) fn not_allowed(purchase: &Purchase, what: &str) -> Error {
    let from = purchase.status.0;
    let allowed = match from {
        Status::Pending | Status::Failed => "SettlePurchase, VoidPurchase",
        Status::Paid => "RefundPurchase, VoidPurchase",
        Status::PartiallyRefunded => "RefundPurchase",
        Status::Refunded | Status::Voided | Status::Unspecified => "none",
    };
    Error::FailedPrecondition {
        reason: ErrorReason::PurchaseStepNotAllowed,
        message: format!(
            "{what} is not allowed: the purchase is {}; steps that are allowed from there: {allowed}",
            from.word()
        ),
        subject: subject(purchase),
    }
}

fn subject(purchase: &Purchase) -> String {
    format!("purchase/{}", purchase.id)
}
