//! The reasons why customers may not be sent to now: one rule in SQL, for all statements that need it.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use uuid::Uuid;

use crate::contract::Word;
use crate::db::literal::push_of_tenant;
use crate::pb::{AssignmentRefusal, ConsentState, ContactChannel, CustomerStatus};

/// The reasons in their order, each with its condition on the rows that [`push_lookups`] finds.
const REASONS: [(AssignmentRefusal, &str); 3] = [
    (AssignmentRefusal::CustomerNotFound, "customer.status IS NULL"),
    (AssignmentRefusal::CustomerBlocked, "customer.is_blocked"),
    (AssignmentRefusal::OptedOut, "consent.is_refused"),
];

/// Writes the number of the reason why a customer may not be sent to; null if it may.
pub(super) fn push_case(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("CASE");
    for (refusal, condition) in REASONS {
        out.push_sql(&format!(" WHEN {condition} THEN {}::smallint", i32::from(refusal)));
    }
    out.push_sql(" END");
}

/// Writes the joins that look up the rows that [`push_case`] judges. The customer and the channel are given as
/// columns. Each join is a lookup by a key.
pub(super) fn push_lookups<'b>(
    out: &mut AstPass<'_, 'b, Pg>,
    tenant: &'b Uuid,
    (customer_id, channel): (&str, &str),
) -> QueryResult<()> {
    let sql = format!(
        " LEFT JOIN LATERAL (SELECT x.status, x.status = '{blocked}' AS is_blocked FROM customers AS x \
         WHERE x.tenant_id = {{tenant}} AND x.id = {customer_id} AND x.deleted_at IS NULL OFFSET 0) \
         AS customer ON true \
         LEFT JOIN LATERAL (SELECT x.state <> '{opted_in}' AS is_refused FROM customer_consents AS x \
         WHERE x.tenant_id = {{tenant}} AND x.customer_id = {customer_id} \
         AND x.channel = coalesce({channel}, '{other}') OFFSET 0) AS consent ON true",
        blocked = CustomerStatus::Blocked.word(),
        opted_in = ConsentState::OptedIn.word(),
        other = ContactChannel::Other.word(),
    );
    push_of_tenant(out, &sql, tenant)
}
