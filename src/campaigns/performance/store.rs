//! Counts of `campaign_events`, of `purchases`, and of the conversions among `interest_events`.
//!
//! All counted columns are in an index, so that no row is read. The kinds of a customer's events are bits of a
//! number. So customers with the same kinds are counted together, and each customer is visited once.

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
use crate::contract::Word;
use crate::db::TenantTx;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{CampaignAttribution, CampaignEventKind, InterestKind};

/// The events and purchases that are counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scope {
    /// One campaign, counted by day; or `None` for all campaigns, counted by campaign.
    pub(crate) campaign_id: Option<Uuid>,
    /// The start of the window.
    pub(crate) from: Option<DateTime<Utc>>,
    /// The end of the window, which is not part of it.
    pub(crate) until: Option<DateTime<Utc>>,
    /// How purchases are attributed to campaigns.
    pub(crate) attribution: CampaignAttribution,
    /// The starts of the days by which a campaign is counted, in order. Events before the first start belong to
    /// no day.
    pub(crate) days: Vec<DateTime<Utc>>,
}

/// The group of rows that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// All of them.
    Total,
    /// A day of the scope, by its number, from 1. The number 0 is for events of no day.
    Day(usize),
    /// A campaign.
    Campaign(Uuid),
}

/// The number of events of a kind in a group, and their cost in millionths.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happened {
    pub(crate) group: Group,
    /// `None` for a conversion in another system: an event of interest.
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

/// The customers that are counted, and which of their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// All customers of a group, with their events in it.
    Group(Group),
    /// The customers whose first SENT was on a day, with all their events in the scope.
    SentOn(usize),
    /// The customers whose first DELIVERED was on a day, with all their events in the scope.
    DeliveredOn(usize),
}

/// Kinds of events, one bit for each. The first of [`KINDS`] is the lowest bit. One more bit is for a
/// conversion in another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds(i32);

impl Kinds {
    /// Returns whether the kind is among them.
    pub(crate) fn has(self, kind: CampaignEventKind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Returns whether there is a conversion among them, in the campaign or in another system.
    pub(crate) fn has_conversion(self) -> bool {
        self.0 & (bit(CampaignEventKind::Converted) | ELSEWHERE) != 0
    }

    /// Returns only a conversion in another system.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self::default().and_elsewhere()
    }

    /// Returns the same kinds and a conversion in another system.
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

/// Returns the number of events of a scope, by group and kind.
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

/// Returns the number of customers with events in a scope, by group and in total. If the groups are days, it
/// also returns them by the day of their first SENT, and by the day of their first DELIVERED.
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

/// Returns the days of UTC with events in a scope, the last first, and no more than `limit`.
pub(crate) async fn list_dates(tx: &TenantTx, scope: &Scope, limit: i64) -> Result<Vec<NaiveDate>> {
    let list = ListDates { tenant: tx.tenant(), scope, limit };
    Ok(list.load(&mut tx.connection()).await?)
}

/// Returns the group that two columns name.
fn group(day: Option<i32>, campaign: Option<Uuid>) -> Group {
    match (day, campaign) {
        (Some(day), _) => Group::Day(usize::try_from(day).unwrap_or(0)),
        (None, Some(campaign)) => Group::Campaign(campaign),
        (None, None) => Group::Total,
    }
}

/// Returns a sum, which Postgres does not limit in size.
fn sum(text: Option<&str>) -> Result<i128> {
    text.map_or(Ok(0), |text| text.parse().map_err(Error::internal))
}

impl Scope {
    /// Writes the expression by which the rows are grouped: the column of the time, or that of the campaign.
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

    /// Returns the group `s.grp` as two columns.
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

    /// Writes the FROM clause of the scope's events `e`.
    fn push_events<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, tenant: &'b Uuid) -> QueryResult<()> {
        out.push_sql(" FROM campaign_events AS e WHERE e.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        if let Some(campaign_id) = &self.campaign_id {
            out.push_sql(" AND e.campaign_id = ");
            out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        }
        self.push_window(out, "e.occurred_at")
    }

    /// Writes the FROM clause of the scope's conversions `i` in other systems.
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

/// The mark of a row for the customers whose first SENT was on a day, and not for the customers of a group.
const ENTERED_BY_SENT: i32 = 1;

/// The mark of a row for the customers whose first DELIVERED was on a day.
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
        // A kind of a newer version gets no bit.
        out.push_sql(" ELSE 0 END AS kind");
        self.scope.push_events(&mut out, &self.tenant)?;
        out.push_sql(" UNION ALL SELECT ");
        self.scope.push_group(&mut out, "i.occurred_at", "i.campaign_id")?;
        out.push_sql(&format!(", i.customer_id, {ELSEWHERE}"));
        self.scope.push_conversions(&mut out, &self.tenant)?;
        // Sorted once, the rows of a customer are together, both within each group and over all groups.
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

/// Returns the bit of a kind.
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
