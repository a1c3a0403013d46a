//! The actions on events, each within one transaction.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::{join3, try_join4};
use uuid::Uuid;

use super::model::{Cursor, Event, Filter, NewEvent};
use super::rules::{self, Findings, Recorded};
use super::store;
use crate::campaigns;
use crate::campaigns::store::Gate;
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::Result;
use crate::rpc::Page;
use crate::times;
use crate::{conversations, customers};

/// Records events, each by itself, in one flight. A second flight follows if some were not recorded.
/// `campaign_id` is the campaign of the events that name none, if there are any.
///
/// # Errors
///
/// `CAMPAIGN_NOT_FOUND` for that campaign, or any error of a transaction. The error of a single event is in its
/// result.
pub(crate) async fn record(
    tx: &TenantTx,
    campaign_id: Option<Uuid>,
    events: &[NewEvent],
) -> Result<Vec<Result<Recorded>>> {
    let now = times::now();
    let campaign_ids: BTreeSet<Uuid> = events.iter().map(|event| event.campaign_id).collect();
    // The statements before `record` are not prepared, so it does not overtake them.
    let (passed, planned, recorded) = join3(
        campaigns::actions::pass_each(tx, &campaign_ids, Gate::Shared),
        tx.plan_by_key(),
        store::record(tx, events, now),
    )
    .await;
    passed?;
    planned?;
    let recorded: HashMap<_, _> =
        recorded?.into_iter().map(|store::Recorded { id, channel }| (id, channel)).collect();
    let others: Vec<_> = events.iter().filter(|event| !recorded.contains_key(&event.id)).collect();
    let findings = if others.is_empty() && !events.is_empty() {
        Findings::default()
    } else {
        find_out(tx, campaign_id, &others).await?
    };
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(match recorded.get(&event.id) {
            Some(channel) => Ok(rules::recorded(event, *channel, now)),
            None => match findings.judge(event) {
                // The error belongs to the transaction, which runs again.
                Err(error) if error.is_conflict() => return Err(error),
                outcome => outcome,
            },
        });
    }
    Ok(outcomes)
}

/// Reads all that the events which were not recorded refer to.
async fn find_out(tx: &TenantTx, campaign_id: Option<Uuid>, events: &[&NewEvent]) -> Result<Findings> {
    let event_ids: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
    let customer_ids: Vec<_> = events.iter().map(|event| event.customer_id).collect();
    let conversation_ids: Vec<_> = events.iter().filter_map(|event| event.conversation_id).collect();
    let campaign_ids: BTreeSet<_> = events.iter().map(|event| event.campaign_id).chain(campaign_id).collect();
    let campaign_ids: Vec<_> = campaign_ids.into_iter().collect();
    let (campaigns, known, customers, conversations) = try_join4(
        campaigns::store::find_each(tx, &campaign_ids),
        store::find_known(tx, &event_ids),
        customers::store::find_ids(tx, &customer_ids),
        conversations::store::list_customer_ids(tx, &conversation_ids),
    )
    .await?;
    let campaigns: HashMap<_, _> =
        campaigns.into_iter().map(|campaign| (campaign.id, campaign.currency)).collect();
    if let Some(id) = campaign_id
        && !campaigns.contains_key(&id)
    {
        return Err(campaigns::rules::not_found(id));
    }
    Ok(Findings {
        campaigns,
        events: known.into_iter().map(|known| (known.event_id.clone(), known)).collect(),
        customers: customers.into_iter().collect(),
        conversations: conversations.into_iter().collect(),
    })
}

/// Returns the event with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Event> {
    let event = store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    let campaign = campaigns::actions::get(tx, event.campaign_id).await?;
    Ok(event.with(campaign.currency))
}

/// Returns one page of events, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Event>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    store::list(tx, filter, direction, page).await
}
