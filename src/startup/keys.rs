//! `keys`: what an operator does with API keys.

use chrono::{DateTime, SecondsFormat, Utc};
use diesel_async::AsyncPgConnection;
use uuid::Uuid;

use super::{bring_up_to_date, join, say};
use crate::auth::api_keys::{self, ApiKey, NewKey};
use crate::config::{CreateKey, KeysCommand, KeysConfig};
use crate::contract::Word;
use crate::identity::{Scopes, Tenants};
use crate::pb::AccessScope;
use crate::server::ServeError;

/// The gap between two columns of the list.
const GAP: &str = "  ";

/// Why a command on keys failed. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is no database for keys.
    #[error(transparent)]
    Database(#[from] ServeError),
    /// The keys would be lost when this command ends.
    #[error("An ephemeral database ends with this command, and its keys too. Leave --ephemeral out.")]
    Ephemeral,
    /// The key does not exist.
    #[error("There is no API key with the id {0}; `crm-backend keys list` lists all there are.")]
    Unknown(Uuid),
}

/// Creates, lists or revokes keys in the database of the settings, also while a service runs on it.
///
/// # Errors
///
/// Why that failed, in a sentence that says what to do.
pub async fn keys(config: KeysConfig) -> Result<(), KeysError> {
    let database = config.command.database();
    if database.ephemeral {
        return Err(KeysError::Ephemeral);
    }
    let (target, embedded) = join(database).await?;
    // The same as at a start, so that keys can be created before the first one.
    bring_up_to_date(&target, database).await?;
    let place = target.place().to_owned();
    let failed = |cause: String| ServeError::Database { place: place.clone(), cause };
    let mut connection = target.open_bare().await.map_err(|error| failed(error.to_string()))?;
    let done = perform(&mut connection, &config.command).await.map_err(|error| failed(error.to_string()))?;
    // Postgres ends after its last client.
    drop(connection);
    drop(embedded);
    done
}

/// Runs the command. The outer error is the database's, and the inner result the command's.
async fn perform(
    connection: &mut AsyncPgConnection,
    command: &KeysCommand,
) -> diesel::QueryResult<Result<(), KeysError>> {
    match command {
        KeysCommand::Create(create) => {
            let (key, secret) = api_keys::create(connection, &new_key(create)).await?;
            eprintln!("{}This secret is not shown again:", described(&key));
            say(&format!("{}\n", secret.expose()));
        }
        KeysCommand::List(_) => say(&table(&api_keys::list(connection).await?)),
        KeysCommand::Revoke(revoke) => match api_keys::revoke(connection, revoke.id).await? {
            Some(key) => eprint!("{}", described(&key)),
            None => return Ok(Err(KeysError::Unknown(revoke.id))),
        },
    }
    Ok(Ok(()))
}

fn new_key(create: &CreateKey) -> NewKey {
    NewKey {
        name: create.name.clone(),
        tenants: create.tenants.iter().copied().collect(),
        scopes: Scopes::of(create.scopes.iter().copied()),
        lifetime: (!create.never_expires).then_some(create.expires_in),
    }
}

/// The columns of the list, and the cells of a key.
const COLUMNS: [&str; 8] = ["ID", "NAME", "TENANTS", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "REVOKED"];

fn cells(key: &ApiKey) -> [String; COLUMNS.len()] {
    let tenants = match key.tenants() {
        Tenants::All => "*".to_owned(),
        Tenants::Only(tenants) => join_words(tenants.iter().map(ToString::to_string)),
    };
    [
        key.id.to_string(),
        key.name.clone(),
        tenants,
        join_words(key.scopes().list().map(|scope: AccessScope| scope.word().to_lowercase())),
        time(Some(key.created_at)),
        time(key.expires_at),
        time(key.last_used_at),
        time(key.revoked_at),
    ]
}

fn join_words(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}

/// Formats a time to the second; `-` means never.
fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Describes a key, with one line per column.
fn described(key: &ApiKey) -> String {
    let lines = COLUMNS.iter().zip(cells(key));
    lines.map(|(column, cell)| format!("{:<10} {cell}\n", column.to_lowercase())).collect()
}

/// Lists keys in columns, with one line per key.
fn table(keys: &[ApiKey]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(keys.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &[String; COLUMNS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}{GAP}"));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}
