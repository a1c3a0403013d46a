//! The statement that assigns customers, written by hand: it looks each of them up by its key, judges and
//! adds in one go, whatever the planner thinks of ten thousand lookups.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::campaigns::events::store::push_progress;
use crate::db::TenantTx;
use crate::error::Result;
use crate::pb::{AssignmentRefusal, CampaignChannel};
use crate::rpc::words::Text;

/// What became of customers that were to be assigned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assigned {
    /// How many were added.
    pub(crate) added: i64,
    /// How many were assigned before.
    pub(crate) existing: i64,
    /// Who was not, in the order of the ids, and the numbers of the refusals.
    pub(crate) refused: Vec<(Uuid, i16)>,
}

/// Assigns customers to a campaign, which must be held: each that is not yet, unless it does not want to
/// hear of it. Who had events in the campaign before has come as far as these say.
pub(crate) async fn assign(
    tx: &TenantTx,
    (campaign_id, channel): (Uuid, Option<Text<CampaignChannel>>),
    customer_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Assigned> {
    let assign =
        Assign { tenant: tx.tenant(), campaign_id, channel, customer_ids: customer_ids.to_vec(), now };
    let (added, existing, ids, reasons): (_, _, Vec<Uuid>, Vec<i16>) =
        assign.get_result(&mut tx.connection()).await?;
    Ok(Assigned { added, existing, refused: ids.into_iter().zip(reasons).collect() })
}

/// The statement of [`assign`].
#[derive(QueryId)]
struct Assign {
    tenant: Uuid,
    campaign_id: Uuid,
    channel: Option<Text<CampaignChannel>>,
    customer_ids: Vec<Uuid>,
    now: DateTime<Utc>,
}

impl Query for Assign {
    type SqlType = (BigInt, BigInt, Array<SqlUuid>, Array<SmallInt>);
}

impl QueryFragment<Pg> for Assign {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH given AS (SELECT ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql("::uuid AS tenant_id, ");
        out.push_bind_param::<SqlUuid, _>(&self.campaign_id)?;
        out.push_sql("::uuid AS campaign_id, ");
        out.push_bind_param::<Nullable<SqlText>, _>(&self.channel)?;
        out.push_sql("::text AS channel, ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql("::timestamptz AS now), asked AS MATERIALIZED (SELECT DISTINCT a.id FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.customer_ids)?;
        out.push_sql(
            ") AS a (id)), judged AS MATERIALIZED (SELECT a.id, s.is_there IS NOT NULL AS is_assigned, CASE ",
        );
        judge(&mut out, AssignmentRefusal::CustomerNotFound, "c.status IS NULL")?;
        judge(&mut out, AssignmentRefusal::CustomerBlocked, "c.status = 'BLOCKED'")?;
        judge(&mut out, AssignmentRefusal::OptedOut, "o.is_there")?;
        out.push_sql(
            "END AS refusal FROM given AS g CROSS JOIN asked AS a \
             LEFT JOIN LATERAL (SELECT true AS is_there FROM campaign_customers AS x \
             WHERE x.tenant_id = g.tenant_id AND x.campaign_id = g.campaign_id AND x.customer_id = a.id OFFSET 0) AS s ON true \
             LEFT JOIN LATERAL (SELECT x.status FROM customers AS x \
             WHERE x.tenant_id = g.tenant_id AND x.id = a.id AND x.deleted_at IS NULL OFFSET 0) AS c ON true \
             LEFT JOIN LATERAL (SELECT true AS is_there FROM campaign_events AS e \
             JOIN campaigns AS k ON k.tenant_id = e.tenant_id AND k.id = e.campaign_id \
             WHERE e.tenant_id = g.tenant_id AND e.customer_id = a.id AND e.kind = 'OPTED_OUT' \
             AND (k.id = g.campaign_id OR k.channel = g.channel) LIMIT 1) AS o ON true), \
             added AS (INSERT INTO campaign_customers \
             (tenant_id, campaign_id, customer_id, progress, created_at, updated_at) \
             SELECT g.tenant_id, g.campaign_id, j.id, coalesce(p.progress, 1), g.now, g.now \
             FROM given AS g CROSS JOIN judged AS j LEFT JOIN LATERAL (SELECT max(",
        );
        push_progress(&mut out);
        out.push_sql(
            ") AS progress FROM campaign_events AS e WHERE e.tenant_id = g.tenant_id AND e.customer_id = j.id \
             AND e.campaign_id = g.campaign_id OFFSET 0) AS p ON true \
             WHERE NOT j.is_assigned AND j.refusal IS NULL RETURNING customer_id) \
             SELECT (SELECT count(*) FROM added), \
             (SELECT count(*) FROM judged AS j WHERE j.is_assigned), \
             ARRAY(SELECT j.id FROM judged AS j WHERE NOT j.is_assigned AND j.refusal IS NOT NULL ORDER BY j.id), \
             ARRAY(SELECT j.refusal FROM judged AS j WHERE NOT j.is_assigned AND j.refusal IS NOT NULL ORDER BY j.id)",
        );
        Ok(())
    }
}

/// One case of a refusal.
fn judge(out: &mut AstPass<'_, '_, Pg>, refusal: AssignmentRefusal, condition: &str) -> QueryResult<()> {
    out.push_sql("WHEN ");
    out.push_sql(condition);
    out.push_sql(" THEN ");
    out.push_sql(&i32::from(refusal).to_string());
    out.push_sql("::smallint ");
    Ok(())
}
