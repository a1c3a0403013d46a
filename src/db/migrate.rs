//! Brings the schema up to date.

use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Target;

/// All migrations, compiled in.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// The advisory lock that replicas which start together take in turn: any number that nobody else
/// uses in this database, here the letters `crm`.
const LOCK: i64 = 0x63_72_6d;

/// Why the schema is not up to date. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(
        "Postgres at {place} cannot be reached: {cause}. Check DATABASE_URL, and that Postgres runs there."
    )]
    Connect {
        /// Where.
        place: String,
        /// Why not.
        cause: diesel::ConnectionError,
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

/// Applies the migrations that are missing, and says which. Needs the multi-thread runtime.
///
/// # Errors
///
/// As [`MigrateError`] says; migrations that succeeded before stay.
pub async fn run(target: &Target) -> Result<Vec<String>, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    let mut connection = target
        .open()
        .await
        .map_err(|cause| MigrateError::Connect { place: target.place().to_owned(), cause })?;
    connection
        .batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))
        .await
        .map_err(|error| failed(error.to_string()))?;
    // The lock goes with the connection, which ends here, whatever happens.
    let mut harness = AsyncMigrationHarness::<AsyncPgConnection>::new(connection);
    let applied = harness.run_pending_migrations(MIGRATIONS).map_err(|error| failed(error.to_string()))?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

/// Takes every migration back, the newest first. For tests of the `down` files.
///
/// # Errors
///
/// As [`run`].
pub async fn revert_all(target: &Target) -> Result<usize, MigrateError> {
    let failed = |cause: String| MigrateError::Migration { place: target.place().to_owned(), cause };
    let connection = target
        .open()
        .await
        .map_err(|cause| MigrateError::Connect { place: target.place().to_owned(), cause })?;
    let mut harness = AsyncMigrationHarness::<AsyncPgConnection>::new(connection);
    let reverted = harness.revert_all_migrations(MIGRATIONS).map_err(|error| failed(error.to_string()))?;
    Ok(reverted.len())
}
