//! The way to Postgres: a connection belongs to a transaction, and a transaction to a tenant.

pub mod citus;
mod commits;
pub mod connect;
pub mod each;
pub mod embedded;
pub mod fitted;
pub mod health;
pub mod json;
pub mod kept;
pub mod keyset;
pub mod listing;
pub mod literal;
pub mod migrate;
mod pool;
pub mod pooler;
#[expect(missing_docs, reason = "generated; the comments in the database are its documentation")]
pub mod schema;
pub mod service_keys;
pub mod shown;
pub mod standby;
mod tenant_tx;
pub mod texts;
pub mod turns;
pub mod walls;
mod wire;

use std::time::{Duration, Instant};

use deadpool::managed::{BuildError, Pool, PoolError, TimeoutType};
use diesel_async::SimpleAsyncConnection;
use tonic::Code;

use crate::auth::{Caller, TenantId};
use crate::error::{Error, Result};
use crate::metrics::{self, Limit as Refused, Looking, Metrics, ReadPlace, Use};
use crate::traces::Trace;
use commits::Commits;
use pool::{Connector, Lent};
use standby::{Freshness, Position, Standby};
use turns::{Full, Room, Turn, Turns};
use wire::Limit;

pub use connect::{ConnectError, Target};
pub use tenant_tx::{Access, BatchTx, Deadline, LastStatement, TenantTx, Work, one_flight, retried};
pub use wire::{Missed, NoAnswer, Pulse, Wire};

/// Limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Connections at most.
    pub connections: u16,
    /// How long a call waits for a free one.
    pub wait: Duration,
    /// How long a transaction may take, whatever time its caller has.
    pub transaction: Duration,
}

/// Connections that are kept free for batches, which are of many tenants and need one or two each: two
/// writers of messages and two of lookups, by default. They may take others as well.
const KEPT_FOR_BATCHES: usize = 4;

/// The share of a small pool that is kept for them at most: a quarter.
const KEPT_SHARE: usize = 4;

/// The share of the other connections that is kept for what reads, a quarter, which is none of a small pool: what
/// writes may wait for a lost standby, and would take them all before anybody knows.
const KEPT_FOR_READS: usize = 4;

/// Transactions of a tenant that may wait for a connection. Calls are bounded by a setting, and what a
/// tenant's streams do by numbers of their own; this is beyond all of them together.
const WAITING: usize = 1 << 20;

/// How long the answer of a write waits for its position: it is written already.
const POSITION_WAIT: Duration = Duration::from_secs(1);

/// A pool of connections that serve tenants, and nothing else.
///
/// It is fair: one tenant has half of the connections at most, and the next that is free goes to the waiting
/// tenant that has the fewest.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connector>,
    transaction_limit: Duration,
    /// Who may take one, of the transactions that are one tenant's.
    turns: Turns,
    /// Who may take one to write.
    writes: Turns,
    commits: Commits,
    /// How long a transaction waits for one.
    wait: Duration,
    /// Where that is counted.
    metrics: Metrics,
    /// Where reads go that may be a little old, if there is such a place.
    standby: Option<Standby>,
}

/// Whose work a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of many tenants, which wait for each other in a queue of their own. Connections are kept free for it.
    Many,
    /// Of the caller's tenant, like a call of it.
    One,
}

impl Db {
    /// A pool, in which no connection is open yet.
    ///
    /// # Errors
    ///
    /// When the pool cannot be built, which is a fault of its settings.
    pub fn new(target: &Target, limits: PoolLimits) -> Result<Self> {
        let PoolLimits { connections, wait, transaction: transaction_limit } = limits;
        let connections = usize::from(connections);
        let commits = Commits::default();
        let pool = Pool::builder(Connector { target: target.clone(), commits: commits.clone() })
            .max_size(connections)
            .wait_timeout(Some(wait))
            .create_timeout(Some(target.patience()))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error: BuildError| Error::internal(error))?;
        let kept = KEPT_FOR_BATCHES.min(connections / KEPT_SHARE);
        let places = connections - kept;
        let turns = Turns::new(Room::halved(places, WAITING));
        let writes = Turns::new(Room::halved(places - places / KEPT_FOR_READS, WAITING));
        let metrics = Metrics::default();
        Ok(Self { pool, transaction_limit, turns, writes, commits, wait, metrics, standby: None })
    }

    /// The same pool, counted there.
    #[must_use]
    pub fn counted_in(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The same pool, with a standby for reads that may be a little old.
    #[must_use]
    pub fn with_standby(self, standby: Standby) -> Self {
        Self { standby: Some(standby), ..self }
    }

    /// Where it is counted, as is all that is done with it.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Has connections counted before each scrape.
    pub fn look(&self) -> Looking {
        let (pool, standby) = (self.pool.clone(), self.standby.clone());
        self.metrics.before_each_scrape(move |families| {
            let deadpool::Status { max_size, size, available, .. } = pool.status();
            metrics::set(&families.pool.max, max_size);
            metrics::set(&families.pool.connections[Use::InUse], size.saturating_sub(available));
            metrics::set(&families.pool.connections[Use::Idle], available);
            families.standby.is_of(standby.as_ref().and_then(Standby::age));
        })
    }

    /// Runs `work` in one transaction of the caller's tenant that may change rows.
    ///
    /// `work` runs again, a few times, when Postgres gave it up for the sake of another
    /// transaction, so it must have no effect but on `tx`.
    ///
    /// # Errors
    ///
    /// What `work` returned, with the transaction rolled back; or what can happen to any
    /// transaction.
    pub async fn write<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadWrite, deadline, work, |_| None).await
    }

    /// The same, with a statement that is sent together with COMMIT, as what `work` returned needs it.
    /// It costs no round trip of its own.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn write_with_last<R, F>(
        &self,
        caller: &Caller,
        deadline: Deadline,
        work: F,
        last: impl Fn(&R) -> Option<LastStatement> + Send + Sync,
    ) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadWrite, deadline, work, last).await
    }

    /// Runs `work` in one transaction of the caller's tenant that only reads, at the standby if what it shows is fresh
    /// enough. What goes wrong there is read here.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn read<R, F>(
        &self,
        caller: &Caller,
        (access, freshness): (Access, Option<Freshness>),
        deadline: Deadline,
        work: F,
    ) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        let asked = freshness.zip(self.standby.as_ref());
        let count = |place| self.metrics.standby.reads[place].inc();
        if let Some(standby) = asked.and_then(|(freshness, standby)| standby.serving(freshness)) {
            let work = &work;
            let read = async |tx: &TenantTx| work(tx).await;
            match tenant_tx::run(standby, caller, access, deadline, read, |_| None).await {
                Err(error) if may_be_other_here(&error) => {
                    tracing::debug!(%error, "a read at the standby is done at the primary");
                }
                answer => {
                    count(ReadPlace::Standby);
                    return answer;
                }
            }
        }
        if asked.is_some() {
            count(ReadPlace::Primary);
        }
        tenant_tx::run(self, caller, access, deadline, work, |_| None).await
    }

    /// A position up to which all is written that was committed before, for those who read it at the standby; none where
    /// there is no standby, or the primary does not say.
    pub async fn position(&self) -> Option<Position> {
        let standby = self.standby.as_ref()?;
        tokio::time::timeout(POSITION_WAIT, standby.position()).await.ok()?
    }

    /// Runs `work` in one transaction of the caller's tenant that sees one moment: what others commit
    /// between its statements does not show.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn snapshot<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        self.read(caller, (Access::Snapshot, None), deadline, work).await
    }

    /// A transaction for one tenant or several, on a connection that knows the named `statements`. Where one
    /// does not yet, they are run there once, as the caller's, and taken back.
    ///
    /// What those it is for have `waited` before counts as if it had waited for a connection, so that they
    /// are refused within the limit.
    ///
    /// # Errors
    ///
    /// When there is no connection, or no time left; or what `statements` returned.
    pub async fn batch<F>(
        &self,
        caller: &Caller,
        (whose, waited): (Whose, Duration),
        deadline: Deadline,
        statements: (&'static str, F),
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, (Access::ReadWrite, whose, waited), deadline, statements).await
    }

    /// The same for a transaction that only reads.
    ///
    /// # Errors
    ///
    /// As [`Db::batch`].
    pub async fn batch_of_reads<F>(
        &self,
        caller: &Caller,
        (whose, waited): (Whose, Duration),
        deadline: Deadline,
        statements: (&'static str, F),
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, (Access::ReadOnly, whose, waited), deadline, statements).await
    }

    /// Whether a connection that nobody uses answers within `patience`; `None` where there is none.
    pub(super) async fn probe(&self, patience: Duration) -> Option<bool> {
        let mut timeouts = self.pool.timeouts();
        timeouts.wait = Some(Duration::ZERO);
        timeouts.create = Some(patience);
        let connection = self.pool.timeout_get(&timeouts).await.ok()?;
        let wire = connection.wire();
        let answer = wire
            .answer(Limit::of_probe(patience), async { wire.connection().batch_execute("SELECT 1").await });
        Some(matches!(answer.await, Ok(Ok(()))))
    }

    /// Whether calls wait for a connection at this moment, and all are in use.
    pub fn is_exhausted(&self) -> bool {
        self.pool.status().available == 0 && self.metrics.pool.waiting.get() > 0
    }

    /// What is known of COMMITs.
    fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Closes all connections as they become free, and refuses new ones.
    pub fn close(&self) {
        self.pool.close();
        if let Some(standby) = &self.standby {
            standby.db().pool.close();
        }
    }

    /// A connection for a tenant's work, or for that of many, which has `waited` already.
    async fn connection(
        &self,
        tenant: Option<TenantId>,
        access: Access,
        waited: Duration,
        trace: &Trace,
    ) -> Result<Lent> {
        if access == Access::ReadWrite {
            self.commits.check().inspect_err(|_| {
                self.metrics.refusals[Refused::LateCommit].inc();
            })?;
        }
        let _waiting = (self.metrics.pool.wait(), trace.wait("wait for a connection"));
        let none_free = |cause| {
            self.metrics.refusals[Refused::DatabaseWait].inc();
            none_free(cause)
        };
        let began = Instant::now();
        let wait = self.wait.saturating_sub(waited);
        let turns = match tenant {
            Some(tenant) => {
                let turns = tokio::time::timeout(wait, self.take_turns(tenant, access)).await;
                let turns = turns.map_err(|_| none_free("no turn in time"))?;
                Some(turns.map_err(|_| none_free("too many wait for a turn"))?)
            }
            None => None,
        };
        let mut timeouts = self.pool.timeouts();
        timeouts.wait = Some(wait.saturating_sub(began.elapsed()));
        let object = self.pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => none_free("no free connection in time"),
            error => Error::database_unavailable(error),
        })?;
        Ok(Lent::new(object, turns))
    }

    async fn take_turns(&self, tenant: TenantId, access: Access) -> Result<(Option<Turn>, Turn), Full> {
        let write = match access {
            Access::ReadWrite => Some(self.writes.take(tenant.as_uuid()).await?),
            Access::ReadOnly | Access::Snapshot => None,
        };
        Ok((write, self.turns.take(tenant.as_uuid()).await?))
    }
}

impl Whose {
    /// The tenant whose work it is alone.
    fn tenant(self, caller: &Caller) -> Option<TenantId> {
        match self {
            Self::Many => None,
            Self::One => Some(caller.tenant()),
        }
    }
}

/// Whether what went wrong at the standby may be in order at the primary: it is away or full, cancels what is in the way
/// of its replay, or has not replayed a migration yet.
fn may_be_other_here(error: &Error) -> bool {
    matches!(error.code(), Code::Unavailable | Code::Aborted | Code::Internal | Code::DeadlineExceeded)
}

/// No connection became free in time.
pub(crate) fn none_free(cause: &'static str) -> Error {
    Error::Unavailable {
        reason: crate::pb::ErrorReason::DatabaseBusy,
        message: "all connections to the database are in use; retry with the same request_id or message_key",
        cause: Some(cause.into()),
    }
}
