//! `campaigns`.

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, exists};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::each;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::listing;
use crate::db::schema::campaigns::{self, dsl};
use crate::db::schema::{campaign_events, interest_events, purchases};
use crate::error::Result;
use crate::pb::{CampaignStatus, ContactChannel};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;
use crate::rpc::words::Text;

/// A campaign as it is stored.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = campaigns, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Campaign {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) goal: String,
    pub(crate) channel: Option<Text<ContactChannel>>,
    pub(crate) audience: String,
    pub(crate) status: Text<CampaignStatus>,
    pub(crate) starts_at: Option<DateTime<Utc>>,
    pub(crate) ends_at: Option<DateTime<Utc>>,
    pub(crate) currency: Option<String>,
    pub(crate) budget_micros: Option<i64>,
    pub(crate) spent_micros: Option<i64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

impl Campaign {
    /// What stands for its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// Which campaigns a list shows. All that is set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) statuses: Vec<Text<CampaignStatus>>,
    pub(crate) channels: Vec<Text<ContactChannel>>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
}

/// Where a page ends: when its last campaign was created, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Where a page ends when `campaign` is its last.
    pub(crate) fn at(campaign: &Campaign) -> Self {
        Self(campaign.created_at, campaign.id)
    }
}

/// With whom the gate of a campaign is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// With all others that only record what happened.
    Shared,
    /// With nobody.
    Alone,
}

/// Passes the gates with these keys, one after the other, and stays within until the transaction ends. A caller
/// that waits for a gate alone is not overtaken by later ones, as one that waits for a row would be for as long
/// as others share it in turn.
///
/// Nothing of it is prepared, so a statement that is sent after it runs after it.
pub(crate) async fn pass(tx: &TenantTx, keys: &[i64], gate: Gate) -> Result<()> {
    let lock = match gate {
        Gate::Shared => "pg_advisory_xact_lock_shared",
        Gate::Alone => "pg_advisory_xact_lock",
    };
    let locks: Vec<_> = keys.iter().map(|key| format!("SELECT {lock}({key})")).collect();
    Ok(tx.connection().batch_execute(&locks.join("; ")).await?)
}

/// Adds a campaign.
pub(crate) async fn insert(tx: &TenantTx, campaign: &Campaign) -> Result<()> {
    diesel::insert_into(dsl::campaigns)
        .values((dsl::tenant_id.eq(tx.tenant()), campaign))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// The campaign with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Campaign>> {
    let campaign = dsl::campaigns
        .find((tx.tenant(), id))
        .select(Campaign::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(campaign)
}

/// The campaigns with these ids, in no order.
pub(crate) async fn find_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Campaign>> {
    let campaign = dsl::campaigns
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Campaign::as_select());
    Ok(each::each(ids, campaign).load(&mut tx.connection()).await?)
}

/// The campaign with this id, held until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Campaign>> {
    let campaign = dsl::campaigns
        .find((tx.tenant(), id))
        .select(Campaign::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(campaign)
}

/// The same, and until then nothing new may refer to it.
pub(crate) async fn lock_to_delete(tx: &TenantTx, id: Uuid) -> Result<Option<Campaign>> {
    let campaign = dsl::campaigns
        .find((tx.tenant(), id))
        .select(Campaign::as_select())
        .for_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(campaign)
}

/// Which of these campaigns are there. They stay until the transaction ends.
pub(crate) async fn hold_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let held = dsl::campaigns
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(dsl::id)
        .for_key_share();
    Ok(each::each(ids, held).load(&mut tx.connection()).await?)
}

/// Writes a campaign anew.
pub(crate) async fn update(tx: &TenantTx, campaign: &Campaign) -> Result<()> {
    diesel::update(dsl::campaigns.find((tx.tenant(), campaign.id)))
        .set(campaign)
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Deletes a campaign, to which nothing refers any more.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid) -> Result<()> {
    diesel::delete(dsl::campaigns.find((tx.tenant(), id))).execute(&mut tx.connection()).await?;
    Ok(())
}

/// Whether a campaign has events, or something is attributed to it.
pub(crate) async fn is_in_use(tx: &TenantTx, id: Uuid) -> Result<bool> {
    use {campaign_events as e, interest_events as i, purchases as p};
    let events = e::table.filter(e::tenant_id.eq(tx.tenant())).filter(e::campaign_id.eq(id));
    let interest = i::table.filter(i::tenant_id.eq(tx.tenant())).filter(i::campaign_id.eq(id));
    let purchases = p::table.filter(p::tenant_id.eq(tx.tenant())).filter(p::campaign_id.eq(id));
    let in_use = diesel::select(exists(events).or(exists(interest)).or(exists(purchases)));
    Ok(in_use.get_result(&mut tx.connection()).await?)
}

/// Whether events of a campaign have a cost.
pub(crate) async fn has_costs(tx: &TenantTx, id: Uuid) -> Result<bool> {
    use campaign_events as e;
    let costs = e::table
        .filter(e::tenant_id.eq(tx.tenant()))
        .filter(e::campaign_id.eq(id))
        .filter(e::cost_micros.is_not_null());
    Ok(diesel::select(exists(costs)).get_result(&mut tx.connection()).await?)
}

/// How many campaigns there are of each status, as far as there are any.
pub(crate) async fn count_by_status(tx: &TenantTx) -> Result<Vec<(Text<CampaignStatus>, i64)>> {
    let counts = dsl::campaigns
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .group_by(dsl::status)
        .select((dsl::status, count_star()))
        .load(&mut tx.connection())
        .await?;
    Ok(counts)
}

/// One page of the campaigns that `filter` lets through, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Campaign>> {
    let mut query = listing(
        dsl::campaigns
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Campaign::as_select())
            .limit(page.limit()),
    );
    // One word is asked for with `=`, which an index that goes on with the list's order can answer.
    if let [status] = filter.statuses.as_slice() {
        query = query.filter(dsl::status.eq(status));
    } else if !filter.statuses.is_empty() {
        query = query.filter(dsl::status.eq_any(&filter.statuses));
    }
    if let [channel] = filter.channels.as_slice() {
        query = query.filter(dsl::channel.eq(channel));
    } else if !filter.channels.is_empty() {
        query = query.filter(dsl::channel.eq_any(&filter.channels));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(dsl::created_at.ge(from));
    }
    if let Some(until) = filter.created_until {
        query = query.filter(dsl::created_at.lt(until));
    }
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::created_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::created_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}
