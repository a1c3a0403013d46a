//! Looks rows up by their ids, many in one flight.
//!
//! Most of the cost of a lookup is what surrounds it: opening a transaction, taking rights away, naming the
//! tenant, closing it. So lookups that come while others are on their way wait for those, and then go together,
//! in one flight. There is no timer: a lookup that comes alone goes at once.

use std::collections::HashMap;
use std::future::Future;
use std::iter;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::bus::Topic;
use super::drought::Drought;
use super::lanes::{Commit, Lanes, Width};
use crate::db::{Db, Deadline, Statements, TenantTx, Whose, one_flight};
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::metrics::Lane;
use crate::traces::Trace;

/// The limits of lookups that go together. More would wait longer for the last of them than they save. A second
/// flight starts when as many wait.
const WIDTH: Width = Width { writers: 2, batch: 64, tenants: 16 };

/// The limit of a flight. A caller waits until its own deadline.
const DEADLINE: Duration = Duration::from_secs(10);

/// How rows are found.
pub trait Find: Send + Sync + 'static {
    /// A row.
    type Row: Clone + Send + 'static;

    /// The name of the statement, among those that connections have prepared.
    const NAME: &'static str;

    /// Returns the existing rows with these ids, each with its id. They go in one flight, so no statement may
    /// wait for another one.
    fn find(tx: &TenantTx, ids: &[Uuid]) -> impl Future<Output = Result<Vec<(Uuid, Self::Row)>>> + Send;
}

/// Looks rows up.
pub struct Finder<F: Find> {
    lanes: Lanes<Lookups<F>>,
}

impl<F: Find> Finder<F> {
    /// Creates a finder whose lookups are tasks of `tracker`.
    pub fn new(db: Db, tracker: TaskTracker) -> Self {
        let handles = db.metrics().lanes.of(Lane::Lookups);
        let lookups = Lookups { db, drought: Drought::default(), rows: PhantomData };
        Self { lanes: Lanes::new(lookups, WIDTH, tracker, handles) }
    }

    /// Returns the caller's row with this id.
    ///
    /// # Errors
    ///
    /// Any error of a transaction.
    pub async fn find(&self, caller: &Caller, deadline: Deadline, id: Uuid) -> Result<Option<F::Row>> {
        let (reply, row) = oneshot::channel();
        self.lanes.submit([Lookup { caller: caller.clone(), id, asked: Instant::now(), reply }]);
        let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
        match tokio::time::timeout(remaining, row).await {
            Ok(Ok(row)) => row,
            Ok(Err(_)) => Err(Error::internal("a lookup was lost on its way to the database")),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }
}

struct Lookup<R> {
    caller: Caller,
    id: Uuid,
    asked: Instant,
    reply: oneshot::Sender<Result<Option<R>>>,
}

struct Lookups<F> {
    db: Db,
    drought: Drought,
    rows: PhantomData<fn() -> F>,
}

impl<F: Find> Commit for Lookups<F> {
    type Item = Lookup<F::Row>;

    const LANE: Lane = Lane::Lookups;

    /// Returns a topic of its own, because lookups need no order among each other.
    fn topic(&self, lookup: &Self::Item) -> Topic {
        Topic::of(&lookup.caller, Uuid::new_v4())
    }

    fn asked<'i>(&self, lookup: &'i Self::Item) -> (&'i Trace, Instant) {
        (lookup.caller.trace(), lookup.asked)
    }

    async fn together(&self, lookups: Vec<Self::Item>, trace: &Trace) -> Vec<Self::Item> {
        match self.flight(&lookups, Whose::Many, trace).await {
            Ok(rows) => {
                answer(lookups, &rows);
                Vec::new()
            }
            Err(error) if error.of_all().is_some() && !error.is_of_part() => {
                refuse(lookups, error);
                Vec::new()
            }
            Err(_) => lookups,
        }
    }

    async fn apart(&self, lookups: Vec<Self::Item>, trace: &Trace) {
        match self.flight(&lookups, Whose::One, trace).await {
            Ok(rows) => answer(lookups, &rows),
            Err(error) => refuse(lookups, error),
        }
    }

    fn refuse(&self, lookups: Vec<Self::Item>) {
        refuse(lookups, Error::overloaded());
    }
}

impl<F: Find> Lookups<F> {
    /// Looks rows up, in one flight with everything around it.
    async fn flight(
        &self,
        lookups: &[Lookup<F::Row>],
        whose: Whose,
        trace: &Trace,
    ) -> Result<HashMap<Topic, F::Row>> {
        let mut shares: Vec<(&Caller, Vec<Uuid>)> = Vec::new();
        let began = Instant::now();
        let mut first = began;
        for Lookup { caller, id, asked, .. } in lookups {
            first = first.min(*asked);
            match shares.iter_mut().find(|(other, _)| other.tenant() == caller.tenant()) {
                Some((_, ids)) => ids.push(*id),
                None => shares.push((caller, vec![*id])),
            }
        }
        let Some((caller, _)) = shares.first() else { return Ok(HashMap::new()) };
        let caller = &Caller::clone(caller).within(trace);
        let warm = async |tx: &TenantTx| F::find(tx, &[]).await.map(|_| ());
        let deadline = Deadline::after(DEADLINE);
        let waited = self.drought.endured(first);
        let statements = Statements { name: F::NAME, run: warm };
        let tx = self.db.batch_of_reads(caller, whose, waited, deadline, statements).await;
        // A tenant without a free connection says nothing about other tenants.
        if whose == Whose::Many {
            self.drought.note(tx.is_ok(), began);
        }
        let tx = tx?;
        for (_, ids) in &mut shares {
            ids.sort_unstable();
            ids.dedup();
        }
        let flight = shares
            .iter()
            .map(|(caller, ids)| tx.as_tenant(caller, async |tx: &TenantTx| F::find(tx, ids).await));
        let found = tx.read(one_flight(flight)).await?;
        let rows = shares
            .iter()
            .zip(found)
            .flat_map(|((caller, _), rows)| rows.into_iter().map(|(id, row)| (Topic::of(caller, id), row)));
        Ok(rows.collect())
    }
}

fn answer<R: Clone>(lookups: Vec<Lookup<R>>, rows: &HashMap<Topic, R>) {
    for Lookup { caller, id, reply, asked: _ } in lookups {
        let topic = Topic::of(&caller, id);
        // A caller past its deadline has dropped its receiver.
        let _ = reply.send(Ok(rows.get(&topic).cloned()));
    }
}

fn refuse<R>(lookups: Vec<Lookup<R>>, error: Error) {
    for (lookup, error) in lookups.into_iter().zip(iter::successors(Some(error), Error::of_all)) {
        let _ = lookup.reply.send(Err(error));
    }
}
