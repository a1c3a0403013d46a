//! The statuses of paid purchases. These count as revenue wherever purchases are counted or shown to an agent.
//!
//! They are here because campaigns count purchases too, and lie below engagement and the dashboard.

use crate::db::statement::fragment;
use crate::pb::PurchaseStatus;

/// The statuses of purchases that are paid, refunded or not.
pub(crate) const PAID: [PurchaseStatus; 3] =
    [PurchaseStatus::Paid, PurchaseStatus::PartiallyRefunded, PurchaseStatus::Refunded];

fragment! {
    /// The end of a condition, after the status of a purchase: the purchase is paid.
    pub(crate) struct IsPaid {}
    "IN ('PAID', 'PARTIALLY_REFUNDED', 'REFUNDED')"
}

#[cfg(test)]
mod tests {
    use diesel::debug_query;
    use diesel::pg::Pg;

    use super::*;
    use crate::contract::Word;

    #[test]
    fn the_statements_have_the_words_of_the_statuses() {
        let words = PAID.map(|status| format!("'{}'", status.word())).join(", ");
        assert_eq!(debug_query::<Pg, _>(&IsPaid {}).to_string(), format!("IN ({words}) -- binds: []"));
    }
}
