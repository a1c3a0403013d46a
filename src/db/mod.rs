//! The way to Postgres: a connection belongs to a transaction, and a transaction to a tenant.

pub mod connect;
pub mod each;
pub mod embedded;
pub mod health;
pub mod json;
pub mod keyset;
pub mod listing;
pub mod literal;
pub mod migrate;
mod pool;
#[expect(missing_docs, reason = "generated; the comments in the database are its documentation")]
pub mod schema;
pub mod service_keys;
mod tenant_tx;
pub mod texts;
pub mod walls;
mod wire;

use std::time::Duration;

use deadpool::managed::{BuildError, Object, Pool, PoolError, TimeoutType};
use diesel_async::SimpleAsyncConnection;

use crate::auth::Caller;
use crate::error::{Error, Result};
use pool::Connector;
use wire::Limit;

pub use connect::{ConnectError, Target};
pub use tenant_tx::{Access, BatchTx, Deadline, LastStatement, TenantTx, Work, one_flight, retried};
pub use wire::{Missed, NoAnswer, Pulse, Wire};

/// How long it may take to open a connection: a healthy server needs milliseconds, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

/// A pool of connections that serve tenants, and nothing else.
#[derive(Clone)]
pub struct Db {
    pool: Pool<Connector>,
    transaction_limit: Duration,
}

impl Db {
    /// A pool, in which no connection is open yet.
    ///
    /// # Errors
    ///
    /// When the pool cannot be built, which is a fault of its settings.
    pub fn new(target: &Target, limits: PoolLimits) -> Result<Self> {
        let PoolLimits { connections, wait, transaction: transaction_limit } = limits;
        let pool = Pool::builder(Connector(target.clone()))
            .max_size(usize::from(connections))
            .wait_timeout(Some(wait))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error: BuildError| Error::internal(error))?;
        Ok(Self { pool, transaction_limit })
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

    /// Runs `work` in one transaction of the caller's tenant that only reads.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn read<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadOnly, deadline, work, |_| None).await
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
        tenant_tx::run(self, caller, Access::Snapshot, deadline, work, |_| None).await
    }

    /// A transaction for several tenants, on a connection that knows the named `statements`. Where one
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
        waited: Duration,
        deadline: Deadline,
        statements: (&'static str, F),
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, (Access::ReadWrite, waited), deadline, statements).await
    }

    /// The same for a transaction that only reads.
    ///
    /// # Errors
    ///
    /// As [`Db::batch`].
    pub async fn batch_of_reads<F>(
        &self,
        caller: &Caller,
        waited: Duration,
        deadline: Deadline,
        statements: (&'static str, F),
    ) -> Result<BatchTx>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        BatchTx::open(self, caller, (Access::ReadOnly, waited), deadline, statements).await
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

    /// Closes all connections as they become free, and refuses new ones.
    pub fn close(&self) {
        self.pool.close();
    }

    /// A connection, for work that has `waited` already.
    async fn connection(&self, waited: Duration) -> Result<Object<Connector>> {
        let mut timeouts = self.pool.timeouts();
        timeouts.wait = timeouts.wait.map(|wait| wait.saturating_sub(waited));
        self.pool.timeout_get(&timeouts).await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => Error::Unavailable {
                reason: crate::pb::ErrorReason::Overloaded,
                message: "all connections to the database are in use; retry with the same key",
                cause: Some("no free connection in time".into()),
            },
            error => Error::database_unavailable(error),
        })
    }
}
