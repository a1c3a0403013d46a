//! Admission: a call is admitted while there is room, both overall and for its tenant. Otherwise it is refused before
//! any of it is read.
//!
//! A unary call has its place until its answer was taken and its task has ended; a stream has it until its end. The
//! messages of a stream are not counted here: its session limits them, and the queue of writes is fair to tenants.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::{Error, Limit, Result};
use crate::identity::TenantId;
use crate::metrics::{CallKind, Limit as Refused, Metrics};
use crate::pb::ErrorReason;
use crate::settings::CallLimits;

/// When to retry after a refusal. Places become free within milliseconds, but a longer wait keeps retries from being
/// the load.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How many calls pass between two cleanups of tenants with a full allowance. Scanning all of them then costs each
/// call next to nothing, and at most this many are kept beside the active tenants.
const FORGET_EVERY: u32 = 4_096;

/// The two kinds that are counted separately: unary calls are many, and streams last long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call with one answer.
    Unary,
    /// A call that stays open.
    Stream,
}

/// See the module.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    limits: CallLimits,
    rate: Option<Rate>,
    taken: Mutex<Taken>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: Counts,
    /// The counts of tenants that have a call or a stream.
    by_tenant: HashMap<TenantId, Counts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    unary: u32,
    streams: u32,
}

impl Counts {
    fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Unary => &mut self.unary,
            Kind::Stream => &mut self.streams,
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Admission").field(&self.0.limits).finish()
    }
}

impl Admission {
    /// Creates the limits of these settings.
    pub fn new(limits: CallLimits, metrics: Metrics) -> Self {
        let rate = NonZeroU32::new(limits.tenant_rate)
            .map(|rate| Rate::new(rate, limits.tenant_burst.and_then(NonZeroU32::new).unwrap_or(rate)));
        Self(Arc::new(Shared { limits, rate, taken: Mutex::default(), metrics }))
    }

    /// The numbers of calls and streams that have a place.
    pub fn count(&self) -> [(CallKind, u32); 2] {
        let Counts { unary, streams } = self.taken().in_all;
        [(CallKind::Unary, unary), (CallKind::Stream, streams)]
    }

    /// Takes a place among all calls, for a call about which nothing is known yet.
    ///
    /// # Errors
    ///
    /// `OVERLOADED`.
    pub(super) fn enter(&self, kind: Kind) -> Result<Place> {
        let limit = match kind {
            Kind::Unary => Limit { name: "max_calls", value: self.0.limits.max_calls },
            Kind::Stream => Limit { name: "max_streams", value: self.0.limits.max_streams },
        };
        let mut taken = self.taken();
        let count = taken.in_all.of(kind);
        if *count >= limit.value {
            let refused = if kind == Kind::Unary { Refused::MaxCalls } else { Refused::MaxStreams };
            self.0.metrics.refusals[refused].inc();
            return Err(Error::ResourceExhausted {
                reason: ErrorReason::Overloaded,
                message: format!(
                    "the server has {} {}, which is its limit; retry after the time in RetryInfo",
                    limit.value,
                    kind.plural()
                ),
                subject: "server".to_owned(),
                limit,
                retry_after: RETRY_AFTER,
            });
        }
        *count += 1;
        Ok(Place { admission: self.clone(), kind, tenant: None })
    }

    /// The counts are consistent at any moment, so a panic elsewhere does not make them wrong.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Unary => "calls in flight",
            Self::Stream => "streams open",
        }
    }
}

/// The place of one call, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Admission,
    kind: Kind,
    tenant: Option<TenantId>,
}

impl Place {
    /// Counts the place for the tenant too.
    ///
    /// # Errors
    ///
    /// `TENANT_QUOTA_EXCEEDED`, `TENANT_RATE_EXCEEDED`.
    pub(super) fn assign(&mut self, tenant: TenantId) -> Result<()> {
        self.take(tenant)?;
        // A call that is refused for lack of a place does not count against the rate.
        match &self.admission.0.rate {
            Some(rate) => rate.take(tenant).inspect_err(|_| {
                self.admission.0.metrics.refusals[Refused::TenantRate].inc();
            }),
            None => Ok(()),
        }
    }

    fn take(&mut self, tenant: TenantId) -> Result<()> {
        let limits = &self.admission.0.limits;
        let limit = match self.kind {
            Kind::Unary => Limit { name: "max_calls_per_tenant", value: limits.max_calls_per_tenant },
            Kind::Stream => Limit { name: "max_streams_per_tenant", value: limits.max_streams_per_tenant },
        };
        let mut taken = self.admission.taken();
        let count = taken.by_tenant.entry(tenant).or_default().of(self.kind);
        if *count >= limit.value {
            let refused = match self.kind {
                Kind::Unary => Refused::MaxCallsPerTenant,
                Kind::Stream => Refused::MaxStreamsPerTenant,
            };
            self.admission.0.metrics.refusals[refused].inc();
            return Err(Error::ResourceExhausted {
                reason: ErrorReason::TenantQuotaExceeded,
                message: format!(
                    "the tenant has {} {}, which is its limit; retry when some have ended",
                    limit.value,
                    self.kind.plural()
                ),
                subject: format!("tenant/{tenant}"),
                limit,
                retry_after: RETRY_AFTER,
            });
        }
        *count += 1;
        drop(taken);
        self.tenant = Some(tenant);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.admission.taken();
        *taken.in_all.of(self.kind) -= 1;
        let Some(tenant) = self.tenant else { return };
        if let Entry::Occupied(mut counts) = taken.by_tenant.entry(tenant) {
            *counts.get_mut().of(self.kind) -= 1;
            if *counts.get() == Counts::default() {
                counts.remove();
            }
        }
    }
}

/// The rate limit of each tenant's calls.
struct Rate {
    buckets: DefaultKeyedRateLimiter<TenantId>,
    rate: NonZeroU32,
    calls: AtomicU32,
}

impl Rate {
    fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { buckets: RateLimiter::keyed(quota), rate, calls: AtomicU32::new(0) }
    }

    fn take(&self, tenant: TenantId) -> Result<()> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if calls.is_multiple_of(FORGET_EVERY) {
            self.buckets.retain_recent();
        }
        self.buckets.check_key(&tenant).map_err(|early| Error::ResourceExhausted {
            reason: ErrorReason::TenantRateExceeded,
            message: format!(
                "the tenant makes more than {} calls a second, which is its limit; retry after the time in RetryInfo",
                self.rate
            ),
            subject: format!("tenant/{tenant}"),
            limit: Limit { name: "tenant_rate", value: self.rate.get() },
            retry_after: early.wait_time_from(DefaultClock::default().now()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Cli, Command};

    fn admission(arguments: &[&str]) -> Admission {
        let cli = Cli::parse_from(["crm-backend"].iter().chain(arguments));
        match cli.into_command() {
            Command::Serve(config) => Admission::new(config.limits.calls, Metrics::default()),
            Command::Migrate(_) | Command::Recount(_) | Command::Keys(_) | Command::Mcp(_) => {
                unreachable!("no test asks for it")
            }
        }
    }

    fn tenant(number: u8) -> TenantId {
        TenantId::parse(&format!("01939a3c-7d4e-7000-8000-0000000000{number:02}")).expect("a tenant")
    }

    fn admit(admission: &Admission, kind: Kind, tenant: TenantId) -> Result<Place, (ErrorReason, String)> {
        let admitted = admission.enter(kind).and_then(|mut place| place.assign(tenant).map(|()| place));
        admitted.map_err(|error| match error {
            Error::ResourceExhausted { reason, limit, .. } => (reason, limit.name.to_owned()),
            other => panic!("another error: {other:?}"),
        })
    }

    /// Returns an error of this module, as a call gets it.
    pub(crate) fn refused(reason: ErrorReason) -> Error {
        let arguments: &[&str] = match reason {
            ErrorReason::Overloaded => &["--max-calls", "1"],
            ErrorReason::TenantQuotaExceeded => &["--max-calls", "9", "--max-calls-per-tenant", "1"],
            ErrorReason::TenantRateExceeded => &["--tenant-rate", "1", "--tenant-burst", "1"],
            other => panic!("{other:?} is no reason of this room"),
        };
        let admission = admission(arguments);
        let enter =
            || admission.enter(Kind::Unary).and_then(|mut place| place.assign(tenant(1)).map(|()| place));
        let _place = enter().expect("room for one");
        enter().expect_err("no room for two")
    }

    #[test]
    fn a_tenant_at_its_limit_leaves_room_for_others() {
        let admission = admission(&["--max-calls", "3", "--max-calls-per-tenant", "2"]);
        let places = [(); 2].map(|()| admit(&admission, Kind::Unary, tenant(1)).expect("room"));
        let refused = admit(&admission, Kind::Unary, tenant(1)).err();
        assert_eq!(refused, Some((ErrorReason::TenantQuotaExceeded, "max_calls_per_tenant".to_owned())));
        let other = admit(&admission, Kind::Unary, tenant(2)).expect("room");
        let refused = admit(&admission, Kind::Unary, tenant(3)).err();
        assert_eq!(refused, Some((ErrorReason::Overloaded, "max_calls".to_owned())));
        let stream = admit(&admission, Kind::Stream, tenant(1)).expect("streams are counted apart");
        drop((places, other, stream));
        let taken = admission.taken();
        assert_eq!(taken.in_all, Counts::default());
        assert!(taken.by_tenant.is_empty(), "idle tenants are forgotten");
    }

    #[test]
    fn what_was_refused_has_taken_nothing() {
        let admission = admission(&["--max-streams", "2", "--max-streams-per-tenant", "1"]);
        let place = admit(&admission, Kind::Stream, tenant(1)).expect("room");
        for _ in 0..5 {
            admit(&admission, Kind::Stream, tenant(1)).expect_err("no room");
        }
        let _other = admit(&admission, Kind::Stream, tenant(2)).expect("room");
        drop(place);
        admit(&admission, Kind::Stream, tenant(1)).expect("room again");
    }

    #[test]
    fn a_tenant_that_calls_too_often_is_told_when_to_come_back() {
        let admission = admission(&["--tenant-rate", "1", "--tenant-burst", "2"]);
        for _ in 0..2 {
            admit(&admission, Kind::Unary, tenant(1)).expect("within the burst");
        }
        let mut place = admission.enter(Kind::Unary).expect("room");
        let Err(Error::ResourceExhausted { reason, retry_after, .. }) = place.assign(tenant(1)) else {
            panic!("more than the burst");
        };
        assert_eq!(reason, ErrorReason::TenantRateExceeded);
        assert!(!retry_after.is_zero() && retry_after <= Duration::from_secs(1), "{retry_after:?}");
        admit(&admission, Kind::Unary, tenant(2)).expect("another tenant has calls of its own");
    }

    #[test]
    fn tenants_that_no_longer_call_are_forgotten() {
        let rate = Rate::new(NonZeroU32::MAX, NonZeroU32::MAX);
        for number in 0..u128::from(3 * FORGET_EVERY) {
            let id = uuid::Uuid::from_u128(number + 1).to_string();
            rate.take(TenantId::parse(&id).expect("a tenant")).expect("any number of calls");
        }
        let kept = rate.buckets.len();
        assert!(kept <= FORGET_EVERY as usize, "{kept} tenants");
    }
}
