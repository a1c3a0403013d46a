//! Brings the schema up to date, and distributes it over the nodes of Citus.

#[cfg(test)]
mod lint;
mod pending;
mod stepwise;
mod turn;

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, sql_query};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::runtime::Handle;

use self::stepwise::Stepwise;
use self::turn::Turn;
use super::citus::{self, DistributeError, Distributed};
use super::{Target, Wire};

pub use pending::{Pending, script};

/// All migrations, compiled in.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// How long any statement other than a migration may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a migration waits for a lock. While it waits, all later statements on the table wait behind it.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// How often a migration that does not get a lock is tried: for some three minutes.
const ATTEMPTS: u32 = 60;

/// The pause before a migration asks for its lock again. Statements that wait for the table run meanwhile.
const LET_PASS: Duration = Duration::from_secs(1);

/// The message of Postgres if a lock was not free in time.
const LOCK_TIMEOUT: &str = "canceling statement due to lock timeout";

/// Why the schema is not up to date. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no connection.
    #[error(
        "Postgres at {place} cannot be reached: {cause}. Check DATABASE_URL (or CRM_MIGRATE_DATABASE_URL, if that is \
         set), and that Postgres runs there."
    )]
    Connect {
        /// Where the database is.
        place: String,
        /// Why it cannot be reached.
        cause: diesel::ConnectionError,
    },
    /// The database cannot keep texts as clients send them.
    #[error(
        "The database at {place} has the encoding {encoding}, in which texts are not kept as they are sent. Make \
         another one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL."
    )]
    Encoding {
        /// Where the database is.
        place: String,
        /// The encoding that it has instead of UTF8.
        encoding: String,
    },
    /// A statement failed.
    #[error(
        "The schema at {place} cannot be brought up to date: {cause}. The user of DATABASE_URL must own the schema, \
         and be allowed to create the role crm_app or be a member of it."
    )]
    Migration {
        /// Where the database is.
        place: String,
        /// Why the statement failed.
        cause: String,
    },
    /// The tables could not be distributed.
    #[error("The tables at {place} are not distributed: {cause}")]
    Distribute {
        /// Where the database is.
        place: String,
        /// Why the tables could not be distributed.
        cause: DistributeError,
    },
}

/// Applies the missing migrations, and returns their names. Replicas do so one after the other; a replica that finds
/// none missing does not wait. Needs the multi-thread runtime.
///
/// # Errors
///
/// As [`MigrateError`] says; migrations that succeeded before stay.
pub async fn run(target: &Target) -> Result<Vec<String>, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    let wire = open(target).await?;
    let Some(turn) = Turn::wait_to_migrate(wire).await.map_err(failed)? else { return Ok(Vec::new()) };
    let connection = target
        .open_bare()
        .await
        .map_err(|cause| MigrateError::Connect { place: target.place().to_owned(), cause })?;
    let mut connection = AsyncConnectionWrapper::from(connection);
    let applied = tokio::task::block_in_place(|| apply(&mut connection)).map_err(failed);
    turn.end().await;
    applied
}

/// Distributes the schema over the nodes of Citus, as [`citus::distribute`] does. It has a turn of its own: no other
/// process migrates or distributes meanwhile.
///
/// # Errors
///
/// As [`MigrateError`] says; tables that were distributed before stay so.
pub async fn distribute(target: &Target) -> Result<Distributed, MigrateError> {
    let place = || target.place().to_owned();
    let turn = Turn::wait(open(target).await?).await;
    let turn = turn.map_err(|cause| MigrateError::Migration { place: place(), cause })?;
    let owner = target.open_bare().await.map_err(|cause| MigrateError::Connect { place: place(), cause })?;
    let distributed = citus::distribute(&owner).await;
    turn.end().await;
    distributed.map_err(|cause| MigrateError::Distribute { place: place(), cause })
}

/// Returns what is wrong with how the tables are distributed over Citus, as [`citus::breaches`] says. Waits while
/// another process distributes them. `patience` is the limit for the questions to every node.
///
/// # Errors
///
/// The answer of Postgres to the questions, or why there is no connection.
pub async fn distribution_breaches(target: &Target, patience: Duration) -> Result<Vec<String>, String> {
    let mut waiting = turn::Waiting::default();
    loop {
        // Settings of the database that change meanwhile apply only to connections opened later.
        let mut wire = target.open().await.map_err(|error| error.to_string())?;
        let look = async |connection: &mut AsyncPgConnection| {
            Ok::<_, diesel::result::Error>((
                citus::breaches(connection).await?,
                citus::has_local_tables(connection).await?,
            ))
        };
        // Checked before the tables, so that a distribution that ends in between does not count as a breach.
        let is_taken = turn::is_taken(&mut wire).await?;
        let (breaches, has_local) = wire.ask(patience, look).await.map_err(|error| error.to_string())?;
        if !is_taken || breaches.is_empty() && !has_local {
            return Ok(breaches);
        }
        drop(wire);
        waiting.look_again().await;
    }
}

/// Returns the missing migrations with their texts. Changes nothing, and does not wait.
///
/// # Errors
///
/// As [`run`].
pub async fn pending(target: &Target) -> Result<Vec<Pending>, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    pending::list(&mut open(target).await?).await.map_err(failed)
}

/// Opens a connection to a database that keeps texts as clients send them.
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

/// Applies the missing migrations, each in a transaction of its own, on a thread that may block.
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
    in_transaction(connection, |connection, is_distributed| {
        connection.run_migration(migration).map_err(|error| Failed(error.to_string()))?;
        if is_distributed {
            let added = Handle::current().block_on(citus::distribute_tables(connection));
            added.map_err(|error| Failed(error.to_string()))?;
        }
        Ok(())
    })
}

/// Changes the schema in one transaction. `change` learns whether tables are distributed.
fn in_transaction(
    connection: &mut AsyncConnectionWrapper<AsyncPgConnection>,
    change: impl FnOnce(&mut AsyncConnectionWrapper<AsyncPgConnection>, bool) -> Result<(), Failed>,
) -> Result<(), String> {
    let outcome = connection.transaction(|connection| {
        SimpleConnection::batch_execute(connection, SET_LOCK_TIMEOUT)?;
        let is_distributed = Handle::current().block_on(citus::is_distributed(connection))?;
        if is_distributed {
            SimpleConnection::batch_execute(connection, citus::SET_SEQUENTIAL)?;
        }
        change(connection, is_distributed)
    });
    outcome.map_err(|Failed(cause)| cause)
}

/// Why a migration failed, as the error type inside its transaction.
struct Failed(String);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reverts every migration, the newest first. For tests of the `down` files.
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
    let mut connection = AsyncConnectionWrapper::from(connection);
    tokio::task::block_in_place(|| revert(&mut connection)).map_err(failed)
}

fn revert(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> Result<usize, String> {
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(|error| error.to_string())?;
    let applied = connection.applied_migrations().map_err(|error| error.to_string())?;
    for version in &applied {
        let migration = known.iter().find(|migration| migration.name().version() == *version);
        let migration = migration.ok_or_else(|| format!("there is no migration {version}"))?;
        in_transaction(connection, |connection, _| {
            let reverted = connection.revert_migration(&Stepwise(migration.as_ref()));
            reverted.map(|_| ()).map_err(|error| Failed(error.to_string()))
        })?;
    }
    Ok(applied.len())
}
