//! One process at a time changes the schema: it migrates it, or distributes it over Citus.

use std::time::{Duration, Instant};

use diesel::sql_types::Bool;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{PATIENCE, pending};
use crate::db::Wire;

/// The advisory lock that replicas which start together take in turn. Any number that nothing else uses in this
/// database works; this is the letters `crm`.
const LOCK: i64 = 0x63_72_6d;

/// How often a replica checks whether it can have the turn. In between it holds no transaction: a snapshot would keep
/// the whole database from being vacuumed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often it logs that it still waits.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// How often the replica that has the turn shows that it is alive.
const BEAT: Duration = Duration::from_secs(10);

/// Begins a transaction that ends if the replica stops showing that it is alive. The lock belongs to the transaction,
/// so it is lost with the connection, even behind a pooler that moves clients between sessions.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// This process's turn to change the schema, until it ends or is dropped.
pub(super) struct Turn {
    tasks: TaskTracker,
    /// Ends the turn when dropped.
    over: DropGuard,
}

impl Turn {
    /// Waits for the turn.
    pub(super) async fn wait(mut wire: Wire) -> Result<Self, String> {
        let mut waiting = Waiting::default();
        while !take_lock(&mut wire).await? {
            waiting.look_again().await;
        }
        Ok(Self::held_by(wire))
    }

    /// Waits for the turn as long as migrations are missing. Returns `None` if none is missing.
    pub(super) async fn wait_to_migrate(mut wire: Wire) -> Result<Option<Self>, String> {
        let mut waiting = Waiting::default();
        loop {
            if pending::list(&mut wire).await?.is_empty() {
                return Ok(None);
            }
            if take_lock(&mut wire).await? {
                return Ok(Some(Self::held_by(wire)));
            }
            waiting.look_again().await;
        }
    }

    fn held_by(wire: Wire) -> Self {
        let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(hold(wire, over.clone()));
        Self { tasks, over: over.drop_guard() }
    }

    pub(super) async fn end(self) {
        let Self { tasks, over } = self;
        drop(over);
        tasks.close();
        tasks.wait().await;
    }
}

/// A wait for another process's turn to end, with lines in the log.
#[derive(Default)]
pub(super) struct Waiting {
    /// When the wait was last logged.
    said: Option<Instant>,
}

impl Waiting {
    /// Waits until it is time to check again.
    pub(super) async fn look_again(&mut self) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            tracing::info!("waits for another replica's migrations or distribution");
            self.said = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether another process has the turn. Does not take the turn.
pub(super) async fn is_taken(wire: &mut Wire) -> Result<bool, String> {
    // The lock is released at the end of the statement.
    let question = format!("SELECT pg_try_advisory_xact_lock_shared({LOCK}) AS taken");
    let free = wire.ask(PATIENCE, async |connection| is_locked_by(connection, question).await);
    free.await.map(|free| !free).map_err(|error| error.to_string())
}

/// Takes the lock, in a transaction that stays open. Returns false if another process has it.
async fn take_lock(wire: &mut Wire) -> Result<bool, String> {
    let question = format!("SELECT pg_try_advisory_xact_lock({LOCK}) AS taken");
    let taken = wire.ask(PATIENCE, async |connection| {
        connection.batch_execute(BEGIN).await?;
        let taken = is_locked_by(connection, question).await?;
        if !taken {
            connection.batch_execute("ROLLBACK").await?;
        }
        Ok::<_, diesel::result::Error>(taken)
    });
    taken.await.map_err(|error| error.to_string())
}

/// Whether a statement got the lock that it tries to take.
async fn is_locked_by(connection: &mut AsyncPgConnection, statement: String) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Lock {
        #[diesel(sql_type = Bool)]
        taken: bool,
    }
    Ok(sql_query(statement).get_result::<Lock>(connection).await?.taken)
}

/// Keeps the transaction with the lock until the turn is over.
async fn hold(mut wire: Wire, over: CancellationToken) {
    while over.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
        let beat = wire.ask(PATIENCE, async |connection| connection.batch_execute("SELECT 1").await);
        if let Err(error) = beat.await {
            tracing::warn!(%error, "the lock of the migrations is lost; another replica may begin with them too");
            return;
        }
    }
    // If that fails, the lock ends with the connection.
    let _ = wire.ask(PATIENCE, async |connection| connection.batch_execute("COMMIT").await).await;
}
