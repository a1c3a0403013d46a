//! The statement that assigns customers. It is written by hand, and looks up, judges and inserts each customer
//! in one go. So it does not depend on the planner's estimate for ten thousand lookups.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Bool, Nullable, SmallInt, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::refusal;
use crate::campaigns::events::store::push_progress;
use crate::db::TenantTx;
use crate::db::literal::push_of_tenant;
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
    (campaign_id, channel): (Uuid, Option<Text<ContactChannel>>),
    customer_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Assigned> {
    let assign =
        Assign { tenant: tx.tenant(), campaign_id, channel, customer_ids: customer_ids.to_vec(), now };
    let (added, existing, ids, reasons, assigned): (_, _, Vec<Uuid>, Vec<i16>, Vec<bool>) =
        assign.get_result(&mut tx.connection()).await?;
    let refused = ids.into_iter().zip(reasons).zip(assigned);
    let refused =
        refused.map(|((customer_id, reason), is_assigned)| Refused { customer_id, reason, is_assigned });
    Ok(Assigned { added, existing, refused: refused.collect() })
}

/// The statement of [`assign`].
#[derive(QueryId)]
struct Assign {
    tenant: Uuid,
    campaign_id: Uuid,
    channel: Option<Text<ContactChannel>>,
    customer_ids: Vec<Uuid>,
    now: DateTime<Utc>,
}

impl Query for Assign {
    type SqlType = (BigInt, BigInt, Array<SqlUuid>, Array<SmallInt>, Array<Bool>);
}

impl QueryFragment<Pg> for Assign {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH given AS (SELECT ");
        out.push_bind_param::<SqlUuid, _>(&self.campaign_id)?;
        out.push_sql("::uuid AS campaign_id, ");
        out.push_bind_param::<Nullable<SqlText>, _>(&self.channel)?;
        out.push_sql("::text AS channel, ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql("::timestamptz AS now), asked AS MATERIALIZED (SELECT DISTINCT a.id FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.customer_ids)?;
        out.push_sql(
            ") AS a (id)), judged AS MATERIALIZED (SELECT a.id, s.is_there IS NOT NULL AS is_assigned, ",
        );
        refusal::push_case(&mut out);
        let assigned = " AS refusal FROM given AS g CROSS JOIN asked AS a \
             LEFT JOIN LATERAL (SELECT true AS is_there FROM campaign_customers AS x \
             WHERE x.tenant_id = {tenant} AND x.campaign_id = g.campaign_id AND x.customer_id = a.id OFFSET 0) \
             AS s ON true";
        push_of_tenant(&mut out, assigned, &self.tenant)?;
        refusal::push_lookups(&mut out, &self.tenant, ("a.id", "g.channel"))?;
        let added = "), added AS (INSERT INTO campaign_customers \
             (tenant_id, campaign_id, customer_id, progress, created_at, updated_at) \
             SELECT {tenant}, g.campaign_id, j.id, coalesce(p.progress, ";
        push_of_tenant(&mut out, added, &self.tenant)?;
        out.push_sql(&i32::from(AssignmentStatus::Assigned).to_string());
        let events = "), g.now, g.now \
             FROM given AS g CROSS JOIN judged AS j LEFT JOIN LATERAL (SELECT max(";
        out.push_sql(events);
        push_progress(&mut out);
        let rest = ") AS progress FROM campaign_events AS e WHERE e.tenant_id = {tenant} AND e.customer_id = j.id \
             AND e.campaign_id = g.campaign_id OFFSET 0) AS p ON true \
             WHERE NOT j.is_assigned AND j.refusal IS NULL RETURNING customer_id) \
             SELECT (SELECT count(*) FROM added), \
             (SELECT count(*) FROM judged AS j WHERE j.is_assigned AND j.refusal IS NULL), \
             ARRAY(SELECT j.id FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id), \
             ARRAY(SELECT j.refusal FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id), \
             ARRAY(SELECT j.is_assigned FROM judged AS j WHERE j.refusal IS NOT NULL ORDER BY j.id)";
        push_of_tenant(&mut out, rest, &self.tenant)
    }
}
