//! The statements of `interest_events` that write a batch: each column is an array.
//!
//! They are written by hand: diesel has no UNNEST, and a statement whose type is its name is prepared once per
//! connection.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Bool, Double, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::InterestEvent;
use crate::db::TenantTx;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ConversationOutcome, InterestKind};

/// Returns the events with these ids of clients.
pub(crate) async fn list_known(tx: &TenantTx, event_ids: &[String]) -> Result<Vec<InterestEvent>> {
    let query = ListKnown { tenant: tx.tenant(), event_ids: event_ids.to_vec() };
    Ok(query.load(&mut tx.connection()).await?)
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
    Ok(insert.load(&mut tx.connection()).await?)
}

/// The statement of [`list_known`]. It looks up id by id, independent of the planner's statistics.
#[derive(QueryId)]
struct ListKnown {
    tenant: Uuid,
    event_ids: Vec<String>,
}

impl Query for ListKnown {
    type SqlType = <diesel::dsl::AsSelect<InterestEvent, Pg> as Expression>::SqlType;
}

impl QueryFragment<Pg> for ListKnown {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM unnest(");
        out.push_bind_param::<Array<SqlText>, _>(&self.event_ids)?;
        out.push_sql(
            ") AS at_hand (event_id) CROSS JOIN LATERAL (SELECT id, event_id, customer_id, kind, subject, \
             subject_key, weight, value_currency, value_micros, source, occurred_at, has_occurred_at, \
             conversation_id, campaign_id, outcome, created_at FROM interest_events AS e WHERE e.event_id = at_hand.event_id AND e.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" OFFSET 0) AS found");
        Ok(())
    }
}

/// The statement of [`insert`].
#[derive(Default, QueryId)]
struct Insert {
    tenant: Uuid,
    ids: Vec<Uuid>,
    event_ids: Vec<String>,
    customer_ids: Vec<Uuid>,
    kinds: Vec<Text<InterestKind>>,
    subjects: Vec<String>,
    subject_keys: Vec<String>,
    weights: Vec<f64>,
    value_currencies: Vec<Option<String>>,
    values_micros: Vec<Option<i64>>,
    sources: Vec<String>,
    occurred_ats: Vec<DateTime<Utc>>,
    have_occurred_at: Vec<bool>,
    conversation_ids: Vec<Option<Uuid>>,
    campaign_ids: Vec<Option<Uuid>>,
    outcomes: Vec<Option<Text<ConversationOutcome>>>,
    created_ats: Vec<DateTime<Utc>>,
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

impl Query for Insert {
    type SqlType = SqlUuid;
}

impl QueryFragment<Pg> for Insert {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO interest_events (tenant_id, id, event_id, customer_id, kind, subject, subject_key, weight, \
             value_currency, value_micros, source, occurred_at, has_occurred_at, conversation_id, campaign_id, \
             outcome, created_at) SELECT ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(", e.* FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.customer_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.kinds)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.subjects)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.subject_keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Double>, _>(&self.weights)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<SqlText>>, _>(&self.value_currencies)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.values_micros)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.sources)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.occurred_ats)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Bool>, _>(&self.have_occurred_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(&self.conversation_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(&self.campaign_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<SqlText>>, _>(&self.outcomes)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.created_ats)?;
        out.push_sql(") AS e ON CONFLICT (tenant_id, event_id) DO NOTHING RETURNING id");
        Ok(())
    }
}
