//! The connections that serve tenants, as the pool creates and recycles them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use diesel::ConnectionError;
use diesel_async::SimpleAsyncConnection;
use diesel_async::pooled_connection::PoolableConnection;
use futures_util::future::try_join_all;

use super::commits::Commits;
use super::turns::Turn;
use super::wire::Wire;
use super::{Target, citus};
use crate::error::Error;
use crate::numbers;

/// How long the plans of a batch are kept, in milliseconds. Making them takes one or two: little enough to do it
/// every second, and often enough that a table does not grow much meanwhile.
const PLANS_LAST_MS: u64 = 1_000;

/// How the statements of a batch, and those that read, are planned: for any values, anew every second, and by index
/// regardless of the tables' sizes. A plan made for small tables reads them completely, and would be kept while they
/// grow.
const GENERIC_PLANS: &str = "SET LOCAL plan_cache_mode = force_generic_plan";

/// How they are planned on Citus. Citus makes plans for any values so expensive that the planner never chooses them.
const PLANS_OF_ANY_KIND: &str = "SET LOCAL plan_cache_mode = auto";

/// What separates two statements of [`Connection::run`]. It occurs in no statement.
const BETWEEN: &str = "; ";

/// A connection, and what is known about it.
///
/// All work on it goes through a shared reference: several statements can be in flight at once, and Postgres takes
/// them in the order in which they were sent.
pub(super) struct Connection {
    wire: Wire,
    /// Whether the connection leads to Citus.
    distributed: bool,
    /// Whether a transaction is open, or may be.
    open: AtomicBool,
    /// Whether the server behind the connection is unusable, although it may answer.
    useless: AtomicBool,
    /// The names of the batches whose statements are prepared.
    known: Mutex<Vec<&'static str>>,
    /// When the connection's plans were last discarded, in milliseconds since it was opened.
    planned_ms: AtomicU64,
    opened: Instant,
    commits: Commits,
}

impl Connection {
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What is known about the COMMITs of all connections.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// The setting for statements that are planned for any values. Citus cannot do that: which node has the rows
    /// depends on the value. So on Citus the planner chooses.
    pub(super) fn generic_plans(&self) -> &'static str {
        if self.distributed { PLANS_OF_ANY_KIND } else { GENERIC_PLANS }
    }

    /// Runs statements without parameters. They are one message, except on Citus, which would send the whole message
    /// to its nodes for each SET in it.
    pub(super) async fn run(&self, sql: &str) -> diesel::QueryResult<()> {
        let run = async |sql: &str| {
            let mut connection = self.wire.connection();
            connection.batch_execute(sql).await
        };
        if self.distributed {
            return try_join_all(sql.split(BETWEEN).map(run)).await.map(|_| ());
        }
        run(sql).await
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Keeps the connection from being used again, if the outcome says so.
    pub(super) fn judge<R>(&self, outcome: &crate::error::Result<R>) {
        if outcome.as_ref().is_err_and(Error::ends_connection) {
            self.useless.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the statements of this batch are prepared.
    pub(super) fn knows(&self, batch: &'static str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&batch)
    }

    pub(super) fn learn(&self, batch: &'static str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }

    /// Whether the plans are so old that tables may have outgrown them. If so, it counts them as renewed: the caller
    /// discards them.
    pub(super) fn outgrows_plans(&self) -> bool {
        let now = numbers::milliseconds(self.opened.elapsed());
        let old = now.saturating_sub(self.planned_ms.load(Ordering::Relaxed)) >= PLANS_LAST_MS;
        if old {
            self.planned_ms.store(now, Ordering::Relaxed);
        }
        old
    }
}

/// A connection that is lent to some work until this is dropped. Then the connection is free again first, and the
/// turns end after that.
pub(super) struct Lent {
    connection: Object<Connector>,
    _turns: Option<(Option<Turn>, Turn)>,
}

impl Lent {
    pub(super) fn new(connection: Object<Connector>, turns: Option<(Option<Turn>, Turn)>) -> Self {
        Self { connection, _turns: turns }
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Creates connections to a database.
pub(super) struct Connector {
    pub(super) target: Target,
    pub(super) commits: Commits,
}

impl Manager for Connector {
    type Type = Connection;
    type Error = ConnectionError;

    async fn create(&self) -> Result<Connection, ConnectionError> {
        let mut wire = self.target.open().await?;
        let distributed =
            wire.ask(self.target.patience(), async |connection| citus::is_there(connection).await);
        let distributed =
            distributed.await.map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
        Ok(Connection {
            wire,
            distributed,
            open: AtomicBool::new(false),
            useless: AtomicBool::new(false),
            known: Mutex::default(),
            planned_ms: AtomicU64::new(0),
            opened: Instant::now(),
            commits: self.commits.clone(),
        })
    }

    /// Takes a connection back. It refuses a connection that is lost or in doubt, that leads to a read-only Postgres
    /// (as after a failover), or whose transaction was left open. It does not ask the server: that would cost every
    /// call a round trip, and a broken connection shows at BEGIN, before anything has happened.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<ConnectionError> {
        let left = *connection.open.get_mut() || *connection.useless.get_mut();
        if left || connection.wire.is_given_up() || connection.wire.connection_mut().is_broken() {
            return Err(RecycleError::message("lost, in doubt, useless, or left in a transaction"));
        }
        Ok(())
    }
}
