//! The actions on campaigns, each within one transaction.
//!
//! A campaign has a gate. A transaction that changes the campaign or its customers passes the gate alone.
//! Transactions that record events pass it together. So an event and an assignment never miss each other. The
//! gate comes before every row, so that no two transactions wait for each other.

use std::collections::BTreeSet;

use futures_util::future::join;
use uuid::Uuid;

use super::assignments::store as assignments;
use super::rules;
use super::store::{self, Campaign, Cursor, Filter, Gate};
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::Result;
use crate::rpc::Page;
use crate::rpc::etag::{self, Etag};
use crate::times;

/// Creates a campaign.
pub(crate) async fn create(tx: &TenantTx, campaign: Campaign) -> Result<Campaign> {
    store::insert(tx, &campaign).await?;
    Ok(campaign)
}

/// Returns the campaign with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Campaign> {
    store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))
}

/// Returns one page of campaigns, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Campaign>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    store::list(tx, filter, direction, page).await
}

/// Applies `change` to a campaign. If the result is the same, nothing is written, and the etag stays.
pub(crate) async fn update(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    change: impl Fn(&Campaign) -> Result<Campaign> + Send + Sync,
) -> Result<Campaign> {
    let current = lock(tx, id).await?;
    etag::check(expected, current.etag())?;
    let wanted = change(&current)?;
    if wanted == current {
        return Ok(current);
    }
    rules::check_update(&current, &wanted)?;
    if wanted.currency != current.currency && store::has_costs(tx, id).await? {
        return Err(rules::costs_have_currency(&current));
    }
    let campaign = Campaign { updated_at: times::now(), revision: current.revision + 1, ..wanted };
    store::update(tx, &campaign).await?;
    Ok(campaign)
}

/// Deletes a campaign without events, and to which nothing is attributed. Returns its last state.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Campaign> {
    let (passed, campaign) = join(pass(tx, id, Gate::Alone), store::lock_to_delete(tx, id)).await;
    passed?;
    let campaign = campaign?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, campaign.etag())?;
    if store::is_in_use(tx, id).await? {
        return Err(rules::in_use(id));
    }
    assignments::delete_of(tx, id).await?;
    store::delete(tx, id).await?;
    Ok(campaign)
}

/// Passes the gate of a campaign alone, and returns the campaign.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Campaign> {
    let (passed, campaign) = join(pass(tx, id, Gate::Alone), store::lock(tx, id)).await;
    passed?;
    campaign?.ok_or_else(|| rules::not_found(id))
}

/// Passes the gate of a campaign, whether the campaign exists or not.
pub(crate) async fn pass(tx: &TenantTx, id: Uuid, gate: Gate) -> Result<()> {
    store::pass(tx, &[rules::gate_key(tx.tenant(), id)], gate).await
}

/// Passes the gates of several campaigns, in the order of their keys, so that no two transactions wait for each
/// other.
pub(crate) async fn pass_each(tx: &TenantTx, ids: &BTreeSet<Uuid>, gate: Gate) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<i64> = ids.iter().map(|id| rules::gate_key(tx.tenant(), *id)).collect();
    store::pass(tx, &keys.into_iter().collect::<Vec<_>>(), gate).await
}
