//! `campaign_events`.

mod list;
mod record;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

pub(crate) use list::list;
pub(crate) use record::{Recorded, record};

use super::model::RecordedEvent;
use crate::db::TenantTx;
use crate::db::schema::campaign_events::dsl;
use crate::error::Result;

/// How far the event `e` brings a customer, as the number of a status, which is how an assignment stores it.
pub(crate) const PROGRESS: &str = "
    CASE e.kind
        WHEN 'SENT' THEN 20
        WHEN 'BOUNCED' THEN 30
        WHEN 'DELIVERED' THEN 40
        WHEN 'OPENED' THEN 50
        WHEN 'CLICKED' THEN 60
        WHEN 'REPLIED' THEN 70
        WHEN 'CONVERTED' THEN 80
        WHEN 'OPTED_OUT' THEN 10
        WHEN 'OPTED_IN' THEN 10
        WHEN 'SPAM_REPORTED' THEN 10
        WHEN 'DEFERRED' THEN 20
        WHEN 'DROPPED' THEN 30
    END";

/// The kinds of events that are consents of a customer to being contacted.
const CONSENTS: &str = "'OPTED_OUT', 'OPTED_IN', 'SPAM_REPORTED'";

/// Returns the event with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<RecordedEvent>> {
    let event = dsl::campaign_events
        .find((tx.tenant(), id))
        .select(RecordedEvent::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(event)
}

/// Returns the existing events with these ids of the client's.
pub(crate) async fn find_known(tx: &TenantTx, event_ids: &[&str]) -> Result<Vec<RecordedEvent>> {
    let known = dsl::campaign_events
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::event_id.eq_any(event_ids))
        .select(RecordedEvent::as_select())
        .load(&mut tx.connection())
        .await?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::events::rules::{KINDS, consent, status_after};
    use crate::contract::Word;

    #[test]
    fn the_statements_know_every_kind() {
        let whens =
            KINDS.map(|kind| format!("WHEN '{}' THEN {}", kind.word(), i32::from(status_after(kind))));
        let words: Vec<_> = PROGRESS.split_whitespace().collect();
        assert_eq!(words.join(" "), format!("CASE e.kind {} END", whens.join(" ")));
        let consents = KINDS.into_iter().filter(|kind| consent(*kind).is_some());
        let consents: Vec<_> = consents.map(|kind| format!("'{}'", kind.word())).collect();
        assert_eq!(CONSENTS, consents.join(", "));
    }
}
