//! What is known of a customer's engagement in all.

use futures_util::try_join;
use uuid::Uuid;

use super::interest::store::scores::{self, AsOf, Score};
use super::purchases::store::{self as purchases, Bought};
use crate::campaigns::assignments::store::{self as assignments, Reached};
use crate::db::TenantTx;
use crate::error::Result;

/// What a customer showed interest in, bought, and was sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Engagement {
    /// The most first, as of the latest event.
    pub(crate) interests: Vec<Score>,
    /// The newest first.
    pub(crate) purchases: Vec<Bought>,
    /// The newest first.
    pub(crate) campaigns: Vec<Reached>,
}

/// How much of each is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) interests: i64,
    pub(crate) purchases: i64,
    pub(crate) campaigns: i64,
}

/// What is known of a customer, which the caller knows to be there. Nothing of it depends on the clock.
pub(crate) async fn read(tx: &TenantTx, customer_id: Uuid, limits: Limits) -> Result<Engagement> {
    let (interests, purchases, campaigns) = try_join!(
        scores::list(tx, customer_id, AsOf::LatestEvent, limits.interests),
        purchases::list_newest(tx, customer_id, limits.purchases),
        assignments::list_reached(tx, customer_id, limits.campaigns),
    )?;
    Ok(Engagement { interests, purchases, campaigns })
}
