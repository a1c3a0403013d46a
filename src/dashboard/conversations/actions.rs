//! The reads of the statistics of conversations, within one transaction.

use futures_util::try_join;

use super::store::analyses;
use super::store::models::{self, Usage};
use super::store::{self, Group, Scope};
use super::tally::{Saying, Tally};
use crate::dashboard::rules::Spread;
use crate::db::TenantTx;
use crate::error::Result;

/// The parameters of a request.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Params {
    pub(in crate::dashboard) scope: Scope,
}

/// The statistics of conversations.
#[derive(Debug)]
pub(in crate::dashboard) struct Statistics {
    pub(in crate::dashboard) groups: Vec<Group>,
    pub(in crate::dashboard) duration: Spread,
    /// The response times of all models.
    pub(in crate::dashboard) response_duration: Spread,
    pub(in crate::dashboard) usages: Vec<Usage>,
    pub(in crate::dashboard) sayings: Vec<Saying>,
}

/// Counts conversations.
pub(in crate::dashboard) async fn read(tx: &TenantTx, params: &Params) -> Result<Statistics> {
    let scope = &params.scope;
    tx.plan_for_sums().await?;
    let (groups, duration, (response_duration, usages), sayings) = try_join!(
        store::list_groups(tx, scope),
        store::spread_duration(tx, scope),
        models::list_usages(tx, scope),
        count_sayings(tx, scope),
    )?;
    Ok(Statistics { groups, duration, response_duration, usages, sayings })
}

async fn count_sayings(tx: &TenantTx, scope: &Scope) -> Result<Vec<Saying>> {
    let mut tally = Tally::default();
    analyses::for_each(tx, scope, |analysis| tally.add(analysis)).await?;
    Ok(tally.into_sayings())
}
