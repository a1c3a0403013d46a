//! The statement that computes scores from `interest_events`.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Double, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::engagement::interest::rules::{HALF_LIFE, MAX_SCORED, WINDOW};
use crate::error::Result;

/// How interested a customer is in a subject.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Score {
    /// The subject, in the words of the latest event.
    pub(crate) subject: String,
    pub(crate) score: f64,
    pub(crate) event_count: i64,
    pub(crate) last_occurred_at: DateTime<Utc>,
    /// The id of the latest event.
    pub(crate) last_id: Uuid,
}

/// The time as of which scores are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AsOf {
    Time(DateTime<Utc>),
    /// The time of the latest event, so that scores change only with events.
    LatestEvent,
}

/// Returns the scores of a customer, the highest first.
pub(crate) async fn list(tx: &TenantTx, customer_id: Uuid, as_of: AsOf, limit: i64) -> Result<Vec<Score>> {
    let list = ListScores {
        tenant: tx.tenant(),
        customer_id,
        as_of,
        half_life: seconds(HALF_LIFE),
        window: seconds(WINDOW),
        events: MAX_SCORED,
        limit,
    };
    Ok(list.load(&mut tx.connection()).await?)
}

fn seconds(duration: TimeDelta) -> f64 {
    duration.as_seconds_f64()
}

/// The statement of [`list`]. Doubles are added up in the order of the events, because another order may give
/// another last digit. Events of one moment are in the order of the client's own ids, so that the order of
/// recording does not matter.
struct ListScores {
    tenant: Uuid,
    customer_id: Uuid,
    as_of: AsOf,
    half_life: f64,
    window: f64,
    events: i64,
    limit: i64,
}

/// Each kind of [`AsOf`] makes another statement.
impl QueryId for ListScores {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListScores {
    type SqlType = (SqlText, Double, BigInt, Timestamptz, SqlUuid);
}

impl QueryFragment<Pg> for ListScores {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT (array_agg(e.subject ORDER BY e.occurred_at DESC, e.event_id DESC))[1], \
             sum(e.weight * power(0.5::float8, date_part('epoch', t.as_of - e.occurred_at) / ",
        );
        out.push_bind_param::<Double, _>(&self.half_life)?;
        out.push_sql(
            ") ORDER BY e.occurred_at, e.event_id) AS score, count(*), max(e.occurred_at), \
             (array_agg(e.id ORDER BY e.occurred_at DESC, e.event_id DESC))[1] FROM (SELECT ",
        );
        match &self.as_of {
            AsOf::Time(time) => {
                out.push_bind_param::<Timestamptz, _>(time)?;
                out.push_sql(" AS as_of");
            }
            AsOf::LatestEvent => {
                out.push_sql("occurred_at AS as_of ");
                self.walk_customer(&mut out)?;
                out.push_sql(" ORDER BY occurred_at DESC, id DESC LIMIT 1");
            }
        }
        out.push_sql(
            ") AS t CROSS JOIN LATERAL (SELECT id, event_id, subject, subject_key, weight, occurred_at ",
        );
        self.walk_customer(&mut out)?;
        out.push_sql(" AND occurred_at <= t.as_of AND occurred_at > t.as_of - make_interval(secs => ");
        out.push_bind_param::<Double, _>(&self.window)?;
        out.push_sql(") ORDER BY occurred_at DESC, id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.events)?;
        out.push_sql(") AS e GROUP BY e.subject_key ORDER BY score DESC, e.subject_key LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}

impl ListScores {
    fn walk_customer<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("FROM interest_events WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)
    }
}
