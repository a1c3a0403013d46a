//! Transactions of tenants.
//!
//! Where it is safe, a statement is sent without waiting for the answer to the one before. BEGIN, which drops rights
//! and names the tenant, is followed at once by the first statement. They arrive in this order, and if BEGIN fails,
//! the transaction discards the outcome of the statements after it. COMMIT waits for the last answer. The end of a
//! transaction that only read is not awaited, because its answer says nothing new. So a read is one round trip.
//!
//! Postgres is told how long each statement may take. The [`Wire`](super::Wire) has a limit too, for a Postgres that does not keep
//! to its own. A transaction whose answer was missed before its COMMIT had no effect; after that its outcome is
//! unknown.

mod batch;
mod plans;

pub(super) use batch::Need;
pub use batch::{BatchTx, Statements, one_flight};

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use tonic::Code;

use super::Db;
use super::pool::{Connection, Lent};
use super::wire::{Limit, Missed};
use crate::error::{Error, Result};
use crate::identity::{Caller, TenantId};

/// How often a transaction is run in total if others keep it from finishing. A deadlock has a winner each time, so
/// three attempts are enough in nearly every case. More would hide a bug of this service.
const ATTEMPTS: u32 = 3;

/// The longest pause before another attempt: several times the length of a transaction.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// How long a COMMIT may take. Postgres's own limits do not end a COMMIT that waits for a lost standby.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a ROLLBACK may take. It has nothing to wait for.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction may sit idle. That happens only if this process or its network died. Until then the locks
/// of the transaction block others, which wait for them about as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest `statement_timeout` that Postgres accepts, 24 days. Clients may ask for 11,000 years.
const MAX_STATEMENT_MS: u128 = i32::MAX.unsigned_abs() as u128;

/// Discards all plans, and sets how the statements of a batch, and those that read, are planned next. These settings
/// matter only while a plan is made, so other transactions need not send them.
const NEW_PLANS: &str = "; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
                         SET LOCAL enable_mergejoin = off; DISCARD PLANS";

/// The moment when the client stops waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The time that is left; `None` if none is.
    pub fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// This deadline, or that long from now, if that is sooner.
    fn at_most(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }

    /// The moment of the deadline.
    pub(super) fn at(self) -> Instant {
        self.0
    }
}

/// A statement that is sent together with COMMIT, in one message. All of its values are in its text, so there is
/// nothing to prepare, and COMMIT cannot overtake it.
#[derive(Debug)]
pub struct LastStatement(String);

impl LastStatement {
    /// Wraps this SQL. Input from outside may appear in it only as an escaped literal.
    pub(crate) fn new(sql: String) -> Self {
        Self(sql)
    }
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Change rows.
    ReadWrite,
    /// Read rows.
    ReadOnly,
    /// Read rows as they all were at one moment.
    Snapshot,
}

/// An async closure whose future can move between threads.
///
/// `AsyncFn` alone cannot express this on stable Rust; diesel-async does the same for `AsyncFnOnce`.
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

/// An open transaction in which only the rows of one tenant are visible.
///
/// Only [`Db::write`], [`Db::read`], [`Db::snapshot`] and [`BatchTx::as_tenant`] create one, from a [`Caller`].
pub struct TenantTx {
    connection: Arc<Lent>,
    tenant: TenantId,
    /// Whether the connection has prepared all statements that follow, so that they arrive in the order in which they
    /// are sent.
    in_flight: bool,
}

impl TenantTx {
    /// The tenant, for queries that name it as well.
    pub fn tenant(&self) -> uuid::Uuid {
        self.tenant.as_uuid()
    }

    /// Runs statements in this order: in one flight if the connection has prepared them, and otherwise one after the
    /// other (see [`BatchTx`]).
    ///
    /// # Errors
    ///
    /// What the first statement that failed returned.
    pub async fn in_order<const N: usize>(&self, statements: [BoxFuture<'_, Result<()>>; N]) -> Result<()> {
        if self.in_flight {
            return one_flight(statements).await.map(|_| ());
        }
        for statement in statements {
            statement.await?;
        }
        Ok(())
    }

    /// The connection, for `store` functions. Several statements may be in flight at once.
    pub fn connection(&self) -> &AsyncPgConnection {
        self.connection.wire().connection()
    }
}

/// The answer to a flight, unless it was missed.
type Answer<R> = std::result::Result<R, Missed>;

/// Returns the code of a flight's error, if it failed.
fn error_of<R>(answer: &Answer<R>, error: impl FnOnce(&R) -> Option<&Error>) -> Option<Code> {
    answer.as_ref().map_or(Some(Code::Unavailable), |answer| error(answer).map(Error::code))
}

/// As [`error_of`], for a flight with BEGIN. BEGIN fails only with its connection.
fn error_of_begun<R>(answer: &Answer<(QueryResult<()>, Result<R>)>) -> Option<Code> {
    match answer {
        Ok((Ok(()), outcome)) => outcome.as_ref().err().map(Error::code),
        Ok((Err(_), _)) | Err(_) => Some(Code::Unavailable),
    }
}

/// Runs `work` in a transaction, and again if it lost against another transaction.
pub(super) async fn run<R, F>(
    db: &Db,
    caller: &Caller,
    access: Access,
    deadline: Deadline,
    work: F,
    last: impl Fn(&R) -> Option<LastStatement> + Send + Sync,
) -> Result<R>
where
    F: for<'t> Work<&'t TenantTx, Result<R>>,
    R: Send,
{
    retried(deadline, || run_once(db, caller, access, deadline, &work, &last)).await
}

/// Runs a transaction, and again after a pause, if other transactions kept it from finishing.
///
/// # Errors
///
/// What the last attempt returned.
pub async fn retried<R, F>(deadline: Deadline, attempt: impl Fn() -> F) -> Result<R>
where
    F: Future<Output = Result<R>>,
{
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(error) if error.is_conflict() && attempts < ATTEMPTS && deadline.remaining().is_some() => {
                attempts += 1;
                tokio::time::sleep(jitter()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn run_once<R, F>(
    db: &Db,
    caller: &Caller,
    access: Access,
    deadline: Deadline,
    work: &F,
    last: &(impl Fn(&R) -> Option<LastStatement> + Send + Sync),
) -> Result<R>
where
    F: for<'t> Work<&'t TenantTx, Result<R>>,
    R: Send,
{
    let trace = caller.trace();
    let connection = Arc::new(db.connection(Some(caller.tenant()), access, Duration::ZERO, trace).await?);
    let deadline = deadline.at_most(db.transaction_limit);
    let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
    let tenant = caller.tenant();
    let tx = TenantTx { connection: Arc::clone(&connection), tenant, in_flight: false };
    let plans = match access {
        Access::ReadWrite => String::new(),
        // Reads by key or by page have the same plan for all values. The planner does not know that, and would plan
        // each call anew. Lists with filters override this.
        Access::ReadOnly | Access::Snapshot if connection.outgrows_plans() => {
            format!("; {}{NEW_PLANS}", connection.generic_plans())
        }
        Access::ReadOnly | Access::Snapshot => format!("; {}", connection.generic_plans()),
    };
    let sql = format!("{}; {}{plans}", begin_sql(access, remaining), tenant_sql(tx.tenant));
    connection.set_open(true);
    let wire = connection.wire();
    let flight = async { join(connection.run(&sql), work(&tx)).await };
    let flight = wire.answer(Limit::kept_by_postgres(deadline), flight);
    let (begun, outcome) = trace.flight("postgresql transaction", flight, error_of_begun).await?;
    connection.judge(&outcome);
    // Without BEGIN, the next statement may have run outside of a transaction, so its outcome is ignored.
    begun?;
    match (outcome, access) {
        (outcome, Access::ReadOnly | Access::Snapshot) => {
            end_read(&connection);
            outcome
        }
        (Ok(value), Access::ReadWrite) => {
            let committed = commit(&connection, last(&value));
            let error = |committed: &Result<()>| committed.as_ref().err().map(Error::code);
            trace.flight("postgresql commit", committed, error).await.map(|()| value)
        }
        (Err(error), Access::ReadWrite) => {
            rollback(&connection).await;
            Err(error)
        }
    }
}

/// Opens a transaction and drops its rights: from here on, even a superuser's connection is `crm_app`. Plans are for the
/// tenant with the most rows, so many of them look expensive. To compile one would take longer than to run it.
fn begin_sql(access: Access, remaining: Duration) -> String {
    format!(
        "BEGIN{access}; SET LOCAL ROLE crm_app; SET LOCAL jit = off; SET LOCAL statement_timeout = {statement}; \
         SET LOCAL idle_in_transaction_session_timeout = {idle}",
        access = match access {
            Access::ReadWrite => "",
            Access::ReadOnly => " READ ONLY",
            Access::Snapshot => " ISOLATION LEVEL REPEATABLE READ READ ONLY",
        },
        // 0 would mean no limit.
        statement = remaining.as_millis().clamp(1, MAX_STATEMENT_MS),
        idle = IDLE_TIMEOUT.as_millis(),
    )
}

/// From here on the transaction sees the rows of this tenant only.
fn tenant_sql(tenant: TenantId) -> String {
    format!("SET LOCAL app.tenant_id = '{tenant}'")
}

/// Ends a transaction that changed nothing. COMMIT is sent here and not awaited; the connection's next user sends
/// after it.
fn end_read(connection: &Connection) {
    let sent = connection
        .wire()
        .say(|mut wire| tokio::task::unconstrained(wire.batch_execute("COMMIT")).now_or_never());
    // An immediate answer can only mean that the connection is lost.
    if sent.is_none_or(|outcome| outcome.is_ok()) {
        connection.set_open(false);
    }
}

/// Commits, and waits for the answer as long as a COMMIT may take.
async fn commit(connection: &Connection, last: Option<LastStatement>) -> Result<()> {
    let committed = connection.commits().watch(send_commit(connection, last));
    connection.wire().answer(Limit::after(COMMIT_TIMEOUT), committed).await?
}

/// Runs the last statement and commits. If the statement fails, Postgres does not reach the COMMIT. After an error
/// here the outcome is unknown, so the connection is given up and the client is told to retry.
async fn send_commit(connection: &Connection, last: Option<LastStatement>) -> Result<()> {
    let sql = last.map_or_else(|| "COMMIT".to_owned(), |LastStatement(sql)| format!("{sql}; COMMIT"));
    let mut wire = connection.wire().connection();
    match wire.batch_execute(&sql).await {
        Ok(()) => {
            connection.set_open(false);
            Ok(())
        }
        Err(error) => Err(match Error::from(error) {
            conflict if conflict.is_conflict() => conflict,
            error => Error::database_unavailable(error),
        }),
    }
}

/// Rolls back. If that fails, the connection is broken, and the pool drops it.
async fn rollback(connection: &Connection) {
    let rollback = async {
        let mut wire = connection.wire().connection();
        wire.batch_execute("ROLLBACK").await
    };
    let rolled_back = connection.wire().answer(Limit::after(ROLLBACK_TIMEOUT), rollback).await;
    if matches!(rolled_back, Ok(Ok(()))) {
        connection.set_open(false);
    }
}

/// A pause of random length, so that two transactions that collided once do not collide again.
fn jitter() -> Duration {
    let random = uuid::Uuid::new_v4().as_u128();
    let share = u32::try_from(random % 1000).unwrap_or(0);
    MAX_PAUSE * share / 1000
}
