//! `campaign_events`.

mod list;
mod record;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub(crate) use list::list;
pub(crate) use record::record;

use super::model::Known;
use super::rules::{KINDS, consent, status_after};
use crate::contract::Word;
use crate::db::TenantTx;
use crate::db::schema::campaign_events::dsl;
use crate::error::Result;

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
