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

/// Writes how far the event `e` brings a customer, as the number of a status, which is how an assignment stores
/// it.
pub(crate) fn push_progress(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("CASE e.kind");
    for kind in KINDS {
        out.push_sql(&format!(" WHEN '{}' THEN {}", kind.word(), i32::from(status_after(kind))));
    }
    out.push_sql(" END");
}

/// Writes the kinds of events that are consents of a customer to being contacted, as a list of texts.
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
    /// Whether the client set the time.
    pub(crate) has_occurred_at: bool,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) cost_micros: Option<i64>,
    /// The currency of the cost.
    pub(crate) currency: Option<String>,
    /// The channel on which it reached the customer; the campaign's if the client sets none.
    pub(crate) channel: Option<Text<ContactChannel>>,
    pub(crate) bounce_kind: Option<Text<BounceKind>>,
    pub(crate) detail: String,
    pub(crate) url: String,
}

/// A recorded event.
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

/// An event in a list.
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
    /// The currency of the campaign.
    pub(crate) currency: Option<String>,
}

/// The events that a list shows. All conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) kinds: Vec<Text<CampaignEventKind>>,
    pub(crate) occurred_from: Option<DateTime<Utc>>,
    pub(crate) occurred_until: Option<DateTime<Utc>>,
}

/// The end of a page: the time of its last event, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `event`.
    pub(crate) fn at(event: &Event) -> Self {
        Self(event.occurred_at, event.id)
    }
}

/// Returns the event with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Known>> {
    let event = dsl::campaign_events
        .find((tx.tenant(), id))
        .select(Known::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(event)
}

/// Returns the existing events with these ids of the client's.
pub(crate) async fn find_known(tx: &TenantTx, event_ids: &[&str]) -> Result<Vec<Known>> {
    let known = dsl::campaign_events
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::event_id.eq_any(event_ids))
        .select(Known::as_select())
        .load(&mut tx.connection())
        .await?;
    Ok(known)
}
