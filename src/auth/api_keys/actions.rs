//! What an operator does with API keys.

use std::time::Duration;

use chrono::Utc;
use diesel_async::AsyncPgConnection;
use uuid::Uuid;

use super::secret::Secret;
use super::store::{self, ApiKey, NewRow};
use crate::identity::{Scopes, Tenants};

/// A key to create.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key's holder, in the words of the operator.
    pub name: String,
    /// The tenants that it may be used for.
    pub tenants: Tenants,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How long the key is valid; without an end if `None`.
    pub lifetime: Option<Duration>,
}

/// Creates a key and returns its secret, which cannot be read again later.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn create(
    connection: &mut AsyncPgConnection,
    new: &NewKey,
) -> diesel::QueryResult<(ApiKey, Secret)> {
    let no_randomness =
        |_| diesel::result::Error::QueryBuilderError("the system has no randomness to give".into());
    let secret = Secret::new().map_err(no_randomness)?;
    let row = NewRow {
        id: Uuid::now_v7(),
        name: &new.name,
        hash: secret.hash(),
        tenants: &new.tenants,
        scopes: new.scopes,
        expires_at: new.lifetime.map(|lifetime| Utc::now() + lifetime),
    };
    Ok((store::insert(connection, row).await?, secret))
}

/// Returns all keys, the oldest first.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn list(connection: &mut AsyncPgConnection) -> diesel::QueryResult<Vec<ApiKey>> {
    store::list(connection).await
}

/// Revokes a key and returns it; `None` if no key has this id.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn revoke(connection: &mut AsyncPgConnection, id: Uuid) -> diesel::QueryResult<Option<ApiKey>> {
    store::revoke(connection, id).await
}
