//! Tokens that an issuer signed (JWT).

mod claims;
mod crypto;
mod keys;
mod remote;
mod source;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::validity::expired;
use super::{Admitted, AuthConfig, Bounds, invalid};
use crate::error::{Error, Result};
use claims::{Claims, Names};
use keys::Miss;
use source::Source;

/// The number of verified tokens that are remembered. A token takes about a kilobyte; a token of 8 KiB that names two
/// hundred tenants takes twenty.
const REMEMBERED: usize = 10_000;

/// Accepts tokens.
pub(super) struct Tokens {
    source: Source,
    rules: Rules,
    names: Names,
    /// The results for verified tokens, by their hashes: a token is verified once, and not with every call.
    verified: Cache<[u8; 32], Admitted>,
}

/// The checks on a token.
struct Rules {
    algorithms: Vec<Algorithm>,
    issuer: String,
    audience: String,
    leeway: Duration,
}

impl Tokens {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// Why there are no keys, and what to do.
    pub(super) async fn open(config: &AuthConfig, bounds: Bounds) -> Result<Self, String> {
        crypto::install();
        let rules = Rules {
            algorithms: config.jwt_algorithms.iter().map(|signature| signature.algorithm()).collect(),
            issuer: config.jwt_issuer.clone().unwrap_or_default(),
            audience: config.jwt_audience.clone().unwrap_or_default(),
            leeway: Duration::from_secs(config.jwt_leeway.into()),
        };
        let names =
            Names { tenants: config.jwt_tenants_claim.clone(), scope: config.jwt_scope_claim.clone() };
        let source = Source::open(config, bounds).await?;
        Ok(Self { source, rules, names, verified: Cache::new(REMEMBERED) })
    }

    /// Returns how often a token was found in memory, and how often not.
    pub(super) fn lookups(&self) -> (u64, u64) {
        (self.verified.hits(), self.verified.misses())
    }

    /// See [`Source::reload`].
    pub(super) fn reload(&self) -> Result<(), String> {
        self.source.reload()
    }

    /// See [`Source::follow`].
    pub(super) async fn follow(&self) {
        self.source.follow().await;
    }

    /// Returns the principal that has this token.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID`, `CREDENTIAL_EXPIRED`.
    pub(super) async fn admit(&self, token: &str) -> Result<Admitted> {
        let hash = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&hash) {
            if known.validity.check().is_ok() {
                return Ok(known);
            }
            // It is verified again, so that the error names its present fault.
            self.verified.remove(&hash);
        }
        let admitted = self.verify(token).await?;
        // jsonwebtoken rounds to seconds, and would accept the token slightly longer than its streams may stay open.
        admitted.validity.check()?;
        self.verified.insert(hash, admitted.clone());
        Ok(admitted)
    }

    async fn verify(&self, token: &str) -> Result<Admitted> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| refusal(&error))?;
        self.rules.check(&header)?;
        let keys = self.source.keys_with(header.kid.as_deref(), header.alg).await;
        let key = keys.find(header.kid.as_deref(), header.alg).map_err(|miss| unknown(miss, &header))?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.decoding(), &self.rules.of(header.alg));
        let claims = decoded.map_err(|error| refusal(&error))?.claims;
        let until = claims.expiry().and_then(|expiry| expiry.checked_add(self.rules.leeway));
        let until: SystemTime = until.ok_or_else(|| {
            invalid("the claim exp of the token is no time; have your issuer write seconds since 1970")
        })?;
        let principal = claims.principal(&self.names)?;
        Ok(Admitted::new(Arc::new(principal), Some(until), key.retired().clone()))
    }
}

impl Rules {
    /// Refuses tokens that no key can make valid.
    fn check(&self, header: &Header) -> Result<()> {
        if !self.algorithms.contains(&header.alg) {
            return Err(invalid(
                "the token is signed by an algorithm that this server does not take; have your issuer use one that it takes",
            ));
        }
        // The header `crit` lists extensions that must be understood; this server supports none.
        if header.crit.is_some() {
            return Err(invalid(
                "the token has the header crit, which this server does not take; leave it out",
            ));
        }
        Ok(())
    }

    /// Returns the checks for jsonwebtoken.
    fn of(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        validation
    }
}

fn unknown(miss: Miss, header: &Header) -> Error {
    tracing::debug!(?miss, kid = header.kid, algorithm = ?header.alg, "no key for a token");
    match miss {
        Miss::Unknown => invalid(
            "the token is signed with a key that this server does not know; get one of the issuer that it trusts",
        ),
        Miss::Ambiguous => {
            invalid("the token does not say which key it is signed with; send kid in its header")
        }
    }
}

/// Returns the error for the check that a token failed. It repeats nothing of the token.
fn refusal(error: &jsonwebtoken::errors::Error) -> Error {
    match error.kind() {
        ErrorKind::ExpiredSignature => expired(),
        ErrorKind::ImmatureSignature => not_yet(),
        ErrorKind::InvalidSignature => {
            invalid("the signature of the token does not fit its key; send the token as the issuer made it")
        }
        ErrorKind::InvalidIssuer => invalid(
            "the claim iss of the token names an issuer that this server does not trust; get one of its own issuer",
        ),
        ErrorKind::InvalidAudience => invalid(
            "the claim aud of the token names another audience; ask the issuer for a token for this server",
        ),
        ErrorKind::InvalidAlgorithm => {
            invalid("the key that the token names is not one for its algorithm; get a new token")
        }
        ErrorKind::MissingRequiredClaim(claim) => {
            invalid(format!("the token lacks the claim {claim}; have your issuer add it"))
        }
        ErrorKind::InvalidClaimFormat(claim) => {
            invalid(format!("the claim {claim} of the token is malformed; get a new token"))
        }
        _ => invalid(
            "the credential is neither an API key nor a token that can be read; was all of it copied?",
        ),
    }
}

fn not_yet() -> Error {
    Error::Unauthenticated {
        reason: crate::pb::ErrorReason::CredentialExpired,
        message: "your credential is not valid yet; call again when it is".to_owned(),
    }
}
