//! The statement that assigns customers. It looks up, judges and inserts each customer in one go. So it does not
//! depend on the planner's estimate for ten thousand lookups.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Bool, Nullable, SmallInt, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::refusal::{REFUSAL, lookups};
use crate::campaigns::events::store::PROGRESS;
use crate::db::TenantTx;
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{AssignmentStatus, ContactChannel};

/// The result of assigning customers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assigned {
    /// The number of customers that were added.
    pub(crate) added: i64,
    /// The number of customers that were assigned before and may be sent to.
    pub(crate) existing: i64,
    /// The customers that may not be sent to, in the order of the ids.
    pub(crate) refused: Vec<Refused>,
}

/// A customer that may not be sent to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refused {
    pub(crate) customer_id: Uuid,
    /// The number of the refusal.
    pub(crate) reason: i16,
    /// Whether it was assigned before.
    pub(crate) is_assigned: bool,
}

/// Assigns customers to a campaign, which must be locked. It adds each that is not assigned and may be sent to.
/// The progress of a customer with earlier events of the campaign follows from these events.
pub(crate) async fn assign(
    tx: &TenantTx,
    campaign_id: Uuid,
    channel: Option<Text<ContactChannel>>,
    customer_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Assigned> {
    let assign = Assign { tenant: tx.tenant(), campaign_id, channel, now, customer_ids };
    let row: Row = assign.get_result(&mut tx.connection()).await?;
    let Row { added, existing, refused_ids, reasons, are_assigned } = row;
    let refused = refused_ids.into_iter().zip(reasons).zip(are_assigned);
    let refused =
        refused.map(|((customer_id, reason), is_assigned)| Refused { customer_id, reason, is_assigned });
    Ok(Assigned { added, existing, refused: refused.collect() })
}

/// The row of the statement of [`assign`]. The arrays have the refused customers, in the order of the ids.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    added: i64,
    #[diesel(sql_type = BigInt)]
    existing: i64,
    #[diesel(sql_type = Array<SqlUuid>)]
    refused_ids: Vec<Uuid>,
    #[diesel(sql_type = Array<SmallInt>)]
    reasons: Vec<i16>,
    #[diesel(sql_type = Array<Bool>)]
    are_assigned: Vec<bool>,
}

const _: () = assert!(AssignmentStatus::Assigned as i32 == 10, "the progress of a new assignment");

statement! {
    /// The statement of [`assign`].
    struct Assign<'a> {
        tenant: Uuid as SqlUuid,
        campaign_id: Uuid as SqlUuid,
        channel: Option<Text<ContactChannel>> as Nullable<SqlText>,
        now: DateTime<Utc> as Timestamptz,
        customer_ids: &'a [Uuid] as Array<SqlUuid>,
    }
    "WITH given AS (
         SELECT :campaign_id::uuid AS campaign_id, :channel::text AS channel, :now::timestamptz AS now
     ),
     asked AS MATERIALIZED (
         SELECT DISTINCT a.id FROM unnest(:customer_ids) AS a (id)
     ),
     judged AS MATERIALIZED (
         SELECT a.id, s.is_there IS NOT NULL AS is_assigned, ", REFUSAL, " AS refusal
         FROM given AS g
         CROSS JOIN asked AS a
         LEFT JOIN LATERAL (
             SELECT true AS is_there FROM campaign_customers AS x
             WHERE x.tenant_id = :tenant AND x.campaign_id = g.campaign_id AND x.customer_id = a.id
             OFFSET 0
         ) AS s ON true", lookups!("a.id", "g.channel"), "
     ),
     added AS (
         INSERT INTO campaign_customers (tenant_id, campaign_id, customer_id, progress, created_at, updated_at)
         SELECT :tenant, g.campaign_id, j.id, coalesce(p.progress, 10), g.now, g.now
         FROM given AS g
         CROSS JOIN judged AS j
         LEFT JOIN LATERAL (
             SELECT max(", PROGRESS, ") AS progress
             FROM campaign_events AS e
             WHERE e.tenant_id = :tenant AND e.customer_id = j.id AND e.campaign_id = g.campaign_id
             OFFSET 0
         ) AS p ON true
         WHERE NOT j.is_assigned AND j.refusal IS NULL
         RETURNING customer_id
     )
     SELECT
         (SELECT count(*) FROM added) AS added,
         (SELECT count(*) FROM judged AS j WHERE j.is_assigned AND j.refusal IS NULL) AS existing,
         ARRAY(SELECT j.id FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id) AS refused_ids,
         ARRAY(SELECT j.refusal FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id) AS reasons,
         ARRAY(SELECT j.is_assigned FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id) AS are_assigned"
}
