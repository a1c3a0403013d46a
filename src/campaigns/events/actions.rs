//! What one transaction does to events.

use std::collections::HashSet;

use futures_util::future::{join3, try_join4};
use uuid::Uuid;

use super::rules::{Findings, Recorded};
use super::store::{self, Cursor, Event, Filter, NewEvent};
use crate::campaigns;
use crate::campaigns::store::Gate;
use crate::db::TenantTx;
use crate::db::keyset::Direction;
use crate::error::Result;
use crate::rpc::{Page, times};
use crate::{conversations, customers};

/// Records events, each by itself: in one flight, and another where some were not recorded.
///
/// # Errors
///
/// `CAMPAIGN_NOT_FOUND`, or what can happen to any transaction; what is wrong with an event is its own.
pub(crate) async fn record(
    tx: &TenantTx,
    campaign_id: Uuid,
    events: &[NewEvent],
) -> Result<Vec<Result<Recorded>>> {
    // Neither of what comes first is prepared, so neither is overtaken.
    let (passed, planned, recorded) = join3(
        campaigns::actions::pass(tx, campaign_id, Gate::Shared),
        tx.plan_by_key(),
        store::record(tx, campaign_id, events, times::now()),
    )
    .await;
    passed?;
    planned?;
    let recorded: HashSet<Uuid> = recorded?.into_iter().collect();
    let others: Vec<_> = events.iter().filter(|event| !recorded.contains(&event.id)).collect();
    let findings = if others.is_empty() && !events.is_empty() {
        Findings::default()
    } else {
        find_out(tx, campaign_id, &others).await?
    };
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(match recorded.contains(&event.id) {
            true => Ok(Recorded { id: event.id, deduplicated: false }),
            false => match findings.judge(event) {
                // It is of the transaction, which runs again.
                Err(error) if error.is_conflict() => return Err(error),
                outcome => outcome,
            },
        });
    }
    Ok(outcomes)
}

/// What there is of all that events which were not recorded name.
async fn find_out(tx: &TenantTx, campaign_id: Uuid, events: &[&NewEvent]) -> Result<Findings> {
    let event_ids: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
    let customer_ids: Vec<_> = events.iter().map(|event| event.customer_id).collect();
    let conversation_ids: Vec<_> = events.iter().filter_map(|event| event.conversation_id).collect();
    let (campaign, known, customers, conversations) = try_join4(
        campaigns::actions::get(tx, campaign_id),
        store::find_known(tx, campaign_id, &event_ids),
        customers::store::find_ids(tx, &customer_ids),
        conversations::store::list_customer_ids(tx, &conversation_ids),
    )
    .await?;
    Ok(Findings {
        currency: campaign.currency,
        events: known.into_iter().map(|known| (known.event_id.clone(), known)).collect(),
        customers: customers.into_iter().collect(),
        conversations: conversations.into_iter().collect(),
    })
}

/// One page of events, and where the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<(Vec<Event>, Option<Cursor>)> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let (events, more) = page.cut(store::list(tx, filter, direction, page).await?);
    let next = events.last().filter(|_| more).map(Cursor::at);
    Ok((events, next))
}
