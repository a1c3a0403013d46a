//! How long a credential is valid.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The longest single sleep until a time of the clock, so that a correction of the clock takes effect soon.
const NAP: Duration = Duration::from_secs(60);

/// Cancelled when a grant is revoked. The count of its clones shows the granting side whether a holder is left.
pub(super) type Revocation = Arc<CancellationToken>;

/// Until when a credential is valid, unless it is revoked before.
#[derive(Debug, Clone, Default)]
pub struct Validity {
    until: Option<SystemTime>,
    revoked: Option<Revocation>,
}

impl Validity {
    /// Valid until a time, or until it is `revoked`.
    pub(super) fn new(until: Option<SystemTime>, revoked: Revocation) -> Self {
        Self { until, revoked: Some(revoked) }
    }

    /// Whether nothing can end the validity.
    pub fn is_unlimited(&self) -> bool {
        self.until.is_none() && self.revoked.is_none()
    }

    /// Refuses a credential that is no longer valid.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_REVOKED`, `CREDENTIAL_EXPIRED`.
    pub(super) fn check(&self) -> Result<()> {
        if self.revoked.as_ref().is_some_and(|revoked| revoked.is_cancelled()) {
            return Err(revoked());
        }
        match self.until {
            Some(until) if until <= SystemTime::now() => Err(expired()),
            _ => Ok(()),
        }
    }

    /// Resolves when the credential ends, with the error for the calls that still use it.
    pub async fn end(self) -> Error {
        let taken_back = async {
            match &self.revoked {
                Some(revoked) => revoked.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = taken_back => revoked(),
            () = pass(self.until) => expired(),
        }
    }
}

async fn pass(until: Option<SystemTime>) {
    let Some(until) = until else { return std::future::pending().await };
    while let Ok(left) = until.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(NAP)).await;
    }
}

pub(super) fn expired() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::CredentialExpired,
        message: "your credential has expired; call again with a new one".to_owned(),
    }
}

pub(super) fn revoked() -> Error {
    Error::Unauthenticated {
        reason: ErrorReason::CredentialRevoked,
        message: "your credential was revoked; ask those who run the server for another".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_unlimited_does_not_end() {
        assert!(Validity::default().is_unlimited());
        assert!(Validity::default().check().is_ok());
        let end = tokio::time::timeout(Duration::from_millis(10), Validity::default().end()).await;
        assert!(end.is_err());
    }

    #[tokio::test]
    async fn a_credential_ends_at_its_time() {
        let until = SystemTime::now() + Duration::from_millis(20);
        let validity = Validity::new(Some(until), Revocation::default());
        assert_eq!(validity.clone().end().await.reason(), ErrorReason::CredentialExpired);
        assert!(SystemTime::now() >= until);
        assert_eq!(validity.check().map_err(|error| error.reason()), Err(ErrorReason::CredentialExpired));
    }

    #[tokio::test]
    async fn a_credential_ends_when_it_is_taken_back() {
        let token = Revocation::default();
        let validity = Validity::new(None, Arc::clone(&token));
        assert!(validity.check().is_ok() && !validity.is_unlimited());
        token.cancel();
        assert_eq!(validity.clone().end().await.reason(), ErrorReason::CredentialRevoked);
        assert_eq!(validity.check().map_err(|error| error.reason()), Err(ErrorReason::CredentialRevoked));
    }
}
