//! The statements that count the conversations that began in a window.
//!
//! Each reads the conversations once, however much it counts.

pub(super) mod analyses;
pub(super) mod models;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::dashboard::rules::{MAX_VALUES, Spread, Window};
use crate::db::TenantTx;
use crate::db::statement::{fragment, statement};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::ConversationEnvironment;

/// The conversations that are counted.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Scope {
    pub(in crate::dashboard) window: Window,
    pub(in crate::dashboard) environments: Vec<Text<ConversationEnvironment>>,
}

/// The column by which conversations are grouped, as the number that `grouping(…)` returns: a bit for each
/// other column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Part {
    All = 0b11111,
    Status = 0b01111,
    EntryPoint = 0b10111,
    Modality = 0b11011,
    Presenter = 0b11101,
    Outcome = 0b11110,
}

/// How many conversations have a value.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(in crate::dashboard) struct Group {
    #[diesel(sql_type = Integer)]
    part: i32,
    /// Empty if they have no value.
    #[diesel(sql_type = SqlText)]
    pub(in crate::dashboard) value: String,
    #[diesel(sql_type = BigInt)]
    pub(in crate::dashboard) conversations: i64,
    #[diesel(sql_type = BigInt)]
    pub(in crate::dashboard) messages: i64,
}

impl Group {
    /// Returns whether it is a group of this part.
    pub(in crate::dashboard) fn is_of(&self, part: Part) -> bool {
        self.part == part as i32
    }
}

/// Returns how many conversations have each value of each part, the largest count first.
pub(super) async fn list_groups(tx: &TenantTx, scope: &Scope) -> Result<Vec<Group>> {
    let list = ListGroups { conversations: Conversations::new(tx, scope), limit: MAX_VALUES };
    Ok(list.load(&mut tx.connection()).await?)
}

/// Returns the spread of the durations of the conversations that have ended.
pub(super) async fn spread_duration(tx: &TenantTx, scope: &Scope) -> Result<Spread> {
    let spread = SpreadDuration { conversations: Conversations::new(tx, scope) };
    let found: SpreadRow = spread.get_result(&mut tx.connection()).await?;
    Ok(found.into())
}

/// The columns of [`SPREAD`].
#[derive(Debug, QueryableByName)]
struct SpreadRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    average: Option<i64>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    percentiles: Option<Vec<i64>>,
}

/// The spread of the values `us`. The average is rounded to the nearest integer, and up from the middle.
const SPREAD: &str = "
    count(us) AS count,
    div(2 * sum(us) + count(us), nullif(2 * count(us), 0))::bigint AS average,
    percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY us) AS percentiles";

impl From<SpreadRow> for Spread {
    fn from(row: SpreadRow) -> Self {
        let SpreadRow { count, average, percentiles } = row;
        match (average, percentiles.as_deref()) {
            (Some(average), Some([p50, p95])) => Self { count, average, p50: *p50, p95: *p95 },
            _ => Self::default(),
        }
    }
}

fragment! {
    /// The conversations that are counted. They are always found by their start: `OFFSET 0` keeps the planner from
    /// reading all conversations in the order of the grouping.
    struct Conversations<'s> {
        tenant: Uuid as SqlUuid,
        from: DateTime<Utc> as Timestamptz,
        until: DateTime<Utc> as Timestamptz,
        environments: &'s [Text<ConversationEnvironment>] as Array<SqlText>,
    }
    "(
         SELECT * FROM conversations
         WHERE tenant_id = :tenant AND started_at >= :from AND started_at < :until
             AND environment = ANY (:environments)
         OFFSET 0
     )"
}

impl<'s> Conversations<'s> {
    fn new(tx: &TenantTx, scope: &'s Scope) -> Self {
        let Scope { window: Window { from, until }, environments } = scope;
        Self { tenant: tx.tenant(), from: *from, until: *until, environments }
    }
}

statement! {
    /// The statement of [`list_groups`].
    struct ListGroups<'s> {
        conversations: Conversations<'s>,
        limit: i64 as BigInt,
    }
    r#"SELECT part, value, conversations, messages
     FROM (
         SELECT
             *,
             row_number() OVER (PARTITION BY part ORDER BY conversations DESC, value COLLATE "C") AS place
         FROM (
             SELECT
                 grouping(c.status, c.entry_point, c.modality, c.presenter_id, c.outcome) AS part,
                 coalesce(c.status, c.entry_point, c.modality, c.presenter_id, c.outcome, '') AS value,
                 count(*) AS conversations,
                 coalesce(sum(c.last_sequence), 0)::bigint AS messages
             FROM :conversations AS c
             GROUP BY GROUPING SETS (
                 (), (c.status), (c.entry_point), (c.modality), (c.presenter_id), (c.outcome)
             )
         ) AS g
     ) AS t
     WHERE place <= :limit
     ORDER BY part, place"#
}

statement! {
    /// The statement of [`spread_duration`]. `date_part` is exact below 285 years, and a third less work than
    /// `extract`, which is numeric.
    struct SpreadDuration<'s> {
        conversations: Conversations<'s>,
    }
    "SELECT", SPREAD, "
     FROM (
         SELECT round(date_part('epoch', c.ended_at - c.started_at) * 1000000)::bigint AS us
         FROM :conversations AS c
         WHERE c.ended_at IS NOT NULL
     ) AS d"
}
