//! `idempotency_keys`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Key;
use crate::db::TenantTx;
use crate::db::schema::idempotency_keys::{self, dsl};
use crate::error::Result;

/// How many expired keys a call removes for the one that it adds: more than one, so that the table
/// shrinks, but few, so that no call does much extra work.
const SWEEP: i64 = 8;

/// The stored values of a first call.
#[derive(Queryable, Selectable)]
#[diesel(table_name = idempotency_keys)]
pub(super) struct Kept {
    pub(super) fingerprint: Vec<u8>,
    pub(super) response: Option<Vec<u8>>,
}

/// Takes the key, and returns whether it was free or expired. Waits while another transaction holds
/// it.
pub(super) async fn claim(
    tx: &TenantTx,
    key: &Key,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<bool> {
    use diesel::query_dsl::methods::FilterDsl;
    use diesel::upsert::excluded;
    let upsert = diesel::insert_into(dsl::idempotency_keys)
        .values((
            dsl::tenant_id.eq(tx.tenant()),
            dsl::method.eq(&key.method),
            dsl::request_id.eq(key.request_id),
            dsl::fingerprint.eq(&key.fingerprint),
            dsl::expires_at.eq(expires_at),
        ))
        .on_conflict((dsl::tenant_id, dsl::method, dsl::request_id))
        .do_update()
        .set((
            dsl::fingerprint.eq(excluded(dsl::fingerprint)),
            dsl::response.eq(None::<Vec<u8>>),
            dsl::expires_at.eq(excluded(dsl::expires_at)),
            dsl::updated_at.eq(now),
            dsl::revision.eq(dsl::revision + 1),
        ));
    let claimed = FilterDsl::filter(upsert, dsl::expires_at.le(now)).execute(&mut tx.connection()).await?;
    Ok(claimed == 1)
}

/// Returns the stored values of a key.
pub(super) async fn find(tx: &TenantTx, key: &Key) -> Result<Kept> {
    let kept = dsl::idempotency_keys
        .find((tx.tenant(), &key.method, key.request_id))
        .select(Kept::as_select())
        .first(&mut tx.connection())
        .await?;
    Ok(kept)
}

/// Stores the answer.
pub(super) async fn complete(tx: &TenantTx, key: &Key, response: Vec<u8>) -> Result<()> {
    diesel::update(dsl::idempotency_keys.find((tx.tenant(), &key.method, key.request_id)))
        .set(dsl::response.eq(Some(response)))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Deletes a few expired keys, except those that other transactions have locked.
pub(super) async fn delete_expired(tx: &TenantTx, now: DateTime<Utc>) -> Result<()> {
    let tenant = tx.tenant();
    let expired: Vec<(String, uuid::Uuid)> = dsl::idempotency_keys
        .filter(dsl::tenant_id.eq(tenant))
        .filter(dsl::expires_at.le(now))
        .select((dsl::method, dsl::request_id))
        .order(dsl::expires_at)
        .limit(SWEEP)
        .for_update()
        .skip_locked()
        .load(&mut tx.connection())
        .await?;
    for (method, request_id) in expired {
        diesel::delete(dsl::idempotency_keys.find((tenant, method, request_id)))
            .execute(&mut tx.connection())
            .await?;
    }
    Ok(())
}
