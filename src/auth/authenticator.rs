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
use super::{AuthConfig, Mode, Validity, invalid};
use crate::connection::PeerCertificate;
use crate::db::Target;
use crate::error::{Error, Result};
use crate::identity::Principal;
use crate::metrics::{CacheName, Families};
use crate::pb::ErrorReason;

/// How long earlier results are trusted, and how many of them are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The number of API keys that are remembered, unknown ones included. A caller that guesses keys fills it, so
    /// that other keys are looked up again.
    pub remembered_keys: usize,
    /// How long an API key may still be used after it was revoked.
    pub revocation: Duration,
    /// How often a key set behind a URL is read, so that removed keys stop working.
    pub jwks_refresh: Duration,
    /// The shortest time between two such reads, regardless of the keys that tokens name.
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

/// A caller, and how long its credential is valid.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The caller.
    pub principal: Arc<Principal>,
    /// How long its credential is valid.
    pub validity: Validity,
}

impl Admitted {
    pub(super) fn new(principal: Arc<Principal>, until: Option<SystemTime>, revoked: Revocation) -> Self {
        Self { principal, validity: Validity::new(until, revoked) }
    }
}

/// How callers prove who they are. Clones share their memory.
#[derive(Clone)]
pub struct Authenticator {
    ways: Arc<Ways>,
}

impl fmt::Debug for Authenticator {
    // The fields hold secrets, or values that could be used as such.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authenticator").field("insecure", &self.ways.insecure).finish_non_exhaustive()
    }
}

/// The kinds of proof that are accepted.
struct Ways {
    /// No proof is required.
    insecure: bool,
    tokens: Option<Tokens>,
    keys: Option<ApiKeys>,
    certificates: Option<Certificates>,
}

impl Authenticator {
    /// Accepts every caller without proof: for an address that only this machine reaches, or behind a proxy that
    /// authenticates callers itself.
    pub fn insecure() -> Self {
        Self::of(Ways { insecure: true, tokens: None, keys: None, certificates: None })
    }

    /// Creates what the settings ask for. Reads the files and URLs that they name.
    ///
    /// # Errors
    ///
    /// What is wrong with them, and what to do, in a sentence.
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

    /// Reads the files again: the keys of tokens, and the principals of certificates. The earlier contents stay valid
    /// until then, and also afterwards if the new contents are invalid.
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

    /// Runs the background work until `stop`: reads key sets again, and looks API keys up in the database.
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

    /// Counts how often a result was found in memory, and how often not.
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

    /// Identifies the caller by the metadata of the call and the certificate of its connection.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED, with what to send; UNAVAILABLE if the database with the keys does not answer.
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
        required(&Accepted {
            tokens: self.tokens.is_some(),
            keys: self.keys.is_some(),
            certificates: self.certificates.is_some(),
        })
    }
}

/// The kinds of credentials that are accepted.
pub(super) struct Accepted {
    pub(super) tokens: bool,
    pub(super) keys: bool,
    pub(super) certificates: bool,
}

/// Returns the error for a call without a credential.
pub(super) fn required(accepted: &Accepted) -> Error {
    let kinds = match (accepted.tokens, accepted.keys) {
        (true, true) => Some("a token or an API key"),
        (true, false) => Some("a token of your issuer"),
        (false, true) => Some("an API key"),
        (false, false) => None,
    };
    let bearer = kinds.map(|kinds| format!("send the metadata \"authorization: Bearer …\" with {kinds}"));
    let certificate = accepted.certificates.then(|| "connect with a client certificate".to_owned());
    let ways: Vec<_> = bearer.into_iter().chain(certificate).collect();
    Error::Unauthenticated { reason: ErrorReason::CredentialRequired, message: ways.join(", or ") }
}
