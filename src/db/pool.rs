//! Connections that serve tenants, as the pool makes and takes them.

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

/// How long the plans of a batch are kept, in milliseconds. Making them takes one or two: little
/// enough to do so every second, and often enough that a table does not outgrow them by much.
const PLANS_LAST_MS: u64 = 1_000;

/// How statements of a batch, and those that read, are planned: for values of any kind, and anew every
/// second, by index whatever the tables look like at that moment. A plan that was made for small tables
/// reads them as a whole, and would be kept while they grow.
const GENERIC_PLANS: &str = "SET LOCAL plan_cache_mode = force_generic_plan";

/// How they are planned on Citus, which makes plans for values of any kind so dear that none is chosen.
const PLANS_OF_ANY_KIND: &str = "SET LOCAL plan_cache_mode = auto";

/// What stands between two statements of [`Connection::run`], and nowhere in one.
const BETWEEN: &str = "; ";

/// A connection, and what is known of it.
///
/// Everything on it goes through a shared reference: several statements can be on their way at once,
/// and Postgres takes them in the order in which they were sent.
pub(super) struct Connection {
    wire: Wire,
    /// Whether it leads to Citus.
    distributed: bool,
    /// Whether a transaction is open, or may be.
    open: AtomicBool,
    /// Whether what it leads to does not serve us, though it may answer.
    useless: AtomicBool,
    /// The batches whose statements are prepared.
    known: Mutex<Vec<&'static str>>,
    /// When its plans were last thrown away, in milliseconds since it was opened.
    planned_ms: AtomicU64,
    opened: Instant,
    commits: Commits,
}

impl Connection {
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What is known of the COMMITs of all connections.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// How statements are planned that are planned for values of any kind. Citus cannot do that: which node has
    /// the rows depends on the value, so it is left to plan as it likes.
    pub(super) fn generic_plans(&self) -> &'static str {
        if self.distributed { PLANS_OF_ANY_KIND } else { GENERIC_PLANS }
    }

    /// Runs statements without parameters. They are one message, but where they lead to Citus: it sends the whole
    /// message of each SET to its nodes.
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

    /// Keeps the connection from whoever comes next, where an outcome on it says so.
    pub(super) fn judge<R>(&self, outcome: &crate::error::Result<R>) {
        if outcome.as_ref().is_err_and(Error::ends_connection) {
            self.useless.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the statements of a batch are prepared.
    pub(super) fn knows(&self, batch: &'static str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&batch)
    }

    pub(super) fn learn(&self, batch: &'static str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }

    /// Whether its plans are so old that tables may have outgrown them. They are made anew then.
    pub(super) fn outgrows_plans(&self) -> bool {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let old = now.saturating_sub(self.planned_ms.load(Ordering::Relaxed)) >= PLANS_LAST_MS;
        if old {
            self.planned_ms.store(now, Ordering::Relaxed);
        }
        old
    }
}

/// A connection that some work has, until this is dropped: first the connection is free again, and then
/// the next may take one.
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

/// Makes connections to a database.
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

    /// Takes a connection back, unless it is lost or in doubt, or leads to a Postgres that only reads, as one
    /// does after a failover, or its transaction was left half way. There is no question to the server: that
    /// would cost every call a round trip, and a broken connection shows at BEGIN, before anything has
    /// happened.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<ConnectionError> {
        let left = *connection.open.get_mut() || *connection.useless.get_mut();
        if left || connection.wire.is_given_up() || connection.wire.connection_mut().is_broken() {
            return Err(RecycleError::message("lost, in doubt, useless, or left in a transaction"));
        }
        Ok(())
    }
}
