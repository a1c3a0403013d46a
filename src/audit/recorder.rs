//! Stores events of failed calls, after the fact.
//!
//! A failed call does not wait for its event, and nothing fails because of it. Events wait in memory, limited
//! in total and for each tenant, and a task stores them at intervals. Events that find no room are counted, and
//! the service's log says how many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store::{self, Event};
use crate::db::{Db, Deadline, TenantTx};
use crate::error::Result;
use crate::identity::{Caller, TenantId};
use crate::metrics::Metrics;

/// The limit of waiting events: some two megabytes, and more than come in between two rounds unless a client
/// floods the service.
const WAITING: usize = 4_096;

/// The limit of waiting events of one tenant. A client that floods one tenant's log leaves the others room, and
/// adds at most a thousand rows a second.
const WAITING_OF_TENANT: usize = 256;

/// The limit of waiting tenants of one principal. Each is a transaction. So a principal that may name any
/// tenant, existing or not, leaves the others room.
const TENANTS_OF_PRINCIPAL: usize = 256;

/// The time between two rounds: people read events later.
const PAUSE: Duration = Duration::from_millis(250);

/// The limit of storing the events of a tenant.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two reports of dropped events, so that a flood does not fill a disk.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The limit of warnings of strangers between two reports.
const WARNINGS: u64 = 8;

/// Stores events of failed calls.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Waiting>>);

/// The events that wait.
#[derive(Debug, Default)]
struct Waiting {
    of_tenants: BTreeMap<Uuid, Vec<Event>>,
    /// The tenants whose events wait, by the principal of the calls.
    named: HashMap<String, HashSet<Uuid>>,
    count: usize,
    /// The number of events that found no room.
    dropped: u64,
    /// The number of calls of strangers since the last report.
    strangers: u64,
}

impl Waiting {
    /// Adds an event, if there is room.
    fn push(&mut self, tenant: Uuid, event: Event) -> bool {
        // An event that finds no room changes nothing else.
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
    /// Adds the event of a tenant. Returns whether there was room for it.
    pub(crate) fn record(&self, tenant: TenantId, event: Event) -> bool {
        self.with(|waiting| waiting.push(tenant.as_uuid(), event))
    }

    /// Warns in the service's log of a caller without a right to the tenant that tried to change something.
    /// Such a caller must not write to the log of that tenant.
    pub(crate) fn warn_of_stranger(&self, method: &str, reason: &str) {
        let count = self.with(|waiting| {
            waiting.strangers += 1;
            waiting.strangers
        });
        if count <= WARNINGS {
            tracing::warn!(method, reason, "refused a caller without a right to the tenant");
        }
    }

    /// Stores the waiting events until `stop`, and then the rest.
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

    /// Stores the waiting events, tenant by tenant. Events wait again, if there is room, when the database is
    /// away. If the error ends the connection, all later tenants wait too: each would take as long.
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

    /// Returns the number of waiting events.
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
        // The closure does not panic half way, so a poisoned state is complete.
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
    use crate::audit::rules::{self, Operation, Subject};
    use crate::pb::ResourceType;

    /// Returns an event whose principal is different for each number.
    fn event_of(principal: u128) -> Event {
        Event { principal: format!("agent:{principal}"), ..event() }
    }

    fn event() -> Event {
        let operation = Operation { method: "S/M", resource_type: ResourceType::Customer, call_id: None };
        let caller = Caller::caretaker(Uuid::from_u128(1));
        rules::failed(
            caller.principal(),
            operation,
            Subject::default(),
            Code::NotFound,
            "CUSTOMER_NOT_FOUND".to_owned(),
            DateTime::<Utc>::UNIX_EPOCH,
        )
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
