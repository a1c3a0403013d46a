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
use crate::db::listing::{among, listing};
use crate::db::schema::campaigns::{self, dsl};
use crate::db::schema::{campaign_events, interest_events, purchases};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{CampaignStatus, ContactChannel};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;

/// A row of `campaigns`.
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
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// The campaigns that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) statuses: Vec<Text<CampaignStatus>>,
    pub(crate) channels: Vec<Text<ContactChannel>>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
}

/// The end of a page: the time at which its last campaign was created, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `campaign`.
    pub(crate) fn at(campaign: &Campaign) -> Self {
        Self(campaign.created_at, campaign.id)
    }
}

/// How a transaction passes the gate of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Together with all others that only record events.
    Shared,
    /// Alone.
    Alone,
}

/// Passes the gates with these keys, one after the other, and holds them until the transaction ends. A
/// transaction that waits to pass a gate alone is not overtaken by later ones. A wait for a row would be, as
/// long as others share the row in turn.
///
/// The statements are not prepared, so a statement that is sent later runs later.
pub(crate) async fn pass(tx: &TenantTx, keys: &[i64], gate: Gate) -> Result<()> {
    let lock = match gate {
        Gate::Shared => "pg_advisory_xact_lock_shared",
        Gate::Alone => "pg_advisory_xact_lock",
    };
    let locks: Vec<_> = keys.iter().map(|key| format!("SELECT {lock}({key})")).collect();
    Ok(tx.connection().batch_execute(&locks.join("; ")).await?)
}

/// Inserts a campaign.
pub(crate) async fn insert(tx: &TenantTx, campaign: &Campaign) -> Result<()> {
    diesel::insert_into(dsl::campaigns)
        .values((dsl::tenant_id.eq(tx.tenant()), campaign))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the campaign with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Campaign>> {
    let campaign = dsl::campaigns
        .find((tx.tenant(), id))
        .select(Campaign::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(campaign)
}

/// Returns the campaigns with these ids, in no order.
pub(crate) async fn find_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Campaign>> {
    let campaign = dsl::campaigns
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Campaign::as_select());
    Ok(each::each(ids, campaign).load(&mut tx.connection()).await?)
}

/// Returns the campaign with this id, and locks it until the transaction ends.
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

/// Does the same, and prevents new references to it until then.
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

/// Returns which of these campaigns exist, and keeps them until the transaction ends.
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

/// Updates a campaign.
pub(crate) async fn update(tx: &TenantTx, campaign: &Campaign) -> Result<()> {
    diesel::update(dsl::campaigns.find((tx.tenant(), campaign.id)))
        .set(campaign)
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Deletes a campaign that no row refers to.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid) -> Result<()> {
    diesel::delete(dsl::campaigns.find((tx.tenant(), id))).execute(&mut tx.connection()).await?;
    Ok(())
}

/// Returns whether a campaign has events, or whether anything is attributed to it.
pub(crate) async fn is_in_use(tx: &TenantTx, id: Uuid) -> Result<bool> {
    use {campaign_events as e, interest_events as i, purchases as p};
    let events = e::table.filter(e::tenant_id.eq(tx.tenant())).filter(e::campaign_id.eq(id));
    let interest = i::table.filter(i::tenant_id.eq(tx.tenant())).filter(i::campaign_id.eq(id));
    let purchases = p::table.filter(p::tenant_id.eq(tx.tenant())).filter(p::campaign_id.eq(id));
    let in_use = diesel::select(exists(events).or(exists(interest)).or(exists(purchases)));
    Ok(in_use.get_result(&mut tx.connection()).await?)
}

/// Returns whether events of a campaign have a cost.
pub(crate) async fn has_costs(tx: &TenantTx, id: Uuid) -> Result<bool> {
    use campaign_events as e;
    let costs = e::table
        .filter(e::tenant_id.eq(tx.tenant()))
        .filter(e::campaign_id.eq(id))
        .filter(e::cost_micros.is_not_null());
    Ok(diesel::select(exists(costs)).get_result(&mut tx.connection()).await?)
}

/// Returns the number of campaigns of each status that any campaign has.
pub(crate) async fn count_by_status(tx: &TenantTx) -> Result<Vec<(Text<CampaignStatus>, i64)>> {
    let counts = dsl::campaigns
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .group_by(dsl::status)
        .select((dsl::status, count_star()))
        .load(&mut tx.connection())
        .await?;
    Ok(counts)
}

/// Returns one page of the campaigns that match `filter`, and one row more if there is one.
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
    query = among!(query, dsl::status, filter.statuses);
    query = among!(query, dsl::channel, filter.channels);
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
