//! Etags: the revision of a row, as text.

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The etag of a revision.
pub fn from_revision(revision: i64) -> String {
    format!("r{revision}")
}

/// The revision that the client read, or nothing where it does not care.
///
/// # Errors
///
/// `ETAG_INVALID` for a text that is no etag.
pub fn to_revision(field: &str, etag: &str) -> Result<Option<i64>> {
    if etag.is_empty() {
        return Ok(None);
    }
    let digits = etag.strip_prefix('r').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(revision) if from_revision(revision) == etag => Ok(Some(revision)),
        _ => Err(Error::invalid_because(
            ErrorReason::EtagInvalid,
            field,
            "etag",
            "must be the etag that the resource was read with, or empty",
        )),
    }
}

/// Holds a row at `revision` to the revision that the client read, where it read one.
///
/// # Errors
///
/// `ETAG_STALE` when the row has changed since.
pub fn check(expected: Option<i64>, revision: i64) -> Result<()> {
    match expected {
        Some(expected) if expected != revision => Err(Error::Aborted {
            reason: ErrorReason::EtagStale,
            message: "the resource changed since its etag was read; read it again and retry",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_what_it_was_made_of() {
        for revision in [1, 42, i64::MAX] {
            assert_eq!(to_revision("etag", &from_revision(revision)).ok(), Some(Some(revision)));
        }
        assert_eq!(to_revision("etag", "").ok(), Some(None));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["r", "1", "r-1", "r+1", "r01", "r1 ", "R1", "\"r1\"", "r99999999999999999999", "x"] {
            let error = to_revision("customer.etag", bad).expect_err(bad);
            assert_eq!(error.reason(), ErrorReason::EtagInvalid);
        }
    }
}
