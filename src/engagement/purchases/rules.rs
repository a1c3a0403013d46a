//! Decisions about purchases that need no database: what may be paid back.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Purchase;
use super::store::refunds::Refund;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, PurchaseStatus};
use crate::rpc::money;
use crate::rpc::words::Text;

/// What is to be paid back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refunding {
    /// All that is left where nothing is said.
    pub(crate) amount: Option<crate::pb::Money>,
    pub(crate) reason: String,
}

/// The purchase after so much of it was paid back, and the refund as it is written down.
pub(crate) fn refund(
    current: &Purchase,
    refunding: Refunding,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(Purchase, Refund)> {
    let Refunding { amount, reason } = refunding;
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
        true => PurchaseStatus::Refunded,
        false => PurchaseStatus::PartiallyRefunded,
    };
    let purchase = Purchase {
        refunded_micros,
        status: Text(status),
        updated_at: now,
        revision: current.revision + 1,
        ..current.clone()
    };
    Ok((purchase, Refund { id, purchase_id: current.id, amount_micros, reason, created_at: now }))
}

/// There is no such purchase in this tenant.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::PurchaseNotFound, kind: "purchase", name: id.to_string() }
}

/// Another purchase has the order_id.
pub(crate) fn order_id_taken(other: Uuid) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::OrderIdTaken,
        message: format!(
            "the order_id has a purchase already: {other}; it was recorded before, so there is nothing to do"
        ),
        kind: "purchase",
        name: other.to_string(),
    }
}

/// Less is left than is to be paid back.
pub(crate) fn exceeds(purchase: &Purchase, left: i64) -> Error {
    let Purchase { id, currency, .. } = purchase;
    Error::FailedPrecondition {
        reason: ErrorReason::RefundExceedsPayment,
        message: match left {
            0 => "nothing is left of what was paid; there is nothing to pay back".to_owned(),
            left => format!(
                "{} is left of what was paid; pay back that much at most",
                money::show(currency, left)
            ),
        },
        subject: format!("purchase/{id}"),
    }
}
