//! Events as plain values.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text as SqlText};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::schema::campaign_events;
use crate::db::words::Text;
use crate::pb::{BounceKind, CampaignEventKind, ContactChannel};

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
pub(crate) struct RecordedEvent {
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
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = campaign_events, check_for_backend(Pg))]
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
    #[diesel(sql_type = Nullable<SqlText>)]
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
pub(crate) struct Cursor(pub(crate) DateTime<Utc>, pub(crate) Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `event`.
    pub(crate) fn at(event: &Event) -> Self {
        Self(event.occurred_at, event.id)
    }
}
