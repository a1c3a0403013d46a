//! The reads of a customer's whole engagement.

use futures_util::try_join;
use uuid::Uuid;

use super::interest::store::scores::{self, AsOf, Score};
use super::purchases::store::{self as purchases, Bought};
use crate::campaigns::assignments::store::{self as assignments, Reached};
use crate::db::TenantTx;
use crate::error::Result;

/// The interest, the purchases and the campaigns of a customer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Engagement {
    /// The highest score first, as of the latest event.
    pub(crate) interests: Vec<Score>,
    /// The newest first.
    pub(crate) purchases: Vec<Bought>,
    /// The newest first.
    pub(crate) campaigns: Vec<Reached>,
}

/// The limits on each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) interests: i64,
    pub(crate) purchases: i64,
    pub(crate) campaigns: i64,
}

/// Reads the engagement of a customer, which the caller knows to exist. The result does not depend on the
/// clock.
pub(crate) async fn read(tx: &TenantTx, customer_id: Uuid, limits: Limits) -> Result<Engagement> {
    let (interests, purchases, campaigns) = try_join!(
        scores::list(tx, customer_id, AsOf::LatestEvent, limits.interests),
        purchases::list_newest(tx, customer_id, limits.purchases),
        assignments::list_reached(tx, customer_id, limits.campaigns),
    )?;
    Ok(Engagement { interests, purchases, campaigns })
}
