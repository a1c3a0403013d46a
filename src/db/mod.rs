//! Access to Postgres: each connection belongs to one transaction, and each transaction to one tenant.

pub mod citus;
mod commits;
pub mod connect;
pub mod each;
pub mod fitted;
pub mod health;
pub mod json;
pub mod kept;
pub mod keyset;
pub mod listing;
pub mod literal;
pub mod migrate;
pub mod order;
pub mod own;
mod pool;
pub mod pooler;
#[expect(missing_docs, reason = "generated; the comments in the database are its documentation")]
pub mod schema;
pub mod service_keys;
pub mod shown;
pub mod standby;
pub(crate) mod statement;
mod tenant_tx;
pub mod texts;
pub mod turns;
pub mod walls;
mod wire;
pub mod words;

use std::time::{Duration, Instant};

use deadpool::managed::{BuildError, Pool, PoolError, QueueMode, TimeoutType};
use diesel_async::SimpleAsyncConnection;
use tonic::Code;

use crate::error::{Error, Result};
use crate::identity::{Caller, TenantId};
use crate::metrics::{self, Limit as Refused, Looking, Metrics, ReadPlace, Use};
use crate::traces::Trace;
use commits::Commits;
use pool::{Connector, Lent};
use standby::{Freshness, Position, Standby};
use tenant_tx::Need;
use turns::{Full, Room, Turn, Turns};
use wire::Limit;

pub use connect::{ConnectError, Target};
pub use tenant_tx::{
    Access, BatchTx, Deadline, LastStatement, Statements, TenantTx, Work, one_flight, retried,
};
pub use wire::{Missed, NoAnswer, Pulse, Wire};

/// The limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// The maximum number of connections.
    pub connections: u16,
    /// How long a call waits for a free connection.
    pub wait: Duration,
    /// The time limit of a transaction, even if its caller has more time.
    pub transaction: Duration,
}

/// Connections that are kept free for batches. A batch is work of many tenants and needs one or two of them: by
/// default two for writers of messages and two for lookups. Batches may take other connections as well.
const KEPT_FOR_BATCHES: usize = 4;

/// The largest share of a small pool that is kept for batches: a quarter.
const KEPT_SHARE: usize = 4;

/// The share of the other connections that is kept for reads: a quarter, which rounds to none in a small pool. Writes
/// may wait for a lost standby, and would take all connections before the loss is detected.
const KEPT_FOR_READS: usize = 4;

/// How many transactions of a tenant may wait for a connection. Calls are bounded by a setting, and the work of a
/// tenant's streams by limits of its own. This number is larger than all of them together.
const WAITING: usize = 1 << 20;

/// How long the answer to a write waits for its position. The write itself is already committed.
const POSITION_WAIT: Duration = Duration::from_secs(1);

/// A pool of connections that serve only tenants' calls.
///
/// It is fair: one tenant has at most half of the connections. The next free connection goes to the waiting tenant
/// that has the fewest.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connector>,
    transaction_limit: Duration,
    /// The turns of transactions that belong to one tenant.
    turns: Turns,
    /// The turns of such transactions that write.
    writes: Turns,
    commits: Commits,
    /// How long a transaction waits for a connection.
    wait: Duration,
    /// Where waits, refusals and reads are counted.
    metrics: Metrics,
    /// The standby for reads that may be slightly old, if there is one.
    standby: Option<Standby>,
}

/// Whose work a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Work of many tenants, which wait in a queue of their own. Connections are kept free for it.
    Many,
    /// Work of the caller's tenant, as for a single call.
    One,
}

impl Db {
    /// Creates a pool, in which no connection is open yet. It lends the connection that was used last: its process of
    /// Postgres has plans that are new enough. In turns, every idle connection would have to plan each second.
    ///
    /// # Errors
    ///
    /// If the pool cannot be built, which means that its settings are wrong.
    pub fn new(target: &Target, limits: PoolLimits) -> Result<Self> {
        let PoolLimits { connections, wait, transaction: transaction_limit } = limits;
        let connections = usize::from(connections);
        let commits = Commits::default();
        let pool = Pool::builder(Connector { target: target.clone(), commits: commits.clone() })
            .max_size(connections)
            .wait_timeout(Some(wait))
            .create_timeout(Some(target.patience()))
            .queue_mode(QueueMode::Lifo)
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

    /// Returns the same pool, counted in these metrics.
    #[must_use]
    pub fn counted_in(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Returns the same pool, with a standby for reads that may be slightly old.
    #[must_use]
    pub fn with_standby(self, standby: Standby) -> Self {
        Self { standby: Some(standby), ..self }
    }

    /// Where the pool, and all work done through it, is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts the connections before each scrape.
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
    /// `work` runs again, a few times, if Postgres aborted it in favour of another transaction. So it must have no
    /// effect except on `tx`.
    ///
    /// # Errors
    ///
    /// What `work` returned, with the transaction rolled back; or any error that a transaction may have.
    pub async fn write<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadWrite, deadline, work, |_| None).await
    }

    /// As [`Db::write`], with a last statement, made from the result of `work`, that is sent together with COMMIT. It
    /// costs no round trip of its own.
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

    /// Runs `work` in one read-only transaction of the caller's tenant. It runs at the standby if the standby is
    /// fresh enough. A read that fails there for a reason of the standby's own runs again at the primary.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn read<R, F>(
        &self,
        caller: &Caller,
        access: Access,
        freshness: Option<Freshness>,
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

    /// Returns a position of the primary's log that covers every earlier commit, for callers that then read at the
    /// standby. `None` if there is no standby, or the primary does not answer.
    pub async fn position(&self) -> Option<Position> {
        let standby = self.standby.as_ref()?;
        tokio::time::timeout(POSITION_WAIT, standby.position()).await.ok()?
    }

    /// Runs `work` in one transaction of the caller's tenant that sees one moment: commits between its statements are
    /// not visible.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn snapshot<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        self.read(caller, Access::Snapshot, None, deadline, work).await
    }

    /// Opens a transaction for one tenant or several, on a connection on which the named `statements` are prepared.
    /// If they are not prepared yet, they run there once as the caller, and are rolled back.
    ///
    /// The time that its callers have already `waited` counts as waiting for a connection, so that they are refused
    /// within the limit.
    ///
    /// # Errors
    ///
    /// If there is no connection, or no time left; or what `statements` returned.
    pub async fn batch<F>(
        &self,
        caller: &Caller,
        whose: Whose,
        waited: Duration,
        deadline: Deadline,
        statements: Statements<F>,
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, Need { access: Access::ReadWrite, whose, waited }, deadline, statements)
            .await
    }

    /// As [`Db::batch`], for a transaction that only reads.
    ///
    /// # Errors
    ///
    /// As [`Db::batch`].
    pub async fn batch_of_reads<F>(
        &self,
        caller: &Caller,
        whose: Whose,
        waited: Duration,
        deadline: Deadline,
        statements: Statements<F>,
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, Need { access: Access::ReadOnly, whose, waited }, deadline, statements)
            .await
    }

    /// Whether an idle connection answers within `patience`; `None` if no connection is idle.
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

    /// Whether all connections are in use and calls wait for one.
    pub fn is_exhausted(&self) -> bool {
        self.pool.status().available == 0 && self.metrics.pool.waiting.get() > 0
    }

    /// What is known about COMMITs.
    fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Closes each connection once it is free, and refuses new ones.
    pub fn close(&self) {
        self.pool.close();
        if let Some(standby) = &self.standby {
            standby.db().pool.close();
        }
    }

    /// Returns a connection for the work of one tenant, or of many if `tenant` is `None`. The work has `waited`
    /// already.
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
    /// The tenant, if the work belongs to one tenant only.
    fn tenant(self, caller: &Caller) -> Option<TenantId> {
        match self {
            Self::Many => None,
            Self::One => Some(caller.tenant()),
        }
    }
}

/// Whether a read that failed at the standby may succeed at the primary. The standby may be away or full, may cancel
/// reads that block its replay, or may not have replayed a migration yet.
fn may_be_other_here(error: &Error) -> bool {
    matches!(error.code(), Code::Unavailable | Code::Aborted | Code::Internal | Code::DeadlineExceeded)
}

/// The error if no connection became free in time.
pub(crate) fn none_free(cause: &'static str) -> Error {
    Error::Unavailable {
        reason: crate::pb::ErrorReason::DatabaseBusy,
        message: "all connections to the database are in use; retry with the same request_id or message_key",
        cause: Some(cause.into()),
    }
}
