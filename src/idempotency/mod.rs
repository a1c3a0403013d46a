//! A retry with the same `request_id` answers what the first call answered.
//!
//! The answer is kept in the transaction that made it, so that either both are there or neither.
//! A retry that comes while the first call still runs waits for it: Postgres holds an INSERT of the
//! same key back until the first transaction has ended.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// How long an answer is kept: a client that was cut off over a long weekend may still retry.
const KEPT: TimeDelta = TimeDelta::hours(72);

/// What a request is recognised by.
#[derive(Debug, Clone)]
pub struct Key {
    method: String,
    request_id: Uuid,
    fingerprint: Vec<u8>,
}

impl Key {
    /// The key of a call of `method` with `request`.
    pub fn new(method: &str, request_id: Uuid, request: &impl Message) -> Self {
        Self { method: method.to_owned(), request_id, fingerprint: fingerprint(request) }
    }
}

/// SHA-256 of a message as it is encoded. Fields that a newer contract adds are not encoded while
/// they are unset, so the same request keeps its fingerprint.
pub fn fingerprint(message: &impl Message) -> Vec<u8> {
    Sha256::digest(message.encode_to_vec()).to_vec()
}

/// The answer of the first call with `key`, or nothing when this is the first; then the caller does
/// the work and [`keep`]s its answer, in this transaction.
///
/// # Errors
///
/// `IDEMPOTENCY_KEY_REUSED` when the key came with another request before.
pub async fn recall<R: Message + Default>(tx: &TenantTx, key: &Key) -> Result<Option<R>> {
    let now = Utc::now();
    if store::claim(tx, key, now, expiry(now)?).await? {
        store::delete_expired(tx, now).await?;
        return Ok(None);
    }
    let kept = store::find(tx, key).await?;
    replay(key, kept).map(Some)
}

/// Keeps the answer of the first call with `key`.
///
/// # Errors
///
/// What can happen to any statement.
pub async fn keep(tx: &TenantTx, key: &Key, response: &impl Message) -> Result<()> {
    store::complete(tx, key, response.encode_to_vec()).await
}

fn expiry(now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    now.checked_add_signed(KEPT).ok_or_else(|| Error::internal("the clock is at the end of time"))
}

fn replay<R: Message + Default>(key: &Key, kept: store::Kept) -> Result<R> {
    if kept.fingerprint != key.fingerprint {
        return Err(reused(key.request_id));
    }
    let response = kept.response.ok_or_else(|| Error::internal("a committed request has no answer"))?;
    R::decode(response.as_slice()).map_err(Error::internal)
}

/// The id stands for another request.
pub(crate) fn reused(request_id: Uuid) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message:
            "this request_id was used before with another request; use a new one, or send the same request"
                .to_owned(),
        kind: "request",
        name: request_id.to_string(),
    }
}
