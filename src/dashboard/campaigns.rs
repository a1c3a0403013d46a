//! `GetCampaignStatistics`: the counts of `campaigns`, in a window of the dashboard.

use chrono::{DateTime, Utc};

use super::rules::Window;
use super::wire::{window, window_of};
use crate::campaigns::performance::{actions, wire};
use crate::db::TenantTx;
use crate::error::Result;
use crate::pb::{self, CampaignAttribution};

/// The parameters of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Params {
    window: Window,
    attribution: CampaignAttribution,
}

/// Returns the parameters of a request.
pub(super) fn params(request: &pb::GetCampaignStatisticsRequest, now: DateTime<Utc>) -> Result<Params> {
    let pb::GetCampaignStatisticsRequest { time_from, time_until, attribution } = request;
    Ok(Params {
        window: window(time_from.as_ref(), time_until.as_ref(), now)?,
        attribution: wire::attribution(*attribution),
    })
}

/// Counts the results of campaigns.
pub(super) async fn read(tx: &TenantTx, params: &Params) -> Result<pb::GetCampaignStatisticsResponse> {
    let Params { window, attribution } = *params;
    let times = (window.from, window.until);
    let statistics = actions::read_all(tx, times, attribution).await?;
    Ok(wire::statistics(window_of(window, ""), times, statistics))
}
