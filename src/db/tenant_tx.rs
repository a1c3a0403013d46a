//! One transaction of one tenant.

use std::future::Future;
use std::time::{Duration, Instant};

use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};

use super::Db;
use crate::auth::{Caller, TenantId};
use crate::error::{Error, Result};

/// How often a transaction is run in all when others keep it from finishing. A deadlock has a
/// winner each time, so three meet nearly every case, and more would hide a fault of ours.
const ATTEMPTS: u32 = 3;

/// The longest pause before another attempt: several times what a transaction takes.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// How long a COMMIT may take. Postgres's own limits do not end one that waits for a lost standby.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transaction may sit idle: none ever does, unless this process or its network died.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// When the client stops waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// What is left; `None` when nothing is.
    pub fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Change rows.
    ReadWrite,
    /// Read rows.
    ReadOnly,
}

/// An async closure whose future can move between threads.
///
/// `AsyncFn` alone cannot say so on stable Rust; this is the way round that diesel-async has for
/// `AsyncFnOnce`.
pub trait Work<T, R>: Fn(T) -> <Self as Work<T, R>>::Future + AsyncFn(T) -> R + Send + Sync {
    /// What the closure returns.
    type Future: Future<Output = R> + Send;
}

impl<W, T, R, F> Work<T, R> for W
where
    W: Fn(T) -> F + AsyncFn(T) -> R + Send + Sync,
    F: Future<Output = R> + Send,
{
    type Future = F;
}

/// An open transaction in which only the rows of one tenant exist.
///
/// Only [`Db::write`] and [`Db::read`] make one, from a [`Caller`].
pub struct TenantTx {
    connection: Object<AsyncPgConnection>,
    tenant: TenantId,
}

impl TenantTx {
    /// The tenant, for the queries to say it too.
    pub fn tenant(&self) -> uuid::Uuid {
        self.tenant.as_uuid()
    }

    /// From here on every statement is planned for the values that it comes with. For lists with
    /// filters: a plan for any value knows neither rare words nor common ones, and is cached.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_for_values(&mut self) -> Result<()> {
        Ok(self.connection.batch_execute("SET LOCAL plan_cache_mode = force_custom_plan").await?)
    }

    /// From here on, and for the values at hand, rows are found through a bitmap of an index: what a
    /// GIN index gives, whatever the planner thinks of it.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_by_bitmap(&mut self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; \
                           SET LOCAL enable_bitmapscan = on";
        Ok(self.connection.batch_execute(SQL).await?)
    }

    /// From here on, and for the values at hand, rows are read in the order of an index.
    ///
    /// # Errors
    ///
    /// What can happen to any statement.
    pub async fn plan_by_order(&mut self) -> Result<()> {
        const SQL: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off; \
                           SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = off";
        Ok(self.connection.batch_execute(SQL).await?)
    }

    /// The connection, for `store` functions.
    pub fn connection(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection
    }
}

/// Runs `work` in a transaction, and again where it lost against another one.
pub(super) async fn run<R, F>(
    db: &Db,
    caller: &Caller,
    access: Access,
    deadline: Deadline,
    work: F,
) -> Result<R>
where
    F: for<'t> Work<&'t mut TenantTx, Result<R>>,
    R: Send,
{
    let mut attempt = 1;
    loop {
        match run_once(db, caller, access, deadline, &work).await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS && deadline.remaining().is_some() => {
                attempt += 1;
                tokio::time::sleep(jitter()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn run_once<R, F>(db: &Db, caller: &Caller, access: Access, deadline: Deadline, work: &F) -> Result<R>
where
    F: for<'t> Work<&'t mut TenantTx, Result<R>>,
    R: Send,
{
    let mut tx = begin(db, caller, access, deadline).await?;
    let outcome = work(&mut tx).await;
    match outcome {
        Ok(value) => commit(tx).await.map(|()| value),
        Err(error) => {
            rollback(tx).await;
            Err(error)
        }
    }
}

/// Opens the transaction and takes its rights away, in one message: from here on, even a superuser's
/// connection is `crm_app` and sees one tenant.
async fn begin(db: &Db, caller: &Caller, access: Access, deadline: Deadline) -> Result<TenantTx> {
    let tenant = caller.tenant();
    let mut connection = db.connection().await?;
    let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
    let sql = format!(
        "BEGIN {access}; SET LOCAL ROLE crm_app; SET LOCAL app.tenant_id = '{tenant}'; \
         SET LOCAL statement_timeout = {statement}; SET LOCAL idle_in_transaction_session_timeout = {idle}",
        access = match access {
            Access::ReadWrite => "READ WRITE",
            Access::ReadOnly => "READ ONLY",
        },
        // 0 would mean no limit.
        statement = remaining.as_millis().max(1),
        idle = IDLE_TIMEOUT.as_millis(),
    );
    AnsiTransactionManager::begin_transaction_sql(&mut *connection, &sql).await?;
    Ok(TenantTx { connection, tenant })
}

/// Commits. After an error here nobody knows whether it happened, so the connection is given up and
/// the client is told to ask again.
async fn commit(mut tx: TenantTx) -> Result<()> {
    let commit = AnsiTransactionManager::commit_transaction(&mut *tx.connection);
    let outcome = match tokio::time::timeout(COMMIT_TIMEOUT, commit).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => match Error::from(error) {
            conflict if conflict.is_conflict() => conflict,
            error => Error::database_unavailable(error),
        },
        Err(elapsed) => Error::database_unavailable(elapsed),
    };
    drop(Object::take(tx.connection));
    Err(outcome)
}

/// Rolls back; a connection that cannot is broken, and the pool drops it.
async fn rollback(mut tx: TenantTx) {
    let rollback = AnsiTransactionManager::rollback_transaction(&mut *tx.connection);
    if !matches!(tokio::time::timeout(COMMIT_TIMEOUT, rollback).await, Ok(Ok(()))) {
        drop(Object::take(tx.connection));
    }
}

/// A pause of random length, so that two transactions that met once do not meet again.
fn jitter() -> Duration {
    let random = uuid::Uuid::new_v4().as_u128();
    let share = u32::try_from(random % 1000).unwrap_or(0);
    MAX_PAUSE * share / 1000
}
