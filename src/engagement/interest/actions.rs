//! The actions on interest, each within one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::try_join;
use uuid::Uuid;

use super::rules::{self, Surroundings};
use super::store::append;
use super::store::scores::{self, AsOf, Score};
use super::store::{self, Cursor, Filter, InterestEvent};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::Page;
use crate::{campaigns, conversations, customers};

/// How often events are compared with the stored ones. After the first insert every event is stored, by this
/// call or by another. So the second comparison finds all of them.
const LOOKS: u32 = 2;

/// The result for a recorded event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) event: InterestEvent,
    /// Whether it was recorded before.
    pub(crate) deduplicated: bool,
}

/// Records the valid events. Returns a result for every event, valid or not. Recorded events set the outcomes
/// of their conversations.
pub(crate) async fn record(
    tx: &TenantTx,
    checked: Vec<Result<InterestEvent>>,
) -> Result<Vec<Result<Recorded>>> {
    let events: Vec<&InterestEvent> = checked.iter().flatten().collect();
    let mut recorded = add(tx, &events).await?.into_iter();
    let missing = || Err(Error::internal("an event without a result"));
    let results =
        checked.into_iter().map(|event| event.and_then(|_| recorded.next().unwrap_or_else(missing)));
    Ok(results.collect())
}

/// Inserts events, and returns the result of each.
async fn add(tx: &TenantTx, events: &[&InterestEvent]) -> Result<Vec<Result<Recorded>>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let event_ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
    let (mut known, around) = try_join!(append::list_known(tx, &event_ids), surroundings(tx, events))?;
    let mut added = HashSet::new();
    for _ in 0..LOOKS {
        let (results, new) = judge(events, known, &around);
        let count = new.len();
        let inserted = if new.is_empty() { Vec::new() } else { append::insert(tx, new).await? };
        let all_inserted = inserted.len() == count;
        added.extend(inserted);
        if all_inserted {
            conclude(tx, events, &added).await?;
            return Ok(results);
        }
        known = append::list_known(tx, &event_ids).await?;
    }
    Err(Error::Aborted {
        reason: ErrorReason::Conflict,
        message: "another call records the same events at once; retry",
    })
}

/// Returns the existing rows that the events refer to.
async fn surroundings(tx: &TenantTx, events: &[&InterestEvent]) -> Result<Surroundings> {
    let distinct = |of: fn(&InterestEvent) -> Option<Uuid>| -> Vec<Uuid> {
        events.iter().filter_map(|event| of(event)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let customer_ids = distinct(|event| Some(event.customer_id));
    let conversation_ids = distinct(|event| event.conversation_id);
    let campaign_ids = distinct(|event| event.campaign_id);
    let (customers, conversations, campaigns) = try_join!(
        customers::store::find_ids(tx, &customer_ids),
        conversations::store::list_customer_ids(tx, &conversation_ids),
        campaigns::store::hold_each(tx, &campaign_ids),
    )?;
    Ok(Surroundings {
        customers: customers.into_iter().collect(),
        conversations: conversations.into_iter().collect(),
        campaigns: campaigns.into_iter().collect(),
    })
}

/// Returns the results of events in their order, and which of them are new.
fn judge(
    events: &[&InterestEvent],
    known: Vec<InterestEvent>,
    around: &Surroundings,
) -> (Vec<Result<Recorded>>, Vec<InterestEvent>) {
    let mut known: HashMap<String, InterestEvent> =
        known.into_iter().map(|event| (event.event_id.clone(), event)).collect();
    let mut new = Vec::new();
    let results = events.iter().map(|event| {
        if let Some(known) = known.get(&event.event_id) {
            rules::check_same(known, event)?;
            return Ok(Recorded { event: known.clone(), deduplicated: known.id != event.id });
        }
        rules::check_references(event, around)?;
        known.insert(event.event_id.clone(), (*event).clone());
        new.push((*event).clone());
        Ok(Recorded { event: (*event).clone(), deduplicated: false })
    });
    (results.collect(), new)
}

/// Sets the outcomes of the conversations of recorded events. If a conversation gets several outcomes, the last one counts.
async fn conclude(tx: &TenantTx, events: &[&InterestEvent], added: &HashSet<Uuid>) -> Result<()> {
    let added = events.iter().filter(|event| added.contains(&event.id));
    let outcomes: BTreeMap<_, _> =
        added.filter_map(|event| Some((event.conversation_id?, event.outcome?))).collect();
    conversations::actions::conclude(tx, &outcomes).await
}

/// Returns the event with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<InterestEvent> {
    store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))
}

/// Returns one page of events, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<InterestEvent>> {
    // A generic plan ignores the values of the filter, so it cannot tell rare words from common ones.
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    store::list(tx, filter, direction, page).await
}

/// Returns the interests of a customer at a time, the highest score first.
pub(crate) async fn score(tx: &TenantTx, customer_id: Uuid, as_of: AsOf, limit: i64) -> Result<Vec<Score>> {
    let (_, scores) =
        try_join!(customers::actions::read(tx, customer_id), scores::list(tx, customer_id, as_of, limit))?;
    Ok(scores)
}
