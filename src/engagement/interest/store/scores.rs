//! The statement that computes scores from `interest_events`.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::statement::{fragment, statement};
use crate::engagement::interest::rules::{HALF_LIFE, MAX_SCORED, WINDOW};
use crate::error::Result;

/// How interested a customer is in a subject.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub(crate) struct Score {
    /// The subject, in the words of the latest event.
    #[diesel(sql_type = SqlText)]
    pub(crate) subject: String,
    #[diesel(sql_type = Double)]
    pub(crate) score: f64,
    #[diesel(sql_type = BigInt)]
    pub(crate) event_count: i64,
    #[diesel(sql_type = Timestamptz)]
    pub(crate) last_occurred_at: DateTime<Utc>,
    /// The id of the latest event.
    #[diesel(sql_type = SqlUuid)]
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
    let time = match as_of {
        AsOf::Time(time) => Time::At { time },
        AsOf::LatestEvent => Time::LatestEvent { tenant: tx.tenant(), customer_id },
    };
    let list = ListScores {
        tenant: tx.tenant(),
        customer_id,
        time,
        half_life: seconds(HALF_LIFE),
        window: seconds(WINDOW),
        max_events: MAX_SCORED,
        limit,
    };
    Ok(list.load(&mut tx.connection()).await?)
}

fn seconds(duration: TimeDelta) -> f64 {
    duration.as_seconds_f64()
}

statement! {
    /// The statement of [`list`]. Doubles are added up in the order of the events, because another order may give
    /// another last digit. Events of one moment are in the order of the client's own ids, so that the order of
    /// recording does not matter.
    struct ListScores {
        tenant: Uuid as SqlUuid,
        customer_id: Uuid as SqlUuid,
        time: Time,
        half_life: f64 as Double,
        window: f64 as Double,
        max_events: i64 as BigInt,
        limit: i64 as BigInt,
    }
    "SELECT
         (array_agg(e.subject ORDER BY e.occurred_at DESC, e.event_id DESC))[1] AS subject,
         sum(
             e.weight * power(0.5::float8, date_part('epoch', t.as_of - e.occurred_at) / :half_life)
             ORDER BY e.occurred_at, e.event_id
         ) AS score,
         count(*) AS event_count,
         max(e.occurred_at) AS last_occurred_at,
         (array_agg(e.id ORDER BY e.occurred_at DESC, e.event_id DESC))[1] AS last_id
     FROM (SELECT :time) AS t
     CROSS JOIN LATERAL (
         SELECT id, event_id, subject, subject_key, weight, occurred_at FROM interest_events
         WHERE tenant_id = :tenant AND customer_id = :customer_id
             AND occurred_at <= t.as_of AND occurred_at > t.as_of - make_interval(secs => :window)
         ORDER BY occurred_at DESC, id DESC
         LIMIT :max_events
     ) AS e
     GROUP BY e.subject_key
     ORDER BY score DESC, e.subject_key
     LIMIT :limit"
}

fragment! {
    /// The time as of which scores are computed.
    enum Time {
        At { time: DateTime<Utc> as Timestamptz } => ":time AS as_of",
        LatestEvent { tenant: Uuid as SqlUuid, customer_id: Uuid as SqlUuid } =>
            "occurred_at AS as_of FROM interest_events
             WHERE tenant_id = :tenant AND customer_id = :customer_id
             ORDER BY occurred_at DESC, id DESC
             LIMIT 1",
    }
}
