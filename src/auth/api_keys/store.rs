//! `api_keys`: rows of the service, not of a tenant, read on a connection with the owner's rights.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::secret::Hash;
use crate::contract::Word;
use crate::db::schema::api_keys::{self, dsl};
use crate::identity::{Scopes, TenantId, Tenants, grants};
use crate::pb::AccessScope;

/// A key, without its secret or anything else that could be used as a key.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
pub struct ApiKey {
    /// The key's id, by which logs name it.
    pub id: Uuid,
    /// The key's holder, in the words of the operator.
    pub name: String,
    secret_hash: Vec<u8>,
    all_tenants: bool,
    tenants: Vec<Option<Uuid>>,
    scopes: Vec<Option<String>>,
    /// When the key expires; `None` if it does not.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was last used, to about a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When the key was revoked; `None` if it was not.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    pub(super) revision: i64,
}

impl ApiKey {
    /// The tenants that the key may be used for.
    pub fn tenants(&self) -> Tenants {
        if self.all_tenants {
            return Tenants::All;
        }
        Tenants::Only(self.tenants.iter().flatten().copied().map(TenantId::of_row).collect())
    }

    /// What the key may be used for.
    pub fn scopes(&self) -> Scopes {
        Scopes::of(self.scopes.iter().flatten().filter_map(|word| grants::scope(word)))
    }

    /// The hash of the key's secret; `None` if the row is corrupt.
    pub(super) fn hash(&self) -> Option<Hash> {
        Hash::try_from(self.secret_hash.as_slice()).ok()
    }
}

/// The values of a new key.
pub(super) struct NewRow<'a> {
    pub(super) id: Uuid,
    pub(super) name: &'a str,
    pub(super) hash: Hash,
    pub(super) tenants: &'a Tenants,
    pub(super) scopes: Scopes,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

pub(super) async fn insert(connection: &mut AsyncPgConnection, row: NewRow<'_>) -> QueryResult<ApiKey> {
    let NewRow { id, name, hash, tenants, scopes, expires_at } = row;
    let only: Vec<Uuid> = match tenants {
        Tenants::All => Vec::new(),
        Tenants::Only(tenants) => tenants.iter().map(|tenant| tenant.as_uuid()).collect(),
    };
    diesel::insert_into(dsl::api_keys)
        .values((
            dsl::id.eq(id),
            dsl::name.eq(name),
            dsl::secret_hash.eq(hash.to_vec()),
            dsl::all_tenants.eq(*tenants == Tenants::All),
            dsl::tenants.eq(only),
            dsl::scopes.eq(scopes.list().map(AccessScope::word).collect::<Vec<_>>()),
            dsl::expires_at.eq(expires_at),
        ))
        .returning(ApiKey::as_returning())
        .get_result(connection)
        .await
}

pub(super) async fn list(connection: &mut AsyncPgConnection) -> QueryResult<Vec<ApiKey>> {
    dsl::api_keys.select(ApiKey::as_select()).order(dsl::id).load(connection).await
}

/// Returns the keys with these hashes that exist.
pub(super) async fn find(connection: &mut AsyncPgConnection, hashes: &[Hash]) -> QueryResult<Vec<ApiKey>> {
    let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    dsl::api_keys.filter(dsl::secret_hash.eq_any(hashes)).select(ApiKey::as_select()).load(connection).await
}

/// Revokes a key and returns it; a revoked key stays as it was. `None` if no key has this id.
pub(super) async fn revoke(connection: &mut AsyncPgConnection, id: Uuid) -> QueryResult<Option<ApiKey>> {
    diesel::update(dsl::api_keys.find(id).filter(dsl::revoked_at.is_null()))
        .set((dsl::revoked_at.eq(now), dsl::updated_at.eq(now), dsl::revision.eq(dsl::revision + 1)))
        .execute(connection)
        .await?;
    dsl::api_keys.find(id).select(ApiKey::as_select()).first(connection).await.optional()
}

/// Stores that keys were used just now.
pub(super) async fn touch(connection: &mut AsyncPgConnection, ids: &[Uuid]) -> QueryResult<usize> {
    diesel::update(dsl::api_keys.filter(dsl::id.eq_any(ids)))
        .set(dsl::last_used_at.eq(now))
        .execute(connection)
        .await
}
