//! The statements that count the conversations that began in a window.
//!
//! They are written by hand: diesel has neither GROUPING SETS nor percentiles. Each reads the conversations
//! once, however much it counts.

pub(super) mod analyses;
pub(super) mod models;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::dashboard::rules::{MAX_VALUES, Spread, Window};
use crate::db::TenantTx;
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
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(in crate::dashboard) struct Group {
    part: i32,
    /// Empty if they have no value.
    pub(in crate::dashboard) value: String,
    pub(in crate::dashboard) conversations: i64,
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
    let list = ListGroups { of: Conversations::new(tx, scope), limit: MAX_VALUES };
    Ok(list.load(&mut tx.connection()).await?)
}

/// Returns the spread of the durations of the conversations that have ended.
pub(super) async fn spread_duration(tx: &TenantTx, scope: &Scope) -> Result<Spread> {
    let spread = SpreadDuration { of: Conversations::new(tx, scope) };
    let found: SpreadRow = spread.get_result(&mut tx.connection()).await?;
    Ok(to_spread(found))
}

/// Count, average and percentiles, as [`SPREAD`] returns them.
type SpreadRow = (i64, Option<i64>, Option<Vec<i64>>);

/// The SQL types of [`SPREAD`].
type SpreadType = (BigInt, Nullable<BigInt>, Nullable<Array<BigInt>>);

/// The spread of the values `us`. The average is rounded to the nearest integer, and up from the middle.
const SPREAD: &str = "count(us), div(2 * sum(us) + count(us), nullif(2 * count(us), 0))::bigint, \
     percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY us)";

fn to_spread((count, average, percentiles): SpreadRow) -> Spread {
    match (average, percentiles.as_deref()) {
        (Some(average), Some([p50, p95])) => Spread { count, average, p50: *p50, p95: *p95 },
        _ => Spread::default(),
    }
}

/// `FROM … AS c`: the conversations that are counted. They are always found by their start: `OFFSET 0` keeps
/// the planner from reading all conversations in the order of the grouping.
#[derive(Debug, Clone, QueryId)]
struct Conversations {
    tenant: Uuid,
    scope: Scope,
}

impl Conversations {
    fn new(tx: &TenantTx, scope: &Scope) -> Self {
        Self { tenant: tx.tenant(), scope: scope.clone() }
    }
}

impl QueryFragment<Pg> for Conversations {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { tenant, scope: Scope { window, environments } } = self;
        out.push_sql(" FROM (SELECT * FROM conversations WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        out.push_sql(" AND started_at >= ");
        out.push_bind_param::<Timestamptz, _>(&window.from)?;
        out.push_sql(" AND started_at < ");
        out.push_bind_param::<Timestamptz, _>(&window.until)?;
        out.push_sql(" AND environment = ANY(");
        out.push_bind_param::<Array<SqlText>, _>(environments)?;
        out.push_sql(") OFFSET 0) AS c");
        Ok(())
    }
}

/// The statement of [`list_groups`].
#[derive(QueryId)]
struct ListGroups {
    of: Conversations,
    limit: i64,
}

impl Query for ListGroups {
    type SqlType = (Integer, SqlText, BigInt, BigInt);
}

impl QueryFragment<Pg> for ListGroups {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT part, value, conversations, messages FROM (SELECT *, row_number() OVER \
             (PARTITION BY part ORDER BY conversations DESC, value COLLATE \"C\") AS place FROM (\
             SELECT grouping(c.status, c.entry_point, c.modality, c.presenter_id, c.outcome) AS part, \
             coalesce(c.status, c.entry_point, c.modality, c.presenter_id, c.outcome, '') AS value, \
             count(*) AS conversations, coalesce(sum(c.last_sequence), 0)::bigint AS messages",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(
            " GROUP BY GROUPING SETS ((), (c.status), (c.entry_point), (c.modality), (c.presenter_id), \
             (c.outcome))) AS g) AS t WHERE place <= ",
        );
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(" ORDER BY part, place");
        Ok(())
    }
}

/// The statement of [`spread_duration`].
#[derive(QueryId)]
struct SpreadDuration {
    of: Conversations,
}

impl Query for SpreadDuration {
    type SqlType = SpreadType;
}

impl QueryFragment<Pg> for SpreadDuration {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(SPREAD);
        // Exact below 285 years, and a third less work than `extract`, which is numeric.
        out.push_sql(
            " FROM (SELECT round(date_part('epoch', c.ended_at - c.started_at) * 1000000)::bigint AS us",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE c.ended_at IS NOT NULL) AS d");
        Ok(())
    }
}
