//! The statements of `interest_events` that write a batch: each column is an array.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Bool, Double, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::InterestEvent;
use crate::db::TenantTx;
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ConversationOutcome, InterestKind};

/// Returns the events with these ids of clients.
pub(crate) async fn list_known(tx: &TenantTx, event_ids: &[String]) -> Result<Vec<InterestEvent>> {
    Ok(ListKnown { tenant: tx.tenant(), event_ids }.load(&mut tx.connection()).await?)
}

/// Inserts events, except those whose event_id the tenant has. Returns the ids of the inserted ones. Events are
/// inserted in the order of their event_ids, so that no two transactions with the same events wait for each
/// other.
pub(crate) async fn insert(tx: &TenantTx, mut events: Vec<InterestEvent>) -> Result<Vec<Uuid>> {
    events.sort_unstable_by(|one, other| one.event_id.cmp(&other.event_id));
    let mut insert = Insert { tenant: tx.tenant(), ..Insert::default() };
    for event in events {
        insert.push(event);
    }
    let inserted: Vec<Inserted> = insert.load(&mut tx.connection()).await?;
    Ok(inserted.into_iter().map(|Inserted { id }| id).collect())
}

/// A row of the statement of [`insert`].
#[derive(QueryableByName)]
struct Inserted {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

statement! {
    /// The statement of [`list_known`]. It looks up id by id, independent of the planner's statistics.
    struct ListKnown<'e> {
        tenant: Uuid as SqlUuid,
        event_ids: &'e [String] as Array<SqlText>,
    }
    "SELECT found.*
     FROM unnest(:event_ids) AS at_hand (event_id)
     CROSS JOIN LATERAL (
         SELECT
             id, event_id, customer_id, kind, subject, subject_key, weight, value_currency, value_micros,
             source, occurred_at, has_occurred_at, conversation_id, campaign_id, outcome, created_at
         FROM interest_events AS e
         WHERE e.event_id = at_hand.event_id AND e.tenant_id = :tenant
         OFFSET 0
     ) AS found"
}

statement! {
    /// The statement of [`insert`].
    #[derive(Default)]
    struct Insert {
        tenant: Uuid as SqlUuid,
        ids: Vec<Uuid> as Array<SqlUuid>,
        event_ids: Vec<String> as Array<SqlText>,
        customer_ids: Vec<Uuid> as Array<SqlUuid>,
        kinds: Vec<Text<InterestKind>> as Array<SqlText>,
        subjects: Vec<String> as Array<SqlText>,
        subject_keys: Vec<String> as Array<SqlText>,
        weights: Vec<f64> as Array<Double>,
        value_currencies: Vec<Option<String>> as Array<Nullable<SqlText>>,
        values_micros: Vec<Option<i64>> as Array<Nullable<BigInt>>,
        sources: Vec<String> as Array<SqlText>,
        occurred_ats: Vec<DateTime<Utc>> as Array<Timestamptz>,
        have_occurred_at: Vec<bool> as Array<Bool>,
        conversation_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        campaign_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        outcomes: Vec<Option<Text<ConversationOutcome>>> as Array<Nullable<SqlText>>,
        created_ats: Vec<DateTime<Utc>> as Array<Timestamptz>,
    }
    "INSERT INTO interest_events (
         tenant_id, id, event_id, customer_id, kind, subject, subject_key, weight, value_currency,
         value_micros, source, occurred_at, has_occurred_at, conversation_id, campaign_id, outcome, created_at
     )
     SELECT :tenant, e.*
     FROM unnest(
         :ids, :event_ids, :customer_ids, :kinds, :subjects, :subject_keys, :weights, :value_currencies,
         :values_micros, :sources, :occurred_ats, :have_occurred_at, :conversation_ids, :campaign_ids,
         :outcomes, :created_ats
     ) AS e
     ON CONFLICT (tenant_id, event_id) DO NOTHING
     RETURNING id"
}

impl Insert {
    fn push(&mut self, event: InterestEvent) {
        let InterestEvent {
            id,
            event_id,
            customer_id,
            kind,
            subject,
            subject_key,
            weight,
            value_currency,
            value_micros,
            source,
            occurred_at,
            has_occurred_at,
            conversation_id,
            campaign_id,
            outcome,
            created_at,
        } = event;
        self.ids.push(id);
        self.event_ids.push(event_id);
        self.customer_ids.push(customer_id);
        self.kinds.push(kind);
        self.subjects.push(subject);
        self.subject_keys.push(subject_key);
        self.weights.push(weight);
        self.value_currencies.push(value_currency);
        self.values_micros.push(value_micros);
        self.sources.push(source);
        self.occurred_ats.push(occurred_at);
        self.have_occurred_at.push(has_occurred_at);
        self.conversation_ids.push(conversation_id);
        self.campaign_ids.push(campaign_id);
        self.outcomes.push(outcome);
        self.created_ats.push(created_at);
    }
}
