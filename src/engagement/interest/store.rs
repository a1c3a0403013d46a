//! `interest_events`.

pub(crate) mod append;
pub(crate) mod scores;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::schema::interest_events::{self, dsl};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ConversationOutcome, InterestKind};
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// A row of `interest_events`.
#[derive(Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = interest_events, check_for_backend(Pg))]
pub(crate) struct InterestEvent {
    pub(crate) id: Uuid,
    pub(crate) event_id: String,
    pub(crate) customer_id: Uuid,
    pub(crate) kind: Text<InterestKind>,
    pub(crate) subject: String,
    pub(crate) subject_key: String,
    pub(crate) weight: f64,
    /// The currency of the value.
    pub(crate) value_currency: Option<String>,
    pub(crate) value_micros: Option<i64>,
    pub(crate) source: String,
    pub(crate) occurred_at: DateTime<Utc>,
    /// Whether the client set the time.
    pub(crate) has_occurred_at: bool,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) outcome: Option<Text<ConversationOutcome>>,
    pub(crate) created_at: DateTime<Utc>,
}

/// The events that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) campaign_id: Option<Uuid>,
    pub(crate) kinds: Vec<Text<InterestKind>>,
    pub(crate) subject_key: Option<String>,
    pub(crate) occurred_from: Option<DateTime<Utc>>,
    pub(crate) occurred_until: Option<DateTime<Utc>>,
}

/// The end of a page: the time of its last event, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `event`.
    pub(crate) fn at(event: &InterestEvent) -> Self {
        Self(event.occurred_at, event.id)
    }
}

/// Returns the event with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<InterestEvent>> {
    let event = dsl::interest_events
        .find((tx.tenant(), id))
        .select(InterestEvent::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(event)
}

/// Returns one page of the events that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<InterestEvent>> {
    let mut query = listing(
        dsl::interest_events
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(InterestEvent::as_select())
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    if let Some(conversation_id) = filter.conversation_id {
        query = query.filter(dsl::conversation_id.eq(conversation_id));
    }
    if let Some(campaign_id) = filter.campaign_id {
        query = query.filter(dsl::campaign_id.eq(campaign_id));
    }
    query = among!(query, dsl::kind, filter.kinds);
    if let Some(subject_key) = &filter.subject_key {
        query = query.filter(dsl::subject_key.eq(subject_key));
    }
    if let Some(from) = filter.occurred_from {
        query = query.filter(dsl::occurred_at.ge(from));
    }
    if let Some(until) = filter.occurred_until {
        query = query.filter(dsl::occurred_at.lt(until));
    }
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::occurred_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::occurred_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}
