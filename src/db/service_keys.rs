//! `service_keys`: secrets that all replicas share.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::service_keys::dsl;

/// Returns the key that signs page tokens. A migration created it.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn page_token(connection: &mut AsyncPgConnection) -> diesel::QueryResult<Vec<u8>> {
    dsl::service_keys.find("page_token").select(dsl::value).first(connection).await
}
