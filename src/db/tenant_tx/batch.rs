//! Transactions that serve many calls at once, in as few flights as possible.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::SimpleAsyncConnection;
use futures_util::future::{join, join3, try_join, try_join_all};
use tonic::Code;

use super::{
    Access, Answer, COMMIT_TIMEOUT, Deadline, NEW_PLANS, TenantTx, Work, begin_sql, commit, end_read,
    error_of, error_of_begun, rollback, send_commit, tenant_sql,
};
use crate::db::pool::Lent;
use crate::db::wire::Limit;
use crate::db::{Db, Whose};
use crate::error::{Error, Result};
use crate::identity::{Caller, TenantId};
use crate::metrics::{Flight, Metrics};
use crate::traces::Trace;

/// A batch may take this fraction of a transaction's limit. The work behind it waits for the batch, and may then wait
/// as long again for a lock that the batch left in a stopped Postgres process.
const BATCH_SHARE: u32 = 2;

/// A transaction that serves several tenants, one after the other, in two flights: one begins it, and one commits it.
/// If nothing has to be decided in between, [`only`](Self::only) does both in one.
///
/// Its connection has run every statement of the batch before. An unknown statement is prepared before it is sent, so
/// that later ones overtake it, COMMIT among them.
pub struct BatchTx {
    connection: Arc<Lent>,
    begin: String,
    /// The tenant that it begins as.
    first: TenantId,
    /// Until when each flight must be answered.
    limit: Limit,
    /// The tenant that was set last.
    named: Mutex<TenantId>,
    /// Whether the connection has prepared the statements.
    in_flight: bool,
    /// Where the flights are measured.
    metrics: Metrics,
    /// Where the flights are traced.
    trace: Trace,
}

/// The connection that a batch needs.
pub(in crate::db) struct Need {
    pub(in crate::db) access: Access,
    pub(in crate::db) whose: Whose,
    /// How long the callers of the batch have waited already.
    pub(in crate::db) waited: Duration,
}

/// All statements of a kind of batch, by the name under which a connection knows that it has prepared them.
#[derive(Debug, Clone, Copy)]
pub struct Statements<F> {
    /// The name.
    pub name: &'static str,
    /// Runs each of the statements once, on no rows.
    pub run: F,
}

impl BatchTx {
    /// Opens a connection that has prepared the named statements; the transaction has not begun. It begins as the
    /// caller's tenant.
    pub(in crate::db) async fn open<F>(
        db: &Db,
        caller: &Caller,
        need: Need,
        deadline: Deadline,
        statements: Statements<F>,
    ) -> Result<Self>
    where
        F: for<'t> Work<&'t TenantTx, Result<()>>,
    {
        let Need { access, whose, waited } = need;
        let Statements { name, run } = statements;
        let connection = Arc::new(db.connection(whose.tenant(caller), access, waited, caller.trace()).await?);
        let deadline = deadline.at_most(db.transaction_limit / BATCH_SHARE);
        let remaining = deadline.remaining().ok_or(Error::DeadlineExceeded)?;
        let knows = connection.knows(name);
        let replan = if connection.outgrows_plans() || !knows { NEW_PLANS } else { "" };
        let tenant = caller.tenant();
        let begin = format!(
            "{}; {}; {}{replan}",
            begin_sql(access, remaining),
            tenant_sql(tenant),
            connection.generic_plans()
        );
        let limit = Limit::kept_by_postgres(deadline);
        let (named, metrics, trace) = (Mutex::new(tenant), db.metrics.clone(), caller.trace().clone());
        let first = tenant;
        let mut tx = Self { connection, begin, first, limit, named, in_flight: false, metrics, trace };
        if !knows {
            tx.begin(tx.as_tenant(caller, run)).await?;
            rollback(&tx.connection).await;
            tx.connection.learn(name);
        }
        tx.in_flight = true;
        Ok(tx)
    }

    /// Begins, and runs the first flight.
    ///
    /// # Errors
    ///
    /// What the flight returned.
    pub async fn begin<R>(&self, flight: impl Future<Output = Result<R>>) -> Result<R> {
        self.note_begun();
        let wire = self.connection.wire();
        let flight =
            async { tokio::task::unconstrained(join(self.connection.run(&self.begin), flight)).await };
        let answer = self.measured(Flight::Begin, wire.answer(self.limit, flight), error_of_begun).await;
        let (begun, outcome) = answer?;
        self.connection.judge(&outcome);
        begun?;
        outcome
    }

    /// Notes that a transaction is open from now on, as the tenant that BEGIN names.
    fn note_begun(&self) {
        self.connection.set_open(true);
        *self.named() = self.first;
    }

    fn named(&self) -> MutexGuard<'_, TenantId> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one more flight between the first and the last.
    ///
    /// # Errors
    ///
    /// What the flight returned.
    pub async fn flight<R>(&self, flight: impl Future<Output = Result<R>>) -> Result<R> {
        let flight = self.connection.wire().answer(self.limit, flight);
        let error = |answer: &Answer<Result<R>>| error_of(answer, |outcome| outcome.as_ref().err());
        let outcome = self.measured(Flight::More, flight, error).await?;
        self.connection.judge(&outcome);
        outcome
    }

    async fn measured<R>(
        &self,
        which: Flight,
        flight: impl Future<Output = R>,
        error: impl FnOnce(&R) -> Option<Code>,
    ) -> R {
        let name = match which {
            Flight::Begin => "postgresql begin",
            Flight::More => "postgresql more",
            Flight::Commit => "postgresql commit",
            Flight::Only => "postgresql only",
        };
        let began = Instant::now();
        let answer = self.trace.flight(name, flight, error).await;
        self.metrics.flights[which].observe(began.elapsed().as_secs_f64());
        answer
    }

    /// Runs `work` as the caller's tenant. The statements of several such calls in one flight arrive in its order,
    /// each with its tenant.
    ///
    /// # Errors
    ///
    /// What `work` returned. After an error nothing of the batch can be committed.
    pub async fn as_tenant<R, F>(&self, caller: &Caller, work: F) -> Result<R>
    where
        F: for<'t> Work<&'t TenantTx, Result<R>>,
        R: Send,
    {
        let tx = TenantTx {
            connection: Arc::clone(&self.connection),
            tenant: caller.tenant(),
            in_flight: self.in_flight,
        };
        let is_named = std::mem::replace(&mut *self.named(), tx.tenant) == tx.tenant;
        if is_named {
            return work(&tx).await;
        }
        let sql = tenant_sql(tx.tenant);
        let named = async {
            let mut connection = tx.connection();
            connection.batch_execute(&sql).await.map_err(Error::from)
        };
        // A statement that cannot even be sent ends this at once, and nothing after it is sent.
        try_join(named, work(&tx)).await.map(|((), outcome)| outcome)
    }

    /// Runs the last flight and commits in it. If a statement fails, Postgres rolls everything back.
    ///
    /// # Errors
    ///
    /// What the flight returned; UNAVAILABLE if it is unknown whether the transaction was committed.
    pub async fn commit<R>(&self, flight: impl Future<Output = Result<R>>) -> Result<R> {
        let last = async {
            let mut flight = pin!(flight);
            let sent = poll_fn(|context| Poll::Ready(flight.as_mut().poll(context)));
            match tokio::task::unconstrained(sent).await {
                Poll::Ready(outcome) => Last::Known(outcome),
                Poll::Pending => {
                    let (committed, outcome) = join(send_commit(&self.connection, None), flight).await;
                    Last::Sent(committed, outcome)
                }
            }
        };
        let last = self.connection.commits().watch(last);
        let last = self.connection.wire().answer(Limit::after(COMMIT_TIMEOUT), last);
        let error = |answer: &Answer<Last<R>>| error_of(answer, Last::error);
        match self.measured(Flight::Commit, last, error).await? {
            Last::Known(Ok(nothing_to_do)) => commit(&self.connection, None).await.map(|()| nothing_to_do),
            Last::Known(Err(error)) => {
                rollback(&self.connection).await;
                Err(error)
            }
            Last::Sent(committed, outcome) => self.end(committed, outcome),
        }
    }

    /// Begins, runs the only flight, and commits, all in one. If a statement fails, Postgres rolls everything back. The
    /// next flight may begin the transaction again.
    ///
    /// # Errors
    ///
    /// What the flight returned; UNAVAILABLE if it is unknown whether the transaction was committed.
    pub async fn only<R>(&self, flight: impl Future<Output = Result<R>>) -> Result<R> {
        self.note_begun();
        let begin = self.connection.run(&self.begin);
        let whole = join3(begin, flight, send_commit(&self.connection, None));
        let whole = self.connection.commits().watch(tokio::task::unconstrained(whole));
        let whole = self.connection.wire().answer(Limit::after(COMMIT_TIMEOUT), whole);
        let error = |answer: &Answer<Whole<R>>| error_of(answer, |(_, outcome, _)| outcome.as_ref().err());
        let (begun, outcome, committed) = self.measured(Flight::Only, whole, error).await?;
        begun?;
        self.end(committed, outcome)
    }

    /// Returns the outcome of a flight that was sent with COMMIT.
    fn end<R>(&self, committed: Result<()>, outcome: Result<R>) -> Result<R> {
        self.connection.judge(&outcome);
        match (committed, outcome) {
            (Ok(()), outcome) => outcome,
            // The statement's own error is more specific.
            (Err(_), Err(error)) if error.of_all().is_none() || error.is_of_part() => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// Begins, runs the only flight, and ends, all in one.
    ///
    /// # Errors
    ///
    /// What the flight returned.
    pub async fn read<R>(&self, flight: impl Future<Output = Result<R>>) -> Result<R> {
        let flight = async {
            let mut flight = pin!(flight);
            let sent = poll_fn(|context| Poll::Ready(flight.as_mut().poll(context))).await;
            end_read(&self.connection);
            match sent {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => flight.await,
            }
        };
        self.begin(flight).await
    }

    /// Rolls everything back.
    pub async fn rollback(&self) {
        rollback(&self.connection).await;
    }
}

/// The answers to BEGIN, to a flight, and to COMMIT.
type Whole<R> = (QueryResult<()>, Result<R>, Result<()>);

/// How far the last flight of a batch came.
enum Last<R> {
    /// The flight ended at once, and COMMIT was not sent.
    Known(Result<R>),
    /// COMMIT was sent with the flight: the outcome of each.
    Sent(Result<()>, Result<R>),
}

impl<R> Last<R> {
    fn error(&self) -> Option<&Error> {
        match self {
            Self::Known(outcome) => outcome.as_ref().err(),
            Self::Sent(committed, outcome) => outcome.as_ref().err().or(committed.as_ref().err()),
        }
    }
}

/// Runs futures that each send when first polled, in this order. tokio would make a busy task pause between them, and
/// then later statements would overtake one that has to wait. So the task runs unconstrained. If one fails at once,
/// those after it are not sent.
///
/// # Errors
///
/// What the first future that failed returned.
pub async fn one_flight<T, F>(flight: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    tokio::task::unconstrained(try_join_all(flight)).await
}
