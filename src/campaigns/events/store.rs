//! `campaign_events`.

mod list;
mod record;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use list::list;
pub(crate) use record::record;

use super::rules::{KINDS, consent, status_after};
use crate::db::TenantTx;
use crate::db::schema::campaign_events::{self, dsl};
use crate::error::Result;
use crate::pb::{BounceKind, CampaignEventKind, ContactChannel};
use crate::rpc::words::{Text, Word};

/// Writes how far the event `e` brings a customer: the number of an assignment's status, which is how an
/// assignment has it.
pub(crate) fn push_progress(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("CASE e.kind");
    for kind in KINDS {
        out.push_sql(&format!(" WHEN '{}' THEN {}", kind.word(), i32::from(status_after(kind))));
    }
    out.push_sql(" END");
}

/// Writes the kinds of events by which customers say something about being contacted, as a list of texts.
fn push_consents(out: &mut AstPass<'_, '_, Pg>) {
    let kinds = KINDS.into_iter().filter(|kind| consent(*kind).is_some());
    out.push_sql(&kinds.map(|kind| format!("'{}'", kind.word())).collect::<Vec<_>>().join(", "));
}

/// An event to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewEvent {
    pub(crate) id: Uuid,
    pub(crate) campaign_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) customer_id: Uuid,
    pub(crate) kind: Text<CampaignEventKind>,
    pub(crate) occurred_at: DateTime<Utc>,
    /// Whether the client said when.
    pub(crate) has_occurred_at: bool,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) cost_micros: Option<i64>,
    /// That of the cost.
    pub(crate) currency: Option<String>,
    /// How it reached the customer; as the campaign does where the client does not say.
    pub(crate) channel: Option<Text<ContactChannel>>,
    pub(crate) bounce_kind: Option<Text<BounceKind>>,
    pub(crate) detail: String,
    pub(crate) url: String,
}

/// An event that is recorded.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = campaign_events, check_for_backend(Pg))]
pub(crate) struct Known {
    pub(crate) id: Uuid,
    pub(crate) campaign_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) customer_id: Uuid,
    pub(crate) kind: Text<CampaignEventKind>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) has_occurred_at: bool,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) cost_micros: Option<i64>,
    pub(crate) channel: Option<Text<ContactChannel>>,
    pub(crate) bounce_kind: Option<Text<BounceKind>>,
    pub(crate) detail: String,
    pub(crate) url: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// An event as it is listed.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) campaign_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) customer_id: Uuid,
    pub(crate) kind: Text<CampaignEventKind>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) cost_micros: Option<i64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) channel: Option<Text<ContactChannel>>,
    pub(crate) bounce_kind: Option<Text<BounceKind>>,
    pub(crate) detail: String,
    pub(crate) url: String,
    /// That of the campaign.
    pub(crate) currency: Option<String>,
}

/// Which events a list shows. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) kinds: Vec<Text<CampaignEventKind>>,
    pub(crate) occurred_from: Option<DateTime<Utc>>,
    pub(crate) occurred_until: Option<DateTime<Utc>>,
}

/// Where a page ends: when its last event happened, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Where a page ends when `event` is its last.
    pub(crate) fn at(event: &Event) -> Self {
        Self(event.occurred_at, event.id)
    }
}

/// The event with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Known>> {
    let event = dsl::campaign_events
        .find((tx.tenant(), id))
        .select(Known::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(event)
}

/// The events with these ids of the client's, as far as there are any.
pub(crate) async fn find_known(tx: &TenantTx, event_ids: &[&str]) -> Result<Vec<Known>> {
    let known = dsl::campaign_events
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::event_id.eq_any(event_ids))
        .select(Known::as_select())
        .load(&mut tx.connection())
        .await?;
    Ok(known)
}
