//! Etags: they identify the state of a row that a client has read.
//!
//! An etag is a hash of values that change with the row. So clients cannot parse it or count with it, and after a
//! restore from a backup the same number of changes gives another etag. It has no secret in it, because it grants
//! nothing: a caller may do everything that it could do with a computed etag without any etag.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The length of an etag in bytes: enough that no two states of a row have the same etag.
const LENGTH: usize = 12;

/// The etag of a row, as clients receive it and send it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Etag([u8; LENGTH]);

impl Etag {
    /// Returns the etag of the row with this id, after this number of changes, the last of them at this time.
    pub fn of(id: Uuid, revision: i64, updated_at: DateTime<Utc>) -> Self {
        let mut hash = Sha256::new();
        hash.update(id.as_bytes());
        hash.update(revision.to_be_bytes());
        hash.update(updated_at.timestamp_micros().to_be_bytes());
        let hash = hash.finalize();
        Self(std::array::from_fn(|place| hash[place]))
    }

    /// Returns the etag that the client sent; `None` if it sends none and accepts any state.
    ///
    /// # Errors
    ///
    /// `ETAG_INVALID` for a text that cannot be an etag.
    pub fn expected(field: &str, text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; LENGTH];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(LENGTH) => Ok(Some(Self(bytes))),
            _ => Err(Error::invalid_because(
                ErrorReason::EtagInvalid,
                field,
                "etag",
                "must be the etag that the resource was read with, or empty",
            )),
        }
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Compares a row with the etag that the client read, if it sends one.
///
/// # Errors
///
/// `ETAG_STALE` if the row has changed since.
pub fn check(expected: Option<Etag>, current: Etag) -> Result<()> {
    match expected {
        Some(expected) if expected != current => Err(Error::Aborted {
            reason: ErrorReason::EtagStale,
            message: "the resource changed since its etag was read; read it again and retry",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(microseconds).expect("a time")
    }

    #[test]
    fn an_etag_is_read_as_it_was_written() {
        for revision in [1, 42, i64::MAX] {
            let etag = Etag::of(Uuid::now_v7(), revision, at(1));
            assert_eq!(Etag::expected("etag", &etag.to_string()).ok(), Some(Some(etag)));
        }
        assert_eq!(Etag::expected("etag", "").ok(), Some(None));
    }

    #[test]
    fn each_state_of_each_row_has_its_own() {
        let id = Uuid::from_u128(1);
        let etag = Etag::of(id, 1, at(5));
        assert_eq!(etag, Etag::of(id, 1, at(5)));
        // The last one is a row after a restore from a backup and one more change.
        for other in [Etag::of(Uuid::from_u128(2), 1, at(5)), Etag::of(id, 2, at(5)), Etag::of(id, 1, at(6))]
        {
            assert_ne!(etag, other);
            assert!(check(Some(etag), other).is_err() && check(None, other).is_ok());
        }
    }

    #[test]
    fn another_text_is_refused() {
        let good = Etag::of(Uuid::from_u128(1), 1, at(5)).to_string();
        assert_eq!(good.len(), 16);
        for bad in [
            "r1",
            &good[1..],
            &format!("{good}="),
            &format!("\"{good}\""),
            &format!(" {good}"),
            &good.repeat(9),
        ] {
            let error = Etag::expected("customer.etag", bad).expect_err(bad);
            assert_eq!(error.reason(), ErrorReason::EtagInvalid);
        }
    }
}
