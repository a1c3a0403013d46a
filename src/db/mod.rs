//! The way to Postgres: a connection belongs to a transaction, and a transaction to a tenant.

pub mod connect;
pub mod embedded;
pub mod health;
pub mod json;
pub mod keyset;
pub mod migrate;
#[expect(missing_docs, reason = "generated; the comments in the database are its documentation")]
pub mod schema;
pub mod service_keys;
mod tenant_tx;
pub mod texts;
pub mod walls;

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};

use crate::auth::Caller;
use crate::error::{Error, Result};

pub use connect::{ConnectError, Target};
pub use tenant_tx::{Access, Deadline, TenantTx, Work};

/// How long it may take to open a connection: a healthy server needs milliseconds, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections that serve tenants, and nothing else.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AsyncPgConnection>,
}

impl Db {
    /// A pool of at most `connections`, none of which is open yet.
    ///
    /// # Errors
    ///
    /// When the pool cannot be built, which is a fault of its settings.
    pub fn new(target: &Target, connections: u16, wait: Duration) -> Result<Self> {
        let mut config = ManagerConfig::default();
        // A check per checkout would cost a round trip per call; a broken connection shows at
        // BEGIN, before anything has happened.
        config.recycling_method = RecyclingMethod::Fast;
        let target = target.clone();
        config.custom_setup = Box::new(move |_| {
            let target = target.clone();
            Box::pin(async move { target.open().await })
        });
        let manager = AsyncDieselConnectionManager::new_with_config("", config);
        let pool = Pool::builder(manager)
            .max_size(usize::from(connections))
            .wait_timeout(Some(wait))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(Error::internal)?;
        Ok(Self { pool })
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
        F: for<'t> Work<&'t mut TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadWrite, deadline, work).await
    }

    /// Runs `work` in one transaction of the caller's tenant that only reads.
    ///
    /// # Errors
    ///
    /// As [`Db::write`].
    pub async fn read<R, F>(&self, caller: &Caller, deadline: Deadline, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t mut TenantTx, Result<R>>,
        R: Send,
    {
        tenant_tx::run(self, caller, Access::ReadOnly, deadline, work).await
    }

    /// Closes all connections as they become free, and refuses new ones.
    pub fn close(&self) {
        self.pool.close();
    }

    async fn connection(&self) -> Result<Object<AsyncPgConnection>> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(deadpool::managed::TimeoutType::Wait) => Error::Unavailable {
                reason: crate::pb::ErrorReason::Overloaded,
                message: "all connections to the database are in use; retry with the same key",
                cause: Some("no free connection in time".into()),
            },
            error => Error::database_unavailable(error),
        })
    }
}
