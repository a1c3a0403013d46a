//! Events of what failed, stored after the fact.
//!
//! Who fails does not wait for it, and nothing fails because of it: events are put aside, bounded in all
//! and for each tenant, and a task stores what there is, again and again. What there is no room for is
//! counted, and said in the service's log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store::{self, Event};
use crate::auth::{Caller, TenantId};
use crate::db::{Db, Deadline, TenantTx};
use crate::error::Result;
use crate::metrics::Metrics;

/// Events that are put aside at most: some two megabytes, and more than come in between two rounds
/// unless somebody floods the service.
const WAITING: usize = 4_096;

/// Of one tenant: whoever floods one tenant's log leaves the others room, and gets a thousand rows a
/// second at most.
const WAITING_OF_TENANT: usize = 256;

/// Tenants of one principal that wait at most, each of which is a transaction: who may name any tenant, whether anybody
/// knows of it or not, leaves the others room.
const TENANTS_OF_PRINCIPAL: usize = 256;

/// The time between two rounds: events are read by people, later.
const PAUSE: Duration = Duration::from_millis(250);

/// How long it may take to store the events of a tenant.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two reports of what was left out: a flood fills no disk.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Warnings of strangers between two reports at most.
const WARNINGS: u64 = 8;

/// Stores events of what failed.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Waiting>>);

/// What was put aside.
#[derive(Debug, Default)]
struct Waiting {
    of_tenants: BTreeMap<Uuid, Vec<Event>>,
    /// The tenants of which something waits, by who called.
    named: HashMap<String, HashSet<Uuid>>,
    count: usize,
    /// How many found no room.
    dropped: u64,
    /// How many calls of strangers there were since the last report.
    strangers: u64,
}

impl Waiting {
    /// Puts an event aside, if there is room.
    fn push(&mut self, tenant: Uuid, event: Event) -> bool {
        // What finds no room leaves nothing behind.
        let waiting = self.of_tenants.get(&tenant).map_or(0, Vec::len);
        let named = self.named.get(&event.principal);
        let is_named = named.is_some_and(|tenants| tenants.contains(&tenant));
        let room = self.count < WAITING
            && waiting < WAITING_OF_TENANT
            && (is_named || named.map_or(0, HashSet::len) < TENANTS_OF_PRINCIPAL);
        if !room {
            self.dropped += 1;
            return false;
        }
        if !is_named {
            self.named.entry(event.principal.clone()).or_default().insert(tenant);
        }
        self.of_tenants.entry(tenant).or_default().push(event);
        self.count += 1;
        true
    }
}

impl Recorder {
    /// Puts the event of a tenant aside, and says whether there was room for it.
    pub(crate) fn record(&self, tenant: TenantId, event: Event) -> bool {
        self.with(|waiting| waiting.push(tenant.as_uuid(), event))
    }

    /// Says in the service's log that somebody without a right to the tenant would have changed something.
    /// The log of that tenant is not for them to write.
    pub(crate) fn warn_of_stranger(&self, method: &str, reason: &str) {
        let count = self.with(|waiting| {
            waiting.strangers += 1;
            waiting.strangers
        });
        if count <= WARNINGS {
            tracing::warn!(method, reason, "refused a caller without a right to the tenant");
        }
    }

    /// Stores what was put aside, until `stop`, and then what is left.
    pub(crate) async fn run(self, db: Db, stop: CancellationToken) {
        let mut stopped = false;
        let mut reported: Option<Instant> = None;
        while !stopped {
            tokio::select! {
                () = stop.cancelled() => stopped = true,
                () = tokio::time::sleep(PAUSE) => {}
            }
            self.store(&db).await;
            if stopped || reported.is_none_or(|reported| reported.elapsed() >= REPORT_EVERY) {
                self.report(db.metrics());
                reported = Some(Instant::now());
            }
        }
    }

    /// Stores what there is, tenant by tenant. What could not be stored because the database is away is put
    /// aside again, as far as there is room, and with it what comes after: each would wait as long.
    async fn store(&self, db: &Db) {
        let of_tenants = self.with(|waiting| {
            waiting.count = 0;
            waiting.named.clear();
            std::mem::take(&mut waiting.of_tenants)
        });
        let mut of_tenants = of_tenants.into_iter();
        while let Some((tenant, events)) = of_tenants.next() {
            let Err(error) = insert(db, tenant, &events).await else { continue };
            if error.of_all().is_none() {
                db.metrics().audit.lost.inc_by(events.len() as u64);
                tracing::error!(%error, events = events.len(), %tenant, "audit events were lost");
                continue;
            }
            tracing::debug!(%error, events = events.len(), "audit events are stored later");
            self.put_back(tenant, events);
            if error.ends_connection() {
                of_tenants.by_ref().for_each(|(tenant, events)| self.put_back(tenant, events));
            }
        }
    }

    fn put_back(&self, tenant: Uuid, events: Vec<Event>) {
        self.with(|waiting| {
            for event in events {
                waiting.push(tenant, event);
            }
        });
    }

    /// How many events wait.
    pub(crate) fn waiting(&self) -> usize {
        self.with(|waiting| waiting.count)
    }

    fn report(&self, metrics: &Metrics) {
        let (dropped, strangers) = self
            .with(|waiting| (std::mem::take(&mut waiting.dropped), std::mem::take(&mut waiting.strangers)));
        if let Some(more) = strangers.checked_sub(WARNINGS).filter(|more| *more > 0) {
            tracing::warn!(more, "refused more callers without a right to a tenant");
        }
        metrics.audit.lost.inc_by(dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "audit events of calls that failed were left out: too many at once");
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        // Nothing in here panics half way, so a poisoned state is whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn insert(db: &Db, tenant: Uuid, events: &[Event]) -> Result<()> {
    let caller = Caller::caretaker(tenant);
    db.write(&caller, Deadline::after(PATIENCE), async |tx: &TenantTx| store::insert(tx, events).await).await
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use tonic::Code;

    use super::*;
    use crate::audit::rules::{self, Asked, Operation};
    use crate::pb::ResourceType;

    /// An event of another principal each time that this is another number.
    fn event_of(principal: u128) -> Event {
        Event { principal: format!("agent:{principal}"), ..event() }
    }

    fn event() -> Event {
        let operation = Operation { method: "S/M", resource_type: ResourceType::Customer, call_id: None };
        let caller = Caller::caretaker(Uuid::from_u128(1));
        let answer = (Code::NotFound, "CUSTOMER_NOT_FOUND".to_owned());
        rules::failed((caller.principal(), operation), Asked::default(), answer, DateTime::<Utc>::UNIX_EPOCH)
    }

    #[test]
    fn a_tenant_that_floods_leaves_the_others_room() {
        let mut waiting = Waiting::default();
        let (flood, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let taken = (0..10_000).filter(|_| waiting.push(flood, event())).count();
        assert_eq!(taken, WAITING_OF_TENANT);
        assert!(waiting.push(other, event()));
        assert_eq!(waiting.dropped, 10_000 - WAITING_OF_TENANT as u64);
    }

    #[test]
    fn all_tenants_together_are_bounded() {
        let mut waiting = Waiting::default();
        let tenants = 0..10_000;
        let taken =
            tenants.filter(|tenant| waiting.push(Uuid::from_u128(*tenant), event_of(*tenant))).count();
        assert_eq!((taken, waiting.count), (WAITING, WAITING));
        assert_eq!(waiting.dropped, 10_000 - WAITING as u64);
        assert_eq!(
            (waiting.of_tenants.len(), waiting.named.len()),
            (WAITING, WAITING),
            "the others left nothing"
        );
    }

    #[test]
    fn who_may_name_any_tenant_leaves_the_others_room() {
        let mut waiting = Waiting::default();
        let taken = (0..10_000).filter(|tenant| waiting.push(Uuid::from_u128(*tenant), event_of(1))).count();
        assert_eq!((taken, waiting.of_tenants.len()), (TENANTS_OF_PRINCIPAL, TENANTS_OF_PRINCIPAL));
        assert!(waiting.push(Uuid::from_u128(3), event_of(1)), "of a tenant that waits anyway");
        assert!(waiting.push(Uuid::from_u128(20_000), event_of(2)), "of another principal");
    }
}
