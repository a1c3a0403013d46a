//! Statements that read the audit log.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::audit::store::Event;
use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::Direction;
use crate::db::listing::{among, listing};
use crate::db::schema::audit_events::dsl;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::AuditOutcome;
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// The events that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    /// The time from which events count, and the smallest id of such an event.
    pub(crate) from: Option<(DateTime<Utc>, Uuid)>,
    /// The time before which events count, and an id above the id of any such event.
    pub(crate) until: Option<(DateTime<Utc>, Uuid)>,
    pub(crate) principal: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) resource_id: Option<Uuid>,
    pub(crate) outcomes: Vec<Text<AuditOutcome>>,
}

/// Returns the event with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Event>> {
    let query = dsl::audit_events.find((tx.tenant(), id)).select(Event::as_select());
    Ok(query.first(&mut tx.connection()).await.optional()?)
}

/// Returns one page of the events that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Uuid>,
) -> Result<Rows<Event>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let mut query = listing(
        dsl::audit_events
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Event::as_select())
            .limit(page.limit()),
    );
    if let Some((time, id)) = filter.from {
        query = query.filter(dsl::created_at.ge(time)).filter(dsl::id.ge(id));
    }
    if let Some((time, id)) = filter.until {
        query = query.filter(dsl::created_at.lt(time)).filter(dsl::id.lt(id));
    }
    if let Some(principal) = &filter.principal {
        query = query.filter(dsl::principal.eq(principal));
    }
    if let Some(method) = &filter.method {
        query = query.filter(dsl::method.eq(method));
    }
    if let Some(resource_id) = filter.resource_id {
        query = query.filter(dsl::resource_id.eq(resource_id));
    }
    query = among!(query, dsl::outcome, filter.outcomes);
    let query = match (direction, page.after) {
        (Direction::Ascending, None) => query.order(dsl::id.asc()),
        (Direction::Ascending, Some(last)) => query.filter(dsl::id.gt(last)).order(dsl::id.asc()),
        (Direction::Descending, None) => query.order(dsl::id.desc()),
        (Direction::Descending, Some(last)) => query.filter(dsl::id.lt(last)).order(dsl::id.desc()),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}
