//! Finds out who is calling.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Extensions, HeaderMap};
use tokio_util::sync::CancellationToken;

use super::api_keys::ApiKeys;
use super::bearer::Bearer;
use super::certificates::Certificates;
use super::jwt::Tokens;
use super::validity::Revocation;
use super::{AuthConfig, Mode, Principal, Validity, invalid};
use crate::connection::PeerCertificate;
use crate::db::Target;
use crate::error::{Error, Result};
use crate::metrics::{CacheName, Families};
use crate::pb::ErrorReason;

/// How long what was once true is taken to be so, and how much of it is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// API keys that are remembered, those that are nobody's included: a caller who guesses fills it, and makes
    /// others be looked up again.
    pub remembered_keys: usize,
    /// How long after it was revoked an API key may still be used.
    pub revocation: Duration,
    /// How often a key set behind a URL is read, so that a key that was removed is forgotten.
    pub jwks_refresh: Duration,
    /// How often at most, whatever keys tokens name.
    pub jwks_pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            remembered_keys: 10_000,
            revocation: Duration::from_secs(5),
            jwks_refresh: Duration::from_secs(5 * 60),
            jwks_pause: Duration::from_secs(10),
        }
    }
}

/// Who calls, and how long it may.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Until when what it has sent holds.
    pub validity: Validity,
}

impl Admitted {
    pub(super) fn new(principal: Arc<Principal>, until: Option<SystemTime>, revoked: Revocation) -> Self {
        Self { principal, validity: Validity::new(until, revoked) }
    }
}

/// How callers prove who they are. Copies share what they know.
#[derive(Clone)]
pub struct Authenticator {
    ways: Arc<Ways>,
}

impl fmt::Debug for Authenticator {
    // What it knows are secrets, or as good as that.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authenticator").field("insecure", &self.ways.insecure).finish_non_exhaustive()
    }
}

/// What is taken as proof.
struct Ways {
    /// Nothing is asked for.
    insecure: bool,
    tokens: Option<Tokens>,
    keys: Option<ApiKeys>,
    certificates: Option<Certificates>,
}

impl Authenticator {
    /// Nobody has to prove anything: for an address that only this machine reaches, or behind something
    /// that authenticates callers itself.
    pub fn insecure() -> Self {
        Self::of(Ways { insecure: true, tokens: None, keys: None, certificates: None })
    }

    /// What the settings ask for. Reads what they name.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do, in a sentence.
    pub async fn open(config: &AuthConfig, bounds: Bounds) -> Result<Self, String> {
        let tokens = match config.takes(Mode::Jwt) {
            true => Some(Tokens::open(config, bounds).await?),
            false => None,
        };
        let certificates = match &config.mtls_principals {
            Some(path) if config.takes(Mode::Mtls) => Some(Certificates::open(path)?),
            _ => None,
        };
        let keys = config.takes(Mode::ApiKey).then(|| ApiKeys::new(bounds));
        Ok(Self::of(Ways { insecure: config.takes(Mode::Insecure), tokens, keys, certificates }))
    }

    fn of(ways: Ways) -> Self {
        Self { ways: Arc::new(ways) }
    }

    /// Reads files again: keys of tokens, and who has which certificate. What was read before holds
    /// until then, and where the new is wrong, after it.
    ///
    /// # Errors
    ///
    /// What is wrong with a file.
    pub fn reload(&self) -> Result<(), String> {
        let tokens = self.ways.tokens.as_ref().map_or(Ok(()), Tokens::reload);
        let certificates = self.ways.certificates.as_ref().map_or(Ok(()), Certificates::reload);
        match (tokens, certificates) {
            (Err(one), Err(other)) => Err(format!("{one} {other}")),
            (one, other) => one.and(other),
        }
    }

    /// What goes on beside calls, until `stop`: keys are looked up in the database, and looked at again.
    pub async fn background(self, target: Target, stop: CancellationToken) {
        let follow = async {
            if let Some(tokens) = &self.ways.tokens {
                tokens.follow().await;
            }
        };
        let look_up = async {
            if let Some(keys) = &self.ways.keys {
                keys.look_up(target).await;
            }
        };
        stop.run_until_cancelled(async { tokio::join!(follow, look_up) }).await;
    }

    /// Counts how often something was remembered, and how often not.
    pub(crate) fn count(&self, families: &Families) {
        let Ways { insecure: _, tokens, keys, certificates } = &*self.ways;
        let counts = [
            (CacheName::ApiKeys, keys.as_ref().map(ApiKeys::lookups)),
            (CacheName::Tokens, tokens.as_ref().map(Tokens::lookups)),
            (CacheName::Certificates, certificates.as_ref().map(Certificates::lookups)),
        ];
        for (cache, lookups) in counts {
            families.looked_up(cache, lookups.unwrap_or_default());
        }
    }

    /// Who calls, by the metadata of the call and what is known of its connection.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED, with what to send; UNAVAILABLE where the database that knows does not answer.
    pub async fn authenticate(&self, metadata: &HeaderMap, connection: &Extensions) -> Result<Admitted> {
        let ways = &*self.ways;
        if ways.insecure {
            return Ok(Admitted { principal: Principal::anybody(), validity: Validity::default() });
        }
        match (Bearer::of(metadata)?, &ways.certificates, connection.get::<PeerCertificate>()) {
            (Some(Bearer::Key(secret)), _, _) => match &ways.keys {
                Some(keys) => keys.admit(secret).await,
                None => Err(invalid("this server takes no API keys; send another kind of credential")),
            },
            (Some(Bearer::Token(token)), _, _) => match &ways.tokens {
                Some(tokens) => tokens.admit(token).await,
                None => Err(invalid(
                    "the credential is not an API key, and this server takes nothing else; send an API key",
                )),
            },
            (None, Some(certificates), Some(certificate)) => certificates.admit(certificate),
            (None, _, _) => Err(ways.required()),
        }
    }
}

impl Ways {
    fn required(&self) -> Error {
        required((self.tokens.is_some(), self.keys.is_some()), self.certificates.is_some())
    }
}

/// A call without a credential, where tokens, keys or certificates are taken.
pub(super) fn required((tokens, keys): (bool, bool), certificates: bool) -> Error {
    let kinds = match (tokens, keys) {
        (true, true) => Some("a token or an API key"),
        (true, false) => Some("a token of your issuer"),
        (false, true) => Some("an API key"),
        (false, false) => None,
    };
    let bearer = kinds.map(|kinds| format!("send the metadata \"authorization: Bearer …\" with {kinds}"));
    let certificate = certificates.then(|| "connect with a client certificate".to_owned());
    let ways: Vec<_> = bearer.into_iter().chain(certificate).collect();
    Error::Unauthenticated { reason: ErrorReason::CredentialRequired, message: ways.join(", or ") }
}
