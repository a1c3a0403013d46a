//! Counts of `campaign_events`, of `purchases`, and of the conversions among `interest_events`.
//!
//! All counted columns are in an index, so that no row is read. The kinds of a customer's events are bits of a
//! number. So customers with the same kinds are counted together, and each customer is visited once.

mod purchases;
mod scope;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Date, Integer, Nullable, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub(crate) use purchases::{Bought, list_bought};
use scope::{Conversions, Events, GroupOf, Purchases};

use crate::campaigns::events::rules::KINDS;
use crate::db::TenantTx;
use crate::db::statement::{Sql, fragment, statement};
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{CampaignAttribution, CampaignEventKind};

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
    let list = ListHappened {
        group_columns: scope.group_columns(),
        event_group: scope.event_group(),
        events: scope.events(tx),
        conversion_group: scope.conversion_group(),
        conversions: scope.conversions(tx),
    };
    let rows: Vec<HappenedRow> = list.load(&mut tx.connection()).await?;
    let happened = rows.into_iter().map(|HappenedRow { day, campaign_id, kind, events, cost }| {
        let kind = kind.map(|Text(kind)| kind);
        Ok(Happened { group: group(day, campaign_id), kind, events, cost: sum(cost.as_deref())? })
    });
    happened.collect()
}

/// Returns the number of customers with events in a scope, by group and in total. If the groups are days, it
/// also returns them by the day of their first SENT, and by the day of their first DELIVERED.
pub(crate) async fn list_reached(tx: &TenantTx, scope: &Scope) -> Result<Vec<Reached>> {
    let events = CustomerEvents {
        event_group: scope.event_group(),
        events: scope.events(tx),
        conversion_group: scope.conversion_group(),
        conversions: scope.conversions(tx),
    };
    let rows: Vec<ReachedRow> = match scope.campaign_id {
        Some(_) => ListReachedByDay { events }.load(&mut tx.connection()).await?,
        None => ListReachedByCampaign { events }.load(&mut tx.connection()).await?,
    };
    let reached = rows.into_iter().map(|ReachedRow { day, campaign_id, entered, kinds, customers }| {
        let group = group(day, campaign_id);
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
    let list = ListDates {
        events: scope.events(tx),
        conversions: scope.conversions(tx),
        purchases: scope.purchases(tx),
        limit,
    };
    let days: Vec<Day> = list.load(&mut tx.connection()).await?;
    Ok(days.into_iter().map(|Day { date }| date).collect())
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

/// Returns the bit of a kind.
fn bit(kind: CampaignEventKind) -> i32 {
    KINDS.iter().position(|other| *other == kind).map_or(0, |place| 1 << place)
}

/// A row of [`ListHappened`].
#[derive(QueryableByName)]
struct HappenedRow {
    #[diesel(sql_type = Nullable<Integer>)]
    day: Option<i32>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    campaign_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlText>)]
    kind: Option<Text<CampaignEventKind>>,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = Nullable<SqlText>)]
    cost: Option<String>,
}

statement! {
    /// The statement of [`list_happened`].
    struct ListHappened<'s> {
        group_columns: Sql,
        event_group: GroupOf<'s>,
        events: Events,
        conversion_group: GroupOf<'s>,
        conversions: Conversions,
    }
    "SELECT :group_columns, s.kind, s.events, s.cost::text AS cost
     FROM (
         SELECT :event_group AS grp, e.kind, count(*) AS events, sum(e.cost_micros) AS cost
         FROM :events
         GROUP BY 1, 2
         UNION ALL
         SELECT :conversion_group AS grp, NULL::text, count(*), NULL::numeric
         FROM :conversions
         GROUP BY 1
     ) AS s"
}

/// A row of [`ListReachedByDay`] or of [`ListReachedByCampaign`].
#[derive(QueryableByName)]
struct ReachedRow {
    #[diesel(sql_type = Nullable<Integer>)]
    day: Option<i32>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    campaign_id: Option<Uuid>,
    /// The event by which the customers are counted on the day; `None` for the customers of a group.
    #[diesel(sql_type = Nullable<Integer>)]
    entered: Option<i32>,
    #[diesel(sql_type = Integer)]
    kinds: i32,
    #[diesel(sql_type = BigInt)]
    customers: i64,
}

/// The mark of a row for the customers whose first SENT was on a day.
const ENTERED_BY_SENT: i32 = 1;

/// The mark of a row for the customers whose first DELIVERED was on a day.
const ENTERED_BY_DELIVERED: i32 = 2;

statement! {
    /// The statement of [`list_reached`] for a campaign. Days are numbered in their order, so that the first day of
    /// a customer has the smallest number.
    struct ListReachedByDay<'s> {
        events: CustomerEvents<'s>,
    }
    "SELECT v.day, NULL::uuid AS campaign_id, v.entered, s.kinds, sum(s.customers)::bigint AS customers
     FROM (
         SELECT p.grp, p.sent, p.delivered, p.kinds, count(*) AS customers
         FROM (
             SELECT
                 CASE WHEN grouping(x.grp) = 0 THEN x.grp END AS grp,
                 bit_or(x.kind) AS kinds,
                 CASE WHEN grouping(x.grp) = 1 THEN min(x.grp) FILTER (WHERE x.kind = 1) END AS sent,
                 CASE WHEN grouping(x.grp) = 1 THEN min(x.grp) FILTER (WHERE x.kind = 4) END AS delivered
             FROM :events AS x
             GROUP BY GROUPING SETS ((x.customer_id, x.grp), (x.customer_id))
         ) AS p
         GROUP BY 1, 2, 3, 4
     ) AS s
     CROSS JOIN LATERAL (
         VALUES (s.grp, NULL::integer), (s.sent, 1), (s.delivered, 2)
     ) AS v (day, entered)
     WHERE v.entered IS NULL OR v.day IS NOT NULL
     GROUP BY 1, 3, 4"
}

statement! {
    /// The statement of [`list_reached`] for all campaigns.
    struct ListReachedByCampaign<'s> {
        events: CustomerEvents<'s>,
    }
    "SELECT
         NULL::integer AS day, s.grp AS campaign_id, NULL::integer AS entered, s.kinds, count(*) AS customers
     FROM (
         SELECT CASE WHEN grouping(x.grp) = 0 THEN x.grp END AS grp, bit_or(x.kind) AS kinds
         FROM :events AS x
         GROUP BY GROUPING SETS ((x.customer_id, x.grp), (x.customer_id))
     ) AS s
     GROUP BY s.grp, s.kinds"
}

fragment! {
    /// The kinds of the events of a scope, as bits, with the group and the customer of each. A kind of a newer
    /// version gets no bit. Sorted once, the rows of a customer are together, both within each group and over all
    /// groups.
    struct CustomerEvents<'s> {
        event_group: GroupOf<'s>,
        events: Events,
        conversion_group: GroupOf<'s>,
        conversions: Conversions,
    }
    "(
         SELECT
             :event_group AS grp, e.customer_id, ", KIND_BITS, " AS kind
         FROM :events
         UNION ALL
         SELECT :conversion_group, i.customer_id, 4096
         FROM :conversions
         ORDER BY 2, 1
         OFFSET 0
     )"
}

/// The bit of the kind of an event `e`.
const KIND_BITS: &str = "
    CASE e.kind
        WHEN 'SENT' THEN 1
        WHEN 'BOUNCED' THEN 2
        WHEN 'DELIVERED' THEN 4
        WHEN 'OPENED' THEN 8
        WHEN 'CLICKED' THEN 16
        WHEN 'REPLIED' THEN 32
        WHEN 'CONVERTED' THEN 64
        WHEN 'OPTED_OUT' THEN 128
        WHEN 'OPTED_IN' THEN 256
        WHEN 'SPAM_REPORTED' THEN 512
        WHEN 'DEFERRED' THEN 1024
        WHEN 'DROPPED' THEN 2048
        ELSE 0
    END";

/// A row of [`ListDates`].
#[derive(QueryableByName)]
struct Day {
    #[diesel(sql_type = Date)]
    date: NaiveDate,
}

statement! {
    /// The statement of [`list_dates`].
    struct ListDates {
        events: Events,
        conversions: Conversions,
        purchases: Purchases,
        limit: i64 as BigInt,
    }
    "SELECT DISTINCT (e.occurred_at AT TIME ZONE 'UTC')::date AS date FROM :events
     UNION
     SELECT (i.occurred_at AT TIME ZONE 'UTC')::date FROM :conversions
     UNION
     SELECT (p.purchased_at AT TIME ZONE 'UTC')::date FROM :purchases
     ORDER BY 1 DESC
     LIMIT :limit"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Word;

    #[test]
    fn the_statements_know_every_kind() {
        let whens = KINDS.map(|kind| format!("WHEN '{}' THEN {}", kind.word(), bit(kind)));
        let words: Vec<_> = KIND_BITS.split_whitespace().collect();
        assert_eq!(words.join(" "), format!("CASE e.kind {} ELSE 0 END", whens.join(" ")));
        assert_eq!(ELSEWHERE, 4096);
        assert_eq!((bit(CampaignEventKind::Sent), bit(CampaignEventKind::Delivered)), (1, 4));
        assert_eq!((ENTERED_BY_SENT, ENTERED_BY_DELIVERED), (1, 2));
    }
}
