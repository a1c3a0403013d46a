//! The statement of a funnel. It is written by hand, because each list of steps makes another statement.

use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Integer, Interval, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::model::Params;
use super::rules::{Source, sources};
use crate::campaigns::touches::paid::push_paid;
use crate::dashboard::rules::{MAX_VALUES, Window};
use crate::db::TenantTx;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{
    CampaignEventKind, ConversationEnvironment, EntryPoint, FunnelGrouping, FunnelStep, InterestKind,
};

/// How many customers of a group reached a step.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(super) struct Reached {
    /// The index of the step, from 0.
    pub(super) step: i32,
    pub(super) group: String,
    pub(super) customers: i64,
    /// The median of the microseconds since the step before.
    pub(super) median: Option<i64>,
}

/// Returns how many customers reached each step, for the groups with the most entries.
pub(super) async fn list_reached(tx: &TenantTx, params: &Params) -> Result<Vec<Reached>> {
    let Params { window, steps, max_duration, grouping, campaign_id, entry_points } = params;
    let list = ListReached {
        tenant: tx.tenant(),
        live: Text(ConversationEnvironment::Live),
        steps: steps.iter().enumerate().map(|(place, step)| Step::new(place, *step)).collect(),
        window: *window,
        later: params.followed(),
        max_duration: PgInterval::from_microseconds(max_duration.num_microseconds().unwrap_or(i64::MAX)),
        grouping: *grouping,
        campaign_id: *campaign_id,
        entry_points: entry_points.clone(),
        limit: MAX_VALUES,
    };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`list_reached`].
struct ListReached {
    tenant: Uuid,
    live: Text<ConversationEnvironment>,
    steps: Vec<Step>,
    window: Window,
    /// The window in which customers that entered are followed.
    later: Window,
    max_duration: PgInterval,
    grouping: FunnelGrouping,
    campaign_id: Option<Uuid>,
    entry_points: Vec<Text<EntryPoint>>,
    limit: i64,
}

/// A step, and the tables of its events.
struct Step {
    place: i32,
    sources: Vec<Table>,
}

/// The rows of a table, by their kinds as they are stored.
enum Table {
    CampaignEvents(Vec<Text<CampaignEventKind>>),
    Conversations,
    InterestEvents(Vec<Text<InterestKind>>),
    Purchases,
}

impl Step {
    fn new(place: usize, step: FunnelStep) -> Self {
        let table = |source: &Source| match source {
            Source::Campaigns(kinds) => Table::CampaignEvents(kinds.iter().copied().map(Text).collect()),
            Source::Conversations => Table::Conversations,
            Source::Interest(kinds) => Table::InterestEvents(kinds.iter().copied().map(Text).collect()),
            Source::Purchases => Table::Purchases,
        };
        let place = i32::try_from(place).unwrap_or(i32::MAX);
        Self { place, sources: sources(step).iter().map(table).collect() }
    }
}

/// There are thousands of lists of steps, and a connection would keep all of their statements.
impl QueryId for ListReached {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListReached {
    type SqlType = (Integer, SqlText, BigInt, Nullable<BigInt>);
}

impl QueryFragment<Pg> for ListReached {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        let Some((entry, later)) = self.steps.split_first() else { return Ok(()) };
        self.walk_entry(entry, &mut out)?;
        for step in later {
            self.walk_step(step, &mut out)?;
        }
        self.walk_groups(&mut out)?;
        out.push_sql(" SELECT step, grp, customers, median FROM (SELECT 0 AS step, grp, ");
        out.push_sql("count(*) AS customers, NULL::bigint AS median FROM step_0 GROUP BY grp");
        for Step { place, sources: _ } in later {
            out.push_sql(" UNION ALL SELECT ");
            out.push_bind_param::<Integer, _>(place)?;
            out.push_sql(
                ", grp, count(*), (extract(epoch FROM \
                 percentile_disc(0.5) WITHIN GROUP (ORDER BY at - before)) * 1000000)::bigint ",
            );
            out.push_sql(&format!("FROM step_{place} GROUP BY grp"));
        }
        out.push_sql(") AS s WHERE grp IN (SELECT grp FROM groups)");
        Ok(())
    }
}

impl ListReached {
    /// Writes `step_0`: the customers that entered, by the first event of each, of the campaign if one is
    /// named. Among events at one moment, the one that was recorded first counts.
    fn walk_entry<'b>(&'b self, step: &'b Step, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH ");
        self.walk_events(step, &self.window, out)?;
        out.push_sql(", step_0 AS (SELECT customer_id, at AS entered_at, at, ");
        out.push_sql(match self.grouping {
            FunnelGrouping::Unspecified => "''",
            FunnelGrouping::Campaign => "coalesce(campaign_id::text, '')",
            FunnelGrouping::EntryPoint => "coalesce(entry_point, '')",
        });
        out.push_sql(" AS grp FROM (SELECT DISTINCT ON (customer_id) * FROM events_0");
        if let Some(campaign_id) = &self.campaign_id {
            out.push_sql(" WHERE campaign_id = ");
            out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        }
        out.push_sql(" ORDER BY customer_id, at, id) AS e WHERE true");
        if !self.entry_points.is_empty() {
            out.push_sql(" AND entry_point = ANY(");
            out.push_bind_param::<Array<SqlText>, _>(&self.entry_points)?;
            out.push_sql(")");
        }
        out.push_sql(")");
        Ok(())
    }

    /// Writes `step_n`: the customers of the step before that reached this one, each with its first event at
    /// that time or later.
    fn walk_step<'b>(&'b self, step: &'b Step, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Step { place, sources: _ } = step;
        out.push_sql(", ");
        self.walk_events(step, &self.later, out)?;
        out.push_sql(&format!(
            ", step_{place} AS (SELECT s.customer_id, s.entered_at, s.grp, s.at AS before, min(e.at) AS at \
             FROM step_{before} AS s JOIN events_{place} AS e ON e.customer_id = s.customer_id \
             AND e.at >= s.at AND e.at <= s.entered_at + ",
            before = place - 1
        ));
        out.push_bind_param::<Interval, _>(&self.max_duration)?;
        out.push_sql(" GROUP BY s.customer_id, s.entered_at, s.grp, s.at)");
        Ok(())
    }

    /// Writes `groups`: the groups with the most entries.
    fn walk_groups<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            ", groups AS (SELECT grp FROM step_0 GROUP BY grp ORDER BY count(*) DESC, grp COLLATE \"C\" LIMIT ",
        );
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(")");
        Ok(())
    }

    /// Writes `events_n`: the events of a step in a window. MATERIALIZED makes the planner find them by their
    /// time. It could otherwise read the events of all times in the order of customers.
    fn walk_events<'b>(
        &'b self,
        step: &'b Step,
        window: &'b Window,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(&format!("events_{} AS MATERIALIZED (", step.place));
        for (index, table) in step.sources.iter().enumerate() {
            if index > 0 {
                out.push_sql(" UNION ALL ");
            }
            out.push_sql(table.select());
            out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
            match table {
                Table::CampaignEvents(kinds) => {
                    out.push_sql(" AND kind = ANY(");
                    out.push_bind_param::<Array<SqlText>, _>(kinds)?;
                    out.push_sql(")");
                }
                Table::InterestEvents(kinds) => {
                    out.push_sql(" AND kind = ANY(");
                    out.push_bind_param::<Array<SqlText>, _>(kinds)?;
                    out.push_sql(")");
                }
                Table::Conversations => {
                    out.push_sql(" AND environment = ");
                    out.push_bind_param::<SqlText, _>(&self.live)?;
                }
                Table::Purchases => {
                    out.push_sql(" AND ");
                    push_paid(out, "status");
                }
            }
            for (condition, time) in [(" >= ", &window.from), (" < ", &window.until)] {
                out.push_sql(" AND ");
                out.push_sql(table.time());
                out.push_sql(condition);
                out.push_bind_param::<Timestamptz, _>(time)?;
            }
        }
        out.push_sql(")");
        Ok(())
    }
}

impl Table {
    /// Returns the columns that are read, up to the value of the tenant.
    const fn select(&self) -> &'static str {
        match self {
            Self::CampaignEvents(_) => {
                "SELECT customer_id, occurred_at AS at, id, campaign_id, NULL AS entry_point \
                 FROM campaign_events WHERE tenant_id = "
            }
            Self::Conversations => {
                "SELECT customer_id, started_at AS at, id, NULL::uuid AS campaign_id, entry_point \
                 FROM conversations WHERE tenant_id = "
            }
            Self::InterestEvents(_) => {
                "SELECT customer_id, occurred_at AS at, id, campaign_id, NULL AS entry_point \
                 FROM interest_events WHERE tenant_id = "
            }
            Self::Purchases => {
                "SELECT customer_id, purchased_at AS at, id, campaign_id, NULL AS entry_point \
                 FROM purchases WHERE tenant_id = "
            }
        }
    }

    /// Returns the column of the time.
    const fn time(&self) -> &'static str {
        match self {
            Self::CampaignEvents(_) | Self::InterestEvents(_) => "occurred_at",
            Self::Conversations => "started_at",
            Self::Purchases => "purchased_at",
        }
    }
}
