//! The statement that records events: each column of the table is an array.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{CONSENTS, PROGRESS};
use crate::campaigns::events::model::NewEvent;
use crate::db::TenantTx;
use crate::db::schema::campaign_events;
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{BounceKind, CampaignEventKind, ContactChannel};

/// Records events, raises the progress of customers that are assigned to the campaigns, and stores the consents
/// of the events. A recorded event is new, and its campaign, customer and conversation exist and belong
/// together. Its cost is in the campaign's currency. Of two with the same `event_id`, the first one counts.
/// Returns the ids and the channels of the recorded events.
///
/// Events are recorded in the order of their `event_id`. Then customers are raised, and then consents are
/// stored, each in the order of their ids. So no two batches wait for each other.
pub(crate) async fn record(tx: &TenantTx, events: &[NewEvent], now: DateTime<Utc>) -> Result<Vec<Recorded>> {
    let campaigns: BTreeSet<Uuid> = events.iter().map(|event| event.campaign_id).collect();
    let mut record = Record::new(tx.tenant(), now, campaigns, events.len());
    for event in events {
        record.push(event);
    }
    Ok(record.load(&mut tx.connection()).await?)
}

/// A recorded event.
#[derive(Debug, Clone, Copy, PartialEq, QueryableByName)]
#[diesel(table_name = campaign_events, check_for_backend(Pg))]
pub(crate) struct Recorded {
    pub(crate) id: Uuid,
    pub(crate) channel: Option<Text<ContactChannel>>,
}

statement! {
    /// The statement of [`record`].
    ///
    /// The customers to raise are locked in the order of their ids, and read as the last transaction left them
    /// (`behind`). Of all that a customer said about a channel, in this batch and before, the last statement holds
    /// (`said`, `consented`). The order is total, and no part of it depends on when an event was recorded. So the
    /// result is the same in any order of recording.
    struct Record<'e> {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        /// The campaigns of the events, each once.
        campaigns: Vec<Uuid> as Array<SqlUuid>,
        ids: Vec<Uuid> as Array<SqlUuid>,
        campaign_ids: Vec<Uuid> as Array<SqlUuid>,
        event_ids: Vec<&'e str> as Array<SqlText>,
        customer_ids: Vec<Uuid> as Array<SqlUuid>,
        kinds: Vec<Text<CampaignEventKind>> as Array<SqlText>,
        occurred_ats: Vec<DateTime<Utc>> as Array<Timestamptz>,
        has_occurred_ats: Vec<bool> as Array<Bool>,
        conversation_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        costs_micros: Vec<Option<i64>> as Array<Nullable<BigInt>>,
        currencies: Vec<Option<&'e str>> as Array<Nullable<SqlText>>,
        channels: Vec<Option<Text<ContactChannel>>> as Array<Nullable<SqlText>>,
        bounce_kinds: Vec<Option<Text<BounceKind>>> as Array<Nullable<SqlText>>,
        details: Vec<&'e str> as Array<SqlText>,
        urls: Vec<&'e str> as Array<SqlText>,
    }
    r#"WITH given AS MATERIALIZED (
         SELECT c.id, k.currency, k.channel, :now::timestamptz AS now
         FROM unnest(:campaigns) AS c (id)
         CROSS JOIN LATERAL (
             SELECT x.currency, x.channel FROM campaigns AS x
             WHERE x.tenant_id = :tenant AND x.id = c.id
             OFFSET 0
         ) AS k
     ),
     recorded AS (
         INSERT INTO campaign_events (
             tenant_id, created_at, id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at,
             conversation_id, cost_micros, channel, bounce_kind, detail, url
         )
         SELECT
             :tenant, g.now, e.id, e.campaign_id, e.event_id, e.customer_id, e.kind, e.occurred_at,
             e.has_occurred_at, e.conversation_id, e.cost_micros, coalesce(e.channel, g.channel),
             e.bounce_kind, e.detail, e.url
         FROM unnest(
             :ids, :campaign_ids, :event_ids, :customer_ids, :kinds, :occurred_ats, :has_occurred_ats,
             :conversation_ids, :costs_micros, :currencies, :channels, :bounce_kinds, :details, :urls
         ) WITH ORDINALITY AS e (
             id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at,
             conversation_id, cost_micros, currency, channel, bounce_kind, detail, url, place
         )
         JOIN given AS g ON g.id = e.campaign_id
         CROSS JOIN LATERAL (
             SELECT FROM customers AS c WHERE c.tenant_id = :tenant AND c.id = e.customer_id OFFSET 0
         ) AS customer
         LEFT JOIN LATERAL (
             SELECT true AS is_theirs FROM conversations AS v
             WHERE v.tenant_id = :tenant AND v.id = e.conversation_id AND v.customer_id = e.customer_id
             OFFSET 0
         ) AS conversation ON true
         WHERE (e.conversation_id IS NULL OR conversation.is_theirs)
             AND (e.currency IS NULL OR e.currency = g.currency)
         ORDER BY e.event_id COLLATE "C", e.place
         ON CONFLICT (tenant_id, event_id) DO NOTHING
         RETURNING id, campaign_id, event_id, customer_id, kind, occurred_at, channel, created_at
     ),
     furthest AS (
         SELECT e.campaign_id, e.customer_id, max(e.created_at) AS now, max("#, PROGRESS, r#") AS progress
         FROM recorded AS e
         GROUP BY e.campaign_id, e.customer_id
         ORDER BY e.campaign_id, e.customer_id
     ),
     behind AS (
         SELECT f.campaign_id, f.customer_id, f.now, f.progress
         FROM furthest AS f
         CROSS JOIN LATERAL (
             SELECT FROM campaign_customers AS a
             WHERE a.tenant_id = :tenant AND a.campaign_id = f.campaign_id AND a.customer_id = f.customer_id
                 AND a.progress < f.progress
             FOR NO KEY UPDATE
         ) AS held
     ),
     raised AS (
         UPDATE campaign_customers AS a
         SET progress = b.progress, revision = a.revision + 1, updated_at = b.now
         FROM behind AS b
         WHERE a.tenant_id = :tenant AND a.campaign_id = b.campaign_id AND a.customer_id = b.customer_id
             AND a.progress < b.progress
     ),
     said AS (
         SELECT DISTINCT ON (r.customer_id, r.on_channel) r.*
         FROM (
             SELECT e.*, coalesce(e.channel, 'OTHER') AS on_channel
             FROM recorded AS e
             WHERE e.kind IN ("#, CONSENTS, r#")
         ) AS r
         ORDER BY
             r.customer_id, r.on_channel, r.occurred_at DESC, r.kind COLLATE "C" DESC,
             r.campaign_id DESC, r.event_id DESC
     ),
     consented AS (
         INSERT INTO customer_consents AS c (
             tenant_id, customer_id, channel, state, occurred_at, campaign_id, campaign_event_id, event_id,
             created_at, updated_at
         )
         SELECT
             :tenant, s.customer_id, s.on_channel, s.kind, s.occurred_at, s.campaign_id, s.id, s.event_id,
             s.created_at, s.created_at
         FROM said AS s
         ORDER BY s.customer_id, s.on_channel COLLATE "C"
         ON CONFLICT (tenant_id, customer_id, channel) DO UPDATE
         SET state = excluded.state, occurred_at = excluded.occurred_at, campaign_id = excluded.campaign_id,
             campaign_event_id = excluded.campaign_event_id, event_id = excluded.event_id,
             updated_at = excluded.updated_at, revision = c.revision + 1
         WHERE (excluded.occurred_at, excluded.state, excluded.campaign_id, excluded.event_id)
             > (c.occurred_at, c.state, c.campaign_id, c.event_id)
     )
     SELECT r.id, r.channel FROM recorded AS r"#
}

impl<'e> Record<'e> {
    fn new(tenant: Uuid, now: DateTime<Utc>, campaigns: BTreeSet<Uuid>, count: usize) -> Self {
        Self {
            tenant,
            now,
            campaigns: campaigns.into_iter().collect(),
            ids: Vec::with_capacity(count),
            campaign_ids: Vec::with_capacity(count),
            event_ids: Vec::with_capacity(count),
            customer_ids: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            occurred_ats: Vec::with_capacity(count),
            has_occurred_ats: Vec::with_capacity(count),
            conversation_ids: Vec::with_capacity(count),
            costs_micros: Vec::with_capacity(count),
            currencies: Vec::with_capacity(count),
            channels: Vec::with_capacity(count),
            bounce_kinds: Vec::with_capacity(count),
            details: Vec::with_capacity(count),
            urls: Vec::with_capacity(count),
        }
    }

    fn push(&mut self, event: &'e NewEvent) {
        let NewEvent {
            id,
            campaign_id,
            event_id,
            customer_id,
            kind,
            occurred_at,
            has_occurred_at,
            conversation_id,
            cost_micros,
            currency,
            channel,
            bounce_kind,
            detail,
            url,
        } = event;
        self.ids.push(*id);
        self.campaign_ids.push(*campaign_id);
        self.event_ids.push(event_id);
        self.customer_ids.push(*customer_id);
        self.kinds.push(*kind);
        self.occurred_ats.push(*occurred_at);
        self.has_occurred_ats.push(*has_occurred_at);
        self.conversation_ids.push(*conversation_id);
        self.costs_micros.push(*cost_micros);
        self.currencies.push(currency.as_deref());
        self.channels.push(*channel);
        self.bounce_kinds.push(*bounce_kind);
        self.details.push(detail);
        self.urls.push(url);
    }
}
