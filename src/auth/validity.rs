//! How long a credential holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// How long is slept at once until a time of the clock, so that a clock that is set right counts soon.
const NAP: Duration = Duration::from_secs(60);

/// Cancelled when what was given is taken back. Whoever gave it can see whether anybody still has it.
pub(super) type Revocation = Arc<CancellationToken>;

/// Until when a credential holds, unless it is taken back before.
#[derive(Debug, Clone, Default)]
pub struct Validity {
    until: Option<SystemTime>,
    revoked: Option<Revocation>,
}

impl Validity {
    /// Until a time, or until it is `revoked`.
    pub(super) fn new(until: Option<SystemTime>, revoked: Revocation) -> Self {
        Self { until, revoked: Some(revoked) }
    }

    /// Whether nothing can end it.
    pub fn is_unlimited(&self) -> bool {
        self.until.is_none() && self.revoked.is_none()
    }

    /// Refuses a credential that has ended.
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

    /// Resolves when the credential ends, with what to tell whoever still uses it.
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
