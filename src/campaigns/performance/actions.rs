//! The reads of the performance of campaigns, within one transaction. It must see one moment.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::future::try_join3;
use uuid::Uuid;

use super::rules::{self, Tally};
use super::store::{self, Group, Scope};
use crate::campaigns::store::Campaign;
use crate::campaigns::{self, assignments};
use crate::db::TenantTx;
use crate::db::words::Text;
use crate::error::Result;
use crate::numbers;
use crate::pb::{CampaignAttribution, CampaignStatus};
use crate::rpc::zones::{Span, Zone};

/// The limit of days that are shown, as in the contract: nearly three years.
const MAX_DAYS: usize = 1_000;

/// The limit of days of UTC that are read to find them. A day of another zone may have a part of two, and the
/// first may not be whole.
const MAX_DATES: usize = 2 * MAX_DAYS + 2;

/// The limit of campaigns that statistics show, as in the contract: more than a person compares.
const MAX_CAMPAIGNS: usize = 100;

/// The parameters of a request for the performance of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Params {
    pub(crate) campaign_id: Uuid,
    pub(crate) from: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) zone: Zone,
    pub(crate) attribution: CampaignAttribution,
}

/// The performance of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Performance {
    pub(crate) campaign: Campaign,
    /// The number of customers that are assigned.
    pub(crate) assigned: i64,
    pub(crate) total: Tally,
    /// The days with events or purchases, in order.
    pub(crate) days: Vec<(Span, Tally)>,
}

/// The performance of all campaigns in a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statistics {
    /// The number of campaigns of each status, in the order of the statuses.
    pub(crate) statuses: Vec<(Text<CampaignStatus>, i64)>,
    pub(crate) total: Tally,
    /// The campaigns with events or purchases, the one with the most events first.
    pub(crate) campaigns: Vec<(Campaign, Tally)>,
}

/// Returns the performance of a campaign, as a total and by day.
pub(crate) async fn read(tx: &TenantTx, params: &Params) -> Result<Performance> {
    let Params { campaign_id, from, until, zone, attribution } = params;
    let mut scope = Scope {
        campaign_id: Some(*campaign_id),
        from: *from,
        until: *until,
        attribution: *attribution,
        days: Vec::new(),
    };
    let campaign = campaigns::actions::get(tx, *campaign_id).await?;
    tx.plan_for_sums().await?;
    let limit = numbers::count(MAX_DATES);
    let dates = store::list_dates(tx, &scope, limit).await?;
    let days = rules::days(*zone, &dates, dates.len() >= MAX_DATES);
    scope.days = days.iter().map(|day| day.from).collect();
    let mut tallies = count(tx, &scope).await?;
    let assigned = assignments::store::count(tx, *campaign_id).await?;
    let mut days: Vec<_> = days
        .into_iter()
        .zip(1..)
        .filter_map(|(day, place)| Some((day, tallies.remove(&Group::Day(place))?)))
        .collect();
    days.drain(..days.len().saturating_sub(MAX_DAYS));
    Ok(Performance { campaign, assigned, total: tallies.remove(&Group::Total).unwrap_or_default(), days })
}

/// Returns the performance of all campaigns in a window.
pub(crate) async fn read_all(
    tx: &TenantTx,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    attribution: CampaignAttribution,
) -> Result<Statistics> {
    tx.plan_for_sums().await?;
    let scope =
        Scope { campaign_id: None, from: Some(from), until: Some(until), attribution, days: Vec::new() };
    let mut tallies = count(tx, &scope).await?;
    let total = tallies.remove(&Group::Total).unwrap_or_default();
    let mut ranked: Vec<(Uuid, Tally)> = tallies
        .into_iter()
        .filter_map(|(group, tally)| match group {
            Group::Campaign(id) => Some((id, tally)),
            Group::Total | Group::Day(_) => None,
        })
        .collect();
    ranked.sort_by_key(|(id, tally)| (std::cmp::Reverse(tally.event_count()), *id));
    ranked.truncate(MAX_CAMPAIGNS);
    let ids: Vec<Uuid> = ranked.iter().map(|(id, _)| *id).collect();
    let found = campaigns::store::find_each(tx, &ids).await?;
    let mut found: HashMap<Uuid, Campaign> =
        found.into_iter().map(|campaign| (campaign.id, campaign)).collect();
    let campaigns = ranked.into_iter().filter_map(|(id, tally)| Some((found.remove(&id)?, tally))).collect();
    let mut statuses = campaigns::store::count_by_status(tx).await?;
    // Statuses of a newer version have no name here, and no list.
    statuses.retain(|(Text(status), _)| *status != CampaignStatus::Unspecified);
    statuses.sort_by_key(|(Text(status), _)| i32::from(*status));
    Ok(Statistics { statuses, total, campaigns })
}

/// Counts a scope, by group.
async fn count(tx: &TenantTx, scope: &Scope) -> Result<HashMap<Group, Tally>> {
    let (happened, reached, bought) = try_join3(
        store::list_happened(tx, scope),
        store::list_reached(tx, scope),
        store::list_bought(tx, scope),
    )
    .await?;
    Ok(rules::tallies(&happened, reached, bought))
}
