//! Places for costly calls.
//!
//! Calls of one cost share a fixed number of places, which tenants take in turns. So statements that sum a tenant's
//! rows never keep all cores of Postgres or all connections of the pool busy. Cheap calls and appends go on beside
//! them.

use std::thread::available_parallelism;
use std::time::Duration;

use crate::db::Deadline;
use crate::db::turns::{Room, Turn, Turns};
use crate::error::{Error, Limit, Result};
use crate::identity::TenantId;
use crate::metrics::{Limit as Refused, Metrics};
use crate::pb::{AccessCost, ErrorReason};
use crate::settings::CallLimits;

/// The number of cores per place of cost HIGH: half of them are left for all other calls.
const CORES_PER_PLACE: usize = 2;

/// The number of places of cost MEDIUM, and of calls that may wait for them, per place of cost HIGH. Such a call
/// takes some milliseconds, partly for the way to Postgres and for the disk.
const MEDIUM_PER_HIGH: usize = 4;

/// When to retry after a refusal: by then several calls of the tenant have been answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub struct Costs {
    medium: Turns,
    high: Turns,
    /// The setting: how many calls of cost HIGH may wait per tenant.
    waiting: u32,
    metrics: Metrics,
}

impl Costs {
    /// Creates the places that these limits allow.
    pub fn new(limits: &CallLimits, metrics: Metrics) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let high = limits.max_costly_calls.map_or(cores / CORES_PER_PLACE, |calls| calls as usize).max(1);
        Self::of(high, limits.max_waiting_calls_per_tenant, metrics)
    }

    fn of(high: usize, waiting: u32, metrics: Metrics) -> Self {
        let turns = |factor: usize| {
            let [places, waiting] = [high, waiting as usize].map(|count| count.saturating_mul(factor));
            Turns::new(Room::halved(places, waiting))
        };
        Self { medium: turns(MEDIUM_PER_HIGH), high: turns(1), waiting, metrics }
    }

    /// Waits for a place, which the call has until this is dropped. A cheap call needs none.
    ///
    /// # Errors
    ///
    /// `TENANT_QUOTA_EXCEEDED`, at once, if the maximum number of the tenant's calls wait; `DEADLINE_EXCEEDED`.
    pub(super) async fn place(
        &self,
        cost: AccessCost,
        tenant: TenantId,
        deadline: Deadline,
    ) -> Result<Option<Turn>> {
        let (turns, factor) = match cost {
            AccessCost::Unspecified | AccessCost::Low => return Ok(None),
            AccessCost::Medium => (&self.medium, MEDIUM_PER_HIGH),
            AccessCost::High => (&self.high, 1),
        };
        let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
        let turn = tokio::time::timeout(remaining, turns.take(tenant.as_uuid())).await;
        let turn = turn.map_err(|_| Error::DeadlineExceeded)?;
        turn.map(Some).map_err(|_| self.refusal(tenant, factor))
    }

    fn refusal(&self, tenant: TenantId, factor: usize) -> Error {
        self.metrics.refusals[Refused::MaxWaitingCallsPerTenant].inc();
        let waiting = (self.waiting as usize).saturating_mul(factor);
        Error::ResourceExhausted {
            reason: ErrorReason::TenantQuotaExceeded,
            message: format!(
                "{waiting} calls of the tenant that are much work wait for their turn, which is its limit; retry \
                 when some have ended"
            ),
            subject: format!("tenant/{tenant}"),
            limit: Limit { name: "max_waiting_calls_per_tenant", value: self.waiting },
            retry_after: RETRY_AFTER,
        }
    }
}

/// For tests and fuzzing, which have no settings.
#[cfg(any(test, fuzzing))]
impl Default for Costs {
    fn default() -> Self {
        Self::of(1, 1, Metrics::default())
    }
}
