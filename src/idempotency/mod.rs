//! A retry with the same `request_id` gets the answer of the first call.
//!
//! The answer is stored in the transaction that made it, so that either both exist or neither. A retry during the
//! first call waits for it: Postgres blocks an INSERT of the same key until the first transaction has ended.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// How long an answer is kept: a client that lost its connection may still retry after a long weekend.
const KEPT: TimeDelta = TimeDelta::hours(72);

/// What identifies a request.
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

/// Returns the SHA-256 of an encoded message with its UUIDs in lower case: the same id in capitals is the same
/// request. Unset fields are not encoded. So fields that a newer contract adds do not change the fingerprint of the
/// same request.
pub fn fingerprint(message: &impl Message) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    lower_uuids(&mut bytes);
    Sha256::digest(bytes).to_vec()
}

/// Writes everything that looks like a UUID in lower case, in any field. If two requests with one key differ only in
/// that, the fingerprint need not detect it.
fn lower_uuids(bytes: &mut [u8]) {
    /// The length of a UUID, and the positions of its hyphens.
    const LENGTH: usize = 36;
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let is_uuid = |text: &[u8]| {
        text.iter().enumerate().all(|(place, byte)| match HYPHENS.contains(&place) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
    };
    let mut rest = bytes;
    while let Some(text) = rest.get_mut(..LENGTH) {
        let found = text[HYPHENS[0]] == b'-' && is_uuid(text);
        if found {
            text.make_ascii_lowercase();
        }
        rest = rest.split_at_mut(if found { LENGTH } else { 1 }).1;
    }
}

/// Returns the answer of the first call with `key`; `None` if this call is the first. Then the caller does the work
/// and [`keep`]s its answer in this transaction.
///
/// # Errors
///
/// `IDEMPOTENCY_KEY_REUSED` if the key was used with another request before.
pub async fn recall<R: Message + Default>(tx: &TenantTx, key: &Key) -> Result<Option<R>> {
    let now = Utc::now();
    if store::claim(tx, key, now, expiry(now)?).await? {
        store::delete_expired(tx, now).await?;
        return Ok(None);
    }
    let kept = store::find(tx, key).await?;
    replay(key, kept).map(Some)
}

/// Stores the answer of the first call with `key`.
///
/// # Errors
///
/// Any error that a statement may have.
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

/// Returns the error for an id that was used with another request.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pb::GetCustomerRequest;

    fn of(id: &str) -> Vec<u8> {
        fingerprint(&GetCustomerRequest { id: id.to_owned(), ..Default::default() })
    }

    #[test]
    fn an_id_in_capitals_is_the_same_request_and_other_texts_are_others() {
        let id = "0199d1c0-0000-7000-8000-00000000abcd";
        assert_eq!(of(id), of(&id.to_uppercase()));
        for (one, other) in
            [("a", "A"), ("0199d1c0-0000-7000-8000-00000000abc", "0199D1C0-0000-7000-8000-00000000ABC")]
        {
            assert_ne!(of(one), of(other));
        }
    }

    proptest! {
        #[test]
        fn only_uuids_are_written_otherwise(before in "[a-zA-Z0-9-]{0,40}", id in any::<u128>(), after in "[G-Z ]{0,5}") {
            let id = Uuid::from_u128(id).to_string();
            let write = |id: &str| {
                let mut bytes = format!("{before} {id}{after}").into_bytes();
                lower_uuids(&mut bytes);
                String::from_utf8(bytes).expect("text")
            };
            prop_assert_eq!(write(&id), write(&id.to_uppercase()));
            let same = write(&id).eq_ignore_ascii_case(&format!("{before} {id}{after}"));
            prop_assert!(same);
        }
    }
}
