//! The reasons why customers may not be sent to now: one rule in SQL, for all statements that need it.

/// The number of the reason why a customer may not be sent to; null if it may. It judges the rows that [`lookups`]
/// finds.
pub(super) const REFUSAL: &str = "
    CASE
        WHEN customer.status IS NULL THEN 1::smallint
        WHEN customer.is_blocked THEN 2::smallint
        WHEN consent.is_refused THEN 3::smallint
    END";

/// The joins that look up the rows that [`REFUSAL`] judges. The customer and the channel are given as columns; the
/// statement has the field `tenant`. Each join is a lookup by a key.
macro_rules! lookups {
    ($customer_id:literal, $channel:literal) => {
        concat!(
            "
     LEFT JOIN LATERAL (
         SELECT x.status, x.status = 'BLOCKED' AS is_blocked FROM customers AS x
         WHERE x.tenant_id = :tenant AND x.id = ",
            $customer_id,
            " AND x.deleted_at IS NULL
         OFFSET 0
     ) AS customer ON true
     LEFT JOIN LATERAL (
         SELECT x.state <> 'OPTED_IN' AS is_refused FROM customer_consents AS x
         WHERE x.tenant_id = :tenant AND x.customer_id = ",
            $customer_id,
            " AND x.channel = coalesce(",
            $channel,
            ", 'OTHER')
         OFFSET 0
     ) AS consent ON true"
        )
    };
}
pub(super) use lookups;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Word;
    use crate::pb::{AssignmentRefusal, ConsentState, ContactChannel, CustomerStatus};

    #[test]
    fn the_statements_have_the_numbers_and_words_of_the_contract() {
        let reasons = [
            (AssignmentRefusal::CustomerNotFound, "customer.status IS NULL"),
            (AssignmentRefusal::CustomerBlocked, "customer.is_blocked"),
            (AssignmentRefusal::OptedOut, "consent.is_refused"),
        ];
        let whens = reasons.map(|(reason, is)| format!("WHEN {is} THEN {}::smallint", i32::from(reason)));
        let words: Vec<_> = REFUSAL.split_whitespace().collect();
        assert_eq!(words.join(" "), format!("CASE {} END", whens.join(" ")));
        let (blocked, opted_in) = (CustomerStatus::Blocked.word(), ConsentState::OptedIn.word());
        for condition in [
            format!("x.status = '{blocked}' AS is_blocked"),
            format!("x.state <> '{opted_in}' AS is_refused"),
            format!("coalesce(c, '{}')", ContactChannel::Other.word()),
        ] {
            assert!(lookups!("id", "c").contains(&condition), "{condition}");
        }
    }
}
