//! `campaign_events`, `purchases`, and the conversions among `interest_events`, counted.
//!
//! What is counted is in an index, so that no row is read. Who had what is a bit for each kind, so that
//! customers who had the same are counted together, and each is met once.

mod purchases;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Date, Integer, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub(crate) use purchases::{Bought, list_bought};

use crate::campaigns::events::rules::KINDS;
use crate::db::TenantTx;
use crate::error::{Error, Result};
use crate::pb::{CampaignAttribution, CampaignEventKind, InterestKind};
use crate::rpc::words::{Text, Word};

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scope {
    /// A campaign, by day; or all of them, by campaign.
    pub(crate) campaign_id: Option<Uuid>,
    /// What happened then or later.
    pub(crate) from: Option<DateTime<Utc>>,
    /// What happened before then.
    pub(crate) until: Option<DateTime<Utc>>,
    /// Which purchases are a campaign's.
    pub(crate) attribution: CampaignAttribution,
    /// When the days begin by which a campaign is counted, in order. What happened before the first of
    /// them is of no day.
    pub(crate) days: Vec<DateTime<Utc>>,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// Everything.
    Total,
    /// A day of the scope, by its place, from 1; 0 is what is of no day.
    Day(usize),
    /// A campaign.
    Campaign(Uuid),
}

/// How many events of a kind there are in a group, and what they cost in millionths.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happened {
    pub(crate) group: Group,
    /// Nothing for a conversion in another system: an event of interest.
    pub(crate) kind: Option<CampaignEventKind>,
    pub(crate) events: i64,
    pub(crate) cost: i128,
}

/// How many different customers had events of exactly these kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) of: Of,
    pub(crate) kinds: Kinds,
    pub(crate) customers: i64,
}

/// Which customers are counted, and which of their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// All customers of a group, with their events in it.
    Group(Group),
    /// The customers whose first SENT was on a day, with all their events in the scope.
    SentOn(usize),
    /// The customers whose first DELIVERED was on a day, with all their events in the scope.
    DeliveredOn(usize),
}

/// Kinds of events: a bit for each, the first of [`KINDS`] the lowest, and one for a conversion in another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds(i32);

impl Kinds {
    /// Whether the kind is among them.
    pub(crate) fn has(self, kind: CampaignEventKind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Whether there is a conversion among them, in the campaign or in another system.
    pub(crate) fn has_conversion(self) -> bool {
        self.0 & (bit(CampaignEventKind::Converted) | ELSEWHERE) != 0
    }

    /// A conversion in another system, and no more.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self::default().and_elsewhere()
    }

    /// The same, and a conversion in another system.
    #[cfg(test)]
    pub(crate) fn and_elsewhere(self) -> Self {
        Self(self.0 | ELSEWHERE)
    }
}

/// The bit of a conversion in another system.
const ELSEWHERE: i32 = 1 << KINDS.len();

impl FromIterator<CampaignEventKind> for Kinds {
    fn from_iter<T: IntoIterator<Item = CampaignEventKind>>(kinds: T) -> Self {
        Self(kinds.into_iter().map(bit).fold(0, |bits, bit| bits | bit))
    }
}

/// The events of a scope, by group and kind.
pub(crate) async fn list_happened(tx: &TenantTx, scope: &Scope) -> Result<Vec<Happened>> {
    type Row = (Option<i32>, Option<Uuid>, Option<Text<CampaignEventKind>>, i64, Option<String>);
    let list = ListHappened { tenant: tx.tenant(), scope };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let happened = rows.into_iter().map(|(day, campaign, kind, events, cost)| {
        let kind = kind.map(|Text(kind)| kind);
        Ok(Happened { group: group(day, campaign), kind, events, cost: sum(cost.as_deref())? })
    });
    happened.collect()
}

/// The customers of a scope's events, by group and in all; and where the groups are days, by the day on which
/// they were first sent to, and by that on which they were first delivered to.
pub(crate) async fn list_reached(tx: &TenantTx, scope: &Scope) -> Result<Vec<Reached>> {
    type Row = (Option<i32>, Option<Uuid>, Option<i32>, i32, i64);
    let list = ListReached { tenant: tx.tenant(), scope };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let reached = rows.into_iter().map(|(day, campaign, entered, kinds, customers)| {
        let group = group(day, campaign);
        let of = match (entered, group) {
            (Some(ENTERED_BY_SENT), Group::Day(day)) => Of::SentOn(day),
            (Some(ENTERED_BY_DELIVERED), Group::Day(day)) => Of::DeliveredOn(day),
            _ => Of::Group(group),
        };
        Reached { of, kinds: Kinds(kinds), customers }
    });
    Ok(reached.collect())
}

/// The days of UTC on which something happened in a scope, the last first; no more than `limit`.
pub(crate) async fn list_dates(tx: &TenantTx, scope: &Scope, limit: i64) -> Result<Vec<NaiveDate>> {
    let list = ListDates { tenant: tx.tenant(), scope, limit };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The group that two columns say.
fn group(day: Option<i32>, campaign: Option<Uuid>) -> Group {
    match (day, campaign) {
        (Some(day), _) => Group::Day(usize::try_from(day).unwrap_or(0)),
        (None, Some(campaign)) => Group::Campaign(campaign),
        (None, None) => Group::Total,
    }
}

/// A sum, which Postgres does not bound.
fn sum(text: Option<&str>) -> Result<i128> {
    text.map_or(Ok(0), |text| text.parse().map_err(Error::internal))
}

impl Scope {
    /// Writes by what the rows are grouped: one column, of the time or the campaign that is said.
    fn push_group<'b>(
        &'b self,
        out: &mut AstPass<'_, 'b, Pg>,
        time: &str,
        campaign: &str,
    ) -> QueryResult<()> {
        if self.campaign_id.is_none() {
            out.push_sql(campaign);
            return Ok(());
        }
        out.push_sql("width_bucket(");
        out.push_sql(time);
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.days)?;
        out.push_sql(")");
        Ok(())
    }

    /// The group `s.grp` as two columns.
    fn columns(&self) -> &'static str {
        match self.campaign_id {
            Some(_) => "s.grp, NULL::uuid",
            None => "NULL::integer, s.grp",
        }
    }

    /// Writes the condition that a time is in the window.
    fn push_window<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, time: &str) -> QueryResult<()> {
        for (compared, bound) in [(" >= ", &self.from), (" < ", &self.until)] {
            if let Some(bound) = bound {
                out.push_sql(" AND ");
                out.push_sql(time);
                out.push_sql(compared);
                out.push_bind_param::<Timestamptz, _>(bound)?;
            }
        }
        Ok(())
    }

    /// Writes where the scope's events `e` come from.
    fn push_events<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, tenant: &'b Uuid) -> QueryResult<()> {
        out.push_sql(" FROM campaign_events AS e WHERE e.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        if let Some(campaign_id) = &self.campaign_id {
            out.push_sql(" AND e.campaign_id = ");
            out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        }
        self.push_window(out, "e.occurred_at")
    }

    /// Writes where the scope's conversions `i` in other systems come from.
    fn push_conversions<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, tenant: &'b Uuid) -> QueryResult<()> {
        out.push_sql(" FROM interest_events AS i WHERE i.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        out.push_sql(&format!(" AND i.kind = '{}' AND i.campaign_id ", InterestKind::Converted.word()));
        match &self.campaign_id {
            Some(campaign_id) => {
                out.push_sql("= ");
                out.push_bind_param::<SqlUuid, _>(campaign_id)?;
            }
            None => out.push_sql("IS NOT NULL"),
        }
        self.push_window(out, "i.occurred_at")
    }
}

/// The statement of [`list_happened`].
struct ListHappened<'s> {
    tenant: Uuid,
    scope: &'s Scope,
}

/// The SQL depends on the scope, so the type alone does not name the statement.
impl QueryId for ListHappened<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListHappened<'_> {
    type SqlType = (Nullable<Integer>, Nullable<SqlUuid>, Nullable<SqlText>, BigInt, Nullable<SqlText>);
}

impl QueryFragment<Pg> for ListHappened<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(self.scope.columns());
        out.push_sql(", s.kind, s.events, s.cost::text FROM (SELECT ");
        self.scope.push_group(&mut out, "e.occurred_at", "e.campaign_id")?;
        out.push_sql(" AS grp, e.kind, count(*) AS events, sum(e.cost_micros) AS cost");
        self.scope.push_events(&mut out, &self.tenant)?;
        out.push_sql(" GROUP BY 1, 2 UNION ALL SELECT ");
        self.scope.push_group(&mut out, "i.occurred_at", "i.campaign_id")?;
        out.push_sql(" AS grp, NULL::text, count(*), NULL::numeric");
        self.scope.push_conversions(&mut out, &self.tenant)?;
        out.push_sql(" GROUP BY 1) AS s");
        Ok(())
    }
}

/// The statement of [`list_reached`].
struct ListReached<'s> {
    tenant: Uuid,
    scope: &'s Scope,
}

/// The SQL depends on the scope, so the type alone does not name the statement.
impl QueryId for ListReached<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListReached<'_> {
    type SqlType = (Nullable<Integer>, Nullable<SqlUuid>, Nullable<Integer>, Integer, BigInt);
}

/// What a row says that is of the customers which were first sent to on a day, and not of those of a group.
const ENTERED_BY_SENT: i32 = 1;

/// The same of those which were first delivered to.
const ENTERED_BY_DELIVERED: i32 = 2;

impl QueryFragment<Pg> for ListReached<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let by_day = self.scope.campaign_id.is_some();
        out.push_sql(if by_day {
            "SELECT v.day, NULL::uuid, v.entered, s.kinds, sum(s.customers)::bigint FROM \
             (SELECT p.grp, p.sent, p.delivered, p.kinds, count(*) AS customers FROM ("
        } else {
            "SELECT NULL::integer, s.grp, NULL::integer, s.kinds, count(*) FROM ("
        });
        out.push_sql("SELECT CASE WHEN grouping(x.grp) = 0 THEN x.grp END AS grp, bit_or(x.kind) AS kinds");
        if by_day {
            // Days are numbered in their order, so that the first day of a customer has the smallest number.
            for (column, kind) in
                [("sent", CampaignEventKind::Sent), ("delivered", CampaignEventKind::Delivered)]
            {
                out.push_sql(&format!(
                    ", CASE WHEN grouping(x.grp) = 1 THEN min(x.grp) FILTER (WHERE x.kind = {}) END AS {column}",
                    bit(kind)
                ));
            }
        }
        out.push_sql(" FROM (SELECT ");
        self.scope.push_group(&mut out, "e.occurred_at", "e.campaign_id")?;
        out.push_sql(" AS grp, e.customer_id, CASE e.kind");
        for kind in KINDS {
            out.push_sql(&format!(" WHEN '{}' THEN {}", kind.word(), bit(kind)));
        }
        // A kind of a newer version is none of these.
        out.push_sql(" ELSE 0 END AS kind");
        self.scope.push_events(&mut out, &self.tenant)?;
        out.push_sql(" UNION ALL SELECT ");
        self.scope.push_group(&mut out, "i.occurred_at", "i.campaign_id")?;
        out.push_sql(&format!(", i.customer_id, {ELSEWHERE}"));
        self.scope.push_conversions(&mut out, &self.tenant)?;
        // Sorted once, both the customers of the groups and those of all follow on each other.
        out.push_sql(
            " ORDER BY 2, 1 OFFSET 0) AS x GROUP BY GROUPING SETS ((x.customer_id, x.grp), (x.customer_id)))",
        );
        if by_day {
            out.push_sql(&format!(
                " AS p GROUP BY 1, 2, 3, 4) AS s CROSS JOIN LATERAL (VALUES (s.grp, NULL::integer), \
                 (s.sent, {ENTERED_BY_SENT}), (s.delivered, {ENTERED_BY_DELIVERED})) AS v (day, entered) \
                 WHERE v.entered IS NULL OR v.day IS NOT NULL GROUP BY 1, 3, 4"
            ));
        } else {
            out.push_sql(" AS s GROUP BY s.grp, s.kinds");
        }
        Ok(())
    }
}

/// The bit of a kind.
fn bit(kind: CampaignEventKind) -> i32 {
    KINDS.iter().position(|other| *other == kind).map_or(0, |place| 1 << place)
}

/// The statement of [`list_dates`].
struct ListDates<'s> {
    tenant: Uuid,
    scope: &'s Scope,
    limit: i64,
}

/// The SQL depends on the scope, so the type alone does not name the statement.
impl QueryId for ListDates<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListDates<'_> {
    type SqlType = Date;
}

impl QueryFragment<Pg> for ListDates<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT DISTINCT (e.occurred_at AT TIME ZONE 'UTC')::date");
        self.scope.push_events(&mut out, &self.tenant)?;
        out.push_sql(" UNION SELECT (i.occurred_at AT TIME ZONE 'UTC')::date");
        self.scope.push_conversions(&mut out, &self.tenant)?;
        out.push_sql(" UNION SELECT (p.purchased_at AT TIME ZONE 'UTC')::date");
        self.scope.push_purchases(&mut out, &self.tenant)?;
        out.push_sql(" ORDER BY 1 DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}
