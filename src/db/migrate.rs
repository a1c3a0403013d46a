//! Brings the schema up to date.

#[cfg(test)]
mod lint;
mod pending;
mod stepwise;

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::migration::Migration;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel::{Connection, QueryableByName, sql_query};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::stepwise::Stepwise;
use super::{Target, Wire, citus};

pub use pending::{Pending, script};

/// All migrations, compiled in.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// The advisory lock that replicas which start together take in turn: any number that nobody else
/// uses in this database, here the letters `crm`.
const LOCK: i64 = 0x63_72_6d;

/// How long a question to Postgres may take that is not a migration.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a replica looks whether it is its turn. In between it holds nothing: a snapshot would keep all of the
/// database from being cleaned up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often it says that it still waits.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// How often a replica whose turn it is shows that it is still there.
const BEAT: Duration = Duration::from_secs(10);

/// Takes the turn of a replica that does not show itself any more: it holds a transaction, so that it loses
/// the lock with its connection, also behind a pooler that hands sessions around.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How long a migration waits for a lock. Behind it everything else waits that needs the table.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// How often a migration is tried that does not get a lock: for some three minutes.
const ATTEMPTS: u32 = 60;

/// How long others have what they wait for, before a migration asks for its lock again.
const LET_PASS: Duration = Duration::from_secs(1);

/// What Postgres says where a lock was not to be had in time.
const LOCK_TIMEOUT: &str = "canceling statement due to lock timeout";

/// Why the schema is not up to date. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(
        "Postgres at {place} cannot be reached: {cause}. Check DATABASE_URL (or CRM_MIGRATE_DATABASE_URL, if that is \
         set), and that Postgres runs there."
    )]
    Connect {
        /// Where.
        place: String,
        /// Why not.
        cause: diesel::ConnectionError,
    },
    /// Texts could not be kept as clients send them.
    #[error(
        "The database at {place} has the encoding {encoding}, in which texts are not kept as they are sent. Make \
         another one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL."
    )]
    Encoding {
        /// Where.
        place: String,
        /// What it has instead of UTF8.
        encoding: String,
    },
    /// A statement failed.
    #[error(
        "The schema at {place} cannot be brought up to date: {cause}. The user of DATABASE_URL must own the schema, \
         and be allowed to create the role crm_app or be a member of it."
    )]
    Migration {
        /// Where.
        place: String,
        /// Why not.
        cause: String,
    },
}

/// Applies the migrations that are missing, and says which. Replicas do so one after the other, and those that find
/// nothing missing wait for nobody. Needs the multi-thread runtime.
///
/// # Errors
///
/// As [`MigrateError`] says; migrations that succeeded before stay.
pub async fn run(target: &Target) -> Result<Vec<String>, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    let wire = open(target).await?;
    let Some(turn) = Turn::wait(wire).await.map_err(failed)? else { return Ok(Vec::new()) };
    let connection = target
        .open_bare()
        .await
        .map_err(|cause| MigrateError::Connect { place: target.place().to_owned(), cause })?;
    let mut connection = AsyncConnectionWrapper::from(connection);
    let applied = tokio::task::block_in_place(|| apply(&mut connection)).map_err(failed);
    turn.end().await;
    applied
}

/// The migrations that are missing, with their texts. Changes nothing, and waits for nobody.
///
/// # Errors
///
/// As [`run`].
pub async fn pending(target: &Target) -> Result<Vec<Pending>, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    pending::list(&mut open(target).await?).await.map_err(failed)
}

/// A connection to a database that keeps texts as they are sent.
async fn open(target: &Target) -> Result<Wire, MigrateError> {
    let place = || target.place().to_owned();
    let mut wire = target.open().await.map_err(|cause| MigrateError::Connect { place: place(), cause })?;
    let encoding = find_encoding(&mut wire).await;
    let encoding = encoding.map_err(|cause| MigrateError::Migration { place: place(), cause })?;
    if encoding != "UTF8" {
        return Err(MigrateError::Encoding { place: place(), encoding });
    }
    Ok(wire)
}

async fn find_encoding(wire: &mut Wire) -> Result<String, String> {
    #[derive(QueryableByName)]
    struct Database {
        #[diesel(sql_type = Text)]
        encoding: String,
    }
    let question = sql_query("SELECT current_setting('server_encoding') AS encoding");
    let database = wire.ask(PATIENCE, async |connection| question.get_result::<Database>(connection).await);
    Ok(database.await.map_err(|error| error.to_string())?.encoding)
}

/// Applies what is missing, each in a transaction of its own, on a thread that may be blocked.
fn apply(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> Result<Vec<String>, String> {
    let pending = connection.transaction(|connection| {
        SimpleConnection::batch_execute(connection, SET_LOCK_TIMEOUT)?;
        connection.pending_migrations(MIGRATIONS).map_err(|error| Failed(error.to_string()))
    });
    let pending = pending.map_err(|Failed(cause)| cause)?;
    let mut applied = Vec::new();
    for migration in pending {
        let name = migration.name().to_string();
        let mut attempts = 1;
        while let Err(error) = apply_once(connection, migration.as_ref()) {
            if attempts == ATTEMPTS || !error.contains(LOCK_TIMEOUT) {
                return Err(error);
            }
            tracing::warn!(
                migration = name,
                attempts,
                "others hold a lock that a migration needs; trying again"
            );
            attempts += 1;
            Handle::current().block_on(tokio::time::sleep(LET_PASS));
        }
        applied.push(name);
    }
    Ok(applied)
}

fn apply_once(
    connection: &mut AsyncConnectionWrapper<AsyncPgConnection>,
    migration: &dyn Migration<Pg>,
) -> Result<(), String> {
    let migration = &Stepwise(migration);
    if !migration.metadata().run_in_transaction() {
        return connection.run_migration(migration).map(|_| ()).map_err(|error| error.to_string());
    }
    let outcome = connection.transaction(|connection| {
        SimpleConnection::batch_execute(connection, SET_LOCK_TIMEOUT)?;
        let is_distributed = Handle::current().block_on(citus::is_distributed(connection))?;
        if is_distributed {
            SimpleConnection::batch_execute(connection, citus::SET_SEQUENTIAL)?;
        }
        connection.run_migration(migration).map_err(|error| Failed(error.to_string()))?;
        if is_distributed {
            let added = Handle::current().block_on(citus::distribute_tables(connection));
            added.map_err(|error| Failed(error.to_string()))?;
        }
        Ok(())
    });
    outcome.map_err(|Failed(cause)| cause)
}

/// Why a migration failed, within its transaction.
struct Failed(String);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.to_string())
    }
}

/// This replica's turn to migrate, until it ends or is dropped.
struct Turn {
    tasks: TaskTracker,
    /// Ends the turn.
    over: DropGuard,
}

impl Turn {
    /// Waits for it, as long as there is something to do.
    async fn wait(mut wire: Wire) -> Result<Option<Self>, String> {
        let mut said: Option<Instant> = None;
        loop {
            if pending::list(&mut wire).await?.is_empty() {
                return Ok(None);
            }
            if take_lock(&mut wire).await? {
                break;
            }
            if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                tracing::info!("waits for another replica's migrations");
                said = Some(Instant::now());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(hold(wire, over.clone()));
        Ok(Some(Self { tasks, over: over.drop_guard() }))
    }

    async fn end(self) {
        let Self { tasks, over } = self;
        drop(over);
        tasks.close();
        tasks.wait().await;
    }
}

/// Takes the lock, in a transaction that stays open, or says that another replica has it.
async fn take_lock(wire: &mut Wire) -> Result<bool, String> {
    #[derive(QueryableByName)]
    struct Lock {
        #[diesel(sql_type = Bool)]
        taken: bool,
    }
    let taken = wire.ask(PATIENCE, async |connection| {
        connection.batch_execute(BEGIN).await?;
        let question = sql_query(format!("SELECT pg_try_advisory_xact_lock({LOCK}) AS taken"));
        let Lock { taken } = question.get_result(connection).await?;
        if !taken {
            connection.batch_execute("ROLLBACK").await?;
        }
        Ok::<_, diesel::result::Error>(taken)
    });
    taken.await.map_err(|error| error.to_string())
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
    // Where that fails, the lock ends with the connection.
    let _ = wire.ask(PATIENCE, async |connection| connection.batch_execute("COMMIT").await).await;
}

/// Takes every migration back, the newest first. For tests of the `down` files.
///
/// # Errors
///
/// As [`run`].
pub async fn revert_all(target: &Target) -> Result<usize, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    let connection = target
        .open_bare()
        .await
        .map_err(|cause| MigrateError::Connect { place: target.place().to_owned(), cause })?;
    let mut harness = AsyncMigrationHarness::<AsyncPgConnection>::new(connection);
    let reverted = harness.revert_all_migrations(MIGRATIONS).map_err(|error| failed(error.to_string()))?;
    Ok(reverted.len())
}
