//! The statuses of paid purchases. These count as revenue wherever purchases are counted or shown to an agent.
//!
//! They are here because campaigns count purchases too, and lie below engagement and the dashboard.

use diesel::pg::Pg;
use diesel::query_builder::AstPass;

use crate::contract::Word;
use crate::pb::PurchaseStatus;

/// The statuses of purchases that are paid, refunded or not.
pub(crate) const PAID: [PurchaseStatus; 3] =
    [PurchaseStatus::Paid, PurchaseStatus::PartiallyRefunded, PurchaseStatus::Refunded];

/// Writes the condition that a purchase is paid, given the column of its status.
pub(crate) fn push_paid(out: &mut AstPass<'_, '_, Pg>, status: &str) {
    let words = PAID.map(|status| format!("'{}'", status.word())).join(", ");
    out.push_sql(&format!("{status} IN ({words})"));
}
