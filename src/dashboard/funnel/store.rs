//! The statement of a funnel. Each list of steps makes another statement.

use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Integer, Interval, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::model::Params;
use super::rules::{Source, sources};
use crate::campaigns::touches::paid::IsPaid;
use crate::dashboard::rules::{MAX_VALUES, Window};
use crate::db::TenantTx;
use crate::db::statement::{Joined, Number, Sql, fragment, joined, statement};
use crate::db::words::Text;
use crate::error::Result;
use crate::numbers;
use crate::pb::{
    CampaignEventKind, ConversationEnvironment, EntryPoint, FunnelGrouping, FunnelStep, InterestKind,
};

/// How many customers of a group reached a step.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(super) struct Reached {
    /// The index of the step, from 0.
    #[diesel(sql_type = Integer)]
    pub(super) step: i32,
    #[diesel(sql_type = SqlText)]
    pub(super) group: String,
    #[diesel(sql_type = BigInt)]
    pub(super) customers: i64,
    /// The median of the microseconds since the step before.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) median: Option<i64>,
}

/// Returns how many customers reached each step, for the groups with the most entries.
pub(super) async fn list_reached(tx: &TenantTx, params: &Params) -> Result<Vec<Reached>> {
    let Some((entry, later)) = params.steps.split_first() else { return Ok(Vec::new()) };
    let places = 1..=numbers::count(later.len());
    let list = ListReached {
        entry_events: Events::new(tx, 0, *entry, params.window),
        group: Sql(match params.grouping {
            FunnelGrouping::Unspecified => "''",
            FunnelGrouping::Campaign => "coalesce(campaign_id::text, '')",
            FunnelGrouping::EntryPoint => "coalesce(entry_point, '')",
        }),
        of_campaign: joined(" ", params.campaign_id.map(|campaign_id| OfCampaign { campaign_id })),
        of_entry_points: joined(" ", OfEntryPoints::new(&params.entry_points)),
        later: joined(
            " ",
            places.clone().zip(later).map(|(place, step)| Later::new(tx, place, *step, params)),
        ),
        limit: MAX_VALUES,
        counts: joined(" ", places.map(|place| Count { place: Number(place) })),
    };
    Ok(list.load(&mut tx.connection()).await?)
}

statement! {
    /// The statement of [`list_reached`]. `step_0` has the customers that entered, by the first event of each, of
    /// the campaign if one is named. Among events at one moment, the one that was recorded first counts. `groups`
    /// has the groups with the most entries.
    ///
    /// There are thousands of lists of steps, and a connection would keep all of their statements. The numbers of
    /// the steps, which are in the names, prevent that.
    struct ListReached<'p> {
        entry_events: Events,
        group: Sql,
        of_campaign: Joined<OfCampaign>,
        of_entry_points: Joined<OfEntryPoints<'p>>,
        later: Joined<Later>,
        limit: i64 as BigInt,
        counts: Joined<Count>,
    }
    r#"WITH :entry_events,
     step_0 AS (
         SELECT customer_id, at AS entered_at, at, :group AS grp
         FROM (
             SELECT DISTINCT ON (customer_id) * FROM events_0 :of_campaign ORDER BY customer_id, at, id
         ) AS e
         WHERE true :of_entry_points
     )
     :later,
     groups AS (
         SELECT grp FROM step_0 GROUP BY grp ORDER BY count(*) DESC, grp COLLATE "C" LIMIT :limit
     )
     SELECT step, grp AS "group", customers, median
     FROM (
         SELECT 0 AS step, grp, count(*) AS customers, NULL::bigint AS median FROM step_0 GROUP BY grp
         :counts
     ) AS s
     WHERE grp IN (SELECT grp FROM groups)"#
}

fragment! {
    /// The customers whose first event is of a campaign.
    struct OfCampaign {
        campaign_id: Uuid as SqlUuid,
    }
    "WHERE campaign_id = :campaign_id"
}

fragment! {
    /// The customers whose first event is a conversation with one of these entry points.
    struct OfEntryPoints<'p> {
        entry_points: &'p [Text<EntryPoint>] as Array<SqlText>,
    }
    "AND entry_point = ANY (:entry_points)"
}

impl<'p> OfEntryPoints<'p> {
    /// Returns `None` if any entry point will do.
    fn new(entry_points: &'p [Text<EntryPoint>]) -> Option<Self> {
        (!entry_points.is_empty()).then_some(Self { entry_points })
    }
}

fragment! {
    /// A later step: the customers of the step before that reached this one, each with its first event at that time
    /// or later.
    struct Later {
        events: Events,
        before: Number,
        place: Number,
        max_duration: PgInterval as Interval,
    }
    ", :events,
     step_:place AS (
         SELECT s.customer_id, s.entered_at, s.grp, s.at AS before, min(e.at) AS at
         FROM step_:before AS s
         JOIN events_:place AS e
             ON e.customer_id = s.customer_id AND e.at >= s.at AND e.at <= s.entered_at + :max_duration
         GROUP BY s.customer_id, s.entered_at, s.grp, s.at
     )"
}

impl Later {
    fn new(tx: &TenantTx, place: i64, step: FunnelStep, params: &Params) -> Self {
        let max_duration = params.max_duration.num_microseconds().unwrap_or(i64::MAX);
        Self {
            events: Events::new(tx, place, step, params.followed()),
            before: Number(place - 1),
            place: Number(place),
            max_duration: PgInterval::from_microseconds(max_duration),
        }
    }
}

fragment! {
    /// The number of customers that reached a later step, and their median.
    struct Count {
        place: Number,
    }
    "UNION ALL
     SELECT
         :place, grp, count(*),
         (
             extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY at - before)) * 1000000
         )::bigint
     FROM step_:place
     GROUP BY grp"
}

fragment! {
    /// The events of a step in a window. MATERIALIZED makes the planner find them by their time. It could otherwise
    /// read the events of all times in the order of customers.
    struct Events {
        place: Number,
        rows: Joined<Rows>,
    }
    "events_:place AS MATERIALIZED (:rows)"
}

impl Events {
    fn new(tx: &TenantTx, place: i64, step: FunnelStep, window: Window) -> Self {
        let rows = sources(step).iter().map(|source| Rows::new(tx.tenant(), *source, window));
        Self { place: Number(place), rows: joined(" UNION ALL ", rows) }
    }
}

fragment! {
    /// The rows of a table that are events, by their kinds as they are stored.
    enum Rows {
        CampaignEvents {
            tenant: Uuid as SqlUuid,
            kinds: Vec<Text<CampaignEventKind>> as Array<SqlText>,
            from: DateTime<Utc> as Timestamptz,
            until: DateTime<Utc> as Timestamptz,
        } =>
            "SELECT customer_id, occurred_at AS at, id, campaign_id, NULL AS entry_point FROM campaign_events
             WHERE tenant_id = :tenant AND kind = ANY (:kinds) AND occurred_at >= :from AND occurred_at < :until",
        Conversations {
            tenant: Uuid as SqlUuid,
            environment: Text<ConversationEnvironment> as SqlText,
            from: DateTime<Utc> as Timestamptz,
            until: DateTime<Utc> as Timestamptz,
        } =>
            "SELECT customer_id, started_at AS at, id, NULL::uuid AS campaign_id, entry_point FROM conversations
             WHERE tenant_id = :tenant AND environment = :environment
                 AND started_at >= :from AND started_at < :until",
        InterestEvents {
            tenant: Uuid as SqlUuid,
            kinds: Vec<Text<InterestKind>> as Array<SqlText>,
            from: DateTime<Utc> as Timestamptz,
            until: DateTime<Utc> as Timestamptz,
        } =>
            "SELECT customer_id, occurred_at AS at, id, campaign_id, NULL AS entry_point FROM interest_events
             WHERE tenant_id = :tenant AND kind = ANY (:kinds) AND occurred_at >= :from AND occurred_at < :until",
        Purchases {
            tenant: Uuid as SqlUuid,
            is_paid: IsPaid,
            from: DateTime<Utc> as Timestamptz,
            until: DateTime<Utc> as Timestamptz,
        } =>
            "SELECT customer_id, purchased_at AS at, id, campaign_id, NULL AS entry_point FROM purchases
             WHERE tenant_id = :tenant AND status :is_paid AND purchased_at >= :from AND purchased_at < :until",
    }
}

impl Rows {
    fn new(tenant: Uuid, source: Source, window: Window) -> Self {
        let Window { from, until } = window;
        match source {
            Source::Campaigns(kinds) => {
                let kinds = kinds.iter().copied().map(Text).collect();
                Self::CampaignEvents { tenant, kinds, from, until }
            }
            Source::Conversations => {
                let environment = Text(ConversationEnvironment::Live);
                Self::Conversations { tenant, environment, from, until }
            }
            Source::Interest(kinds) => {
                let kinds = kinds.iter().copied().map(Text).collect();
                Self::InterestEvents { tenant, kinds, from, until }
            }
            Source::Purchases => Self::Purchases { tenant, is_paid: IsPaid {}, from, until },
        }
    }
}
