//! The keys that tokens are verified with.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::auth::validity::Revocation;

/// The minimum length of the secret of HS256: that of its hash. A shorter secret would be the weaker part.
const MIN_SECRET: usize = 32;

/// The minimum length of the modulus of an RSA key in bytes: 2,048 bits, the least that is still safe.
const MIN_RSA: usize = 256;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key, for tokens of one algorithm.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// Shows whether a key that was read again is the same.
    fingerprint: [u8; 32],
    /// Cancelled when the issuer no longer has the key.
    retired: Revocation,
}

impl Key {
    fn new(kid: Option<String>, algorithm: Algorithm, decoding: DecodingKey) -> Self {
        let mut hash = Sha256::new();
        match decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => hash.update(bytes),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                hash.update(n);
                hash.update(e);
            }
        }
        let fingerprint = hash.finalize().into();
        Self { kid, algorithm, decoding, fingerprint, retired: Revocation::default() }
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Cancelled when tokens signed with this key are no longer valid.
    pub(super) fn retired(&self) -> &Revocation {
        &self.retired
    }

    fn is(&self, other: &Self) -> bool {
        (&self.kid, self.algorithm, self.fingerprint) == (&other.kid, other.algorithm, other.fingerprint)
    }
}

/// Why there is no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// No key could have signed the token.
    Unknown,
    /// More than one key could have signed it, and the token does not say which.
    Ambiguous,
}

/// All keys of an issuer.
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads the keys of a JSON Web Key Set that sign by one of these algorithms. Other keys in it are ignored.
    pub(super) fn of_jwks(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        let keys = set.keys.into_iter().filter_map(|key| of_jwk(&serde_json::from_value(key).ok()?));
        let keys: Vec<_> = keys.filter(|key| algorithms.contains(&key.algorithm)).collect();
        if keys.is_empty() {
            return Err(format!("it has no key for {algorithms:?} with which a signature can be verified"));
        }
        Ok(Self(keys))
    }

    /// Reads the single public key of a PEM file.
    pub(super) fn of_pem(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text)
            .map_err(|_| "it is no PEM file that begins with -----BEGIN PUBLIC KEY-----".to_owned())?;
        let key = of_spki(&der).ok_or("it is no key of RSA (2048 bits or more), P-256 or Ed25519")?;
        if !algorithms.contains(&key.algorithm) {
            return Err(format!("it is a key for {:?}, which --jwt-algorithms leaves out", key.algorithm));
        }
        Ok(Self(vec![key]))
    }

    /// Reads the secret of HS256. A line break at its end, which editors add, does not belong to it.
    pub(super) fn of_secret(bytes: &[u8]) -> Result<Self, String> {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if secret.len() < MIN_SECRET {
            return Err(format!("it has {} bytes, and fewer than {MIN_SECRET} can be guessed", secret.len()));
        }
        Ok(Self(vec![Key::new(None, Algorithm::HS256, DecodingKey::from_secret(secret))]))
    }

    /// Returns the key for a token of this algorithm: the key with the token's `kid`, or without a name if the token
    /// has none. If there is no such key, and the token or the key has no name, the algorithm decides.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Miss> {
        let of_algorithm = || self.0.iter().filter(move |key| key.algorithm == algorithm);
        let exact = of_algorithm().filter(|key| key.kid.as_deref() == kid);
        let possible = of_algorithm().filter(|key| kid.is_none() || key.kid.is_none());
        match only(exact) {
            Err(Miss::Unknown) => only(possible),
            found => found,
        }
    }

    /// Replaces earlier keys. Tokens verified with an earlier key that is still there stay valid; all others end.
    pub(super) fn replace(&mut self, former: &Self) {
        for old in &former.0 {
            match self.0.iter_mut().find(|key| key.is(old)) {
                Some(same) => same.retired = old.retired.clone(),
                None => old.retired.cancel(),
            }
        }
    }
}

fn only<'k>(mut keys: impl Iterator<Item = &'k Key>) -> Result<&'k Key, Miss> {
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => Err(Miss::Unknown),
        (Some(_), Some(_)) => Err(Miss::Ambiguous),
    }
}

/// Returns a public key of a set, if it verifies signatures by a known algorithm.
fn of_jwk(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // A secret in a published set is never used as a key.
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|algorithm| algorithm != named) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let weak = matches!(decoding.kind(), DecodingKeyKind::RsaModulusExponent { n, .. } if n.len() < MIN_RSA);
    (!weak).then(|| Key::new(jwk.common.key_id.clone(), algorithm, decoding))
}

fn of_spki(der: &[u8]) -> Option<Key> {
    let info = SubjectPublicKeyInfoRef::try_from(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    let (algorithm, decoding) = match info.algorithm.oid {
        RSA if key.len() >= MIN_RSA => (Algorithm::RS256, DecodingKey::from_rsa_der(key)),
        ELLIPTIC if info.algorithm.parameters_oid() == Ok(P256) => {
            (Algorithm::ES256, DecodingKey::from_ec_der(key))
        }
        ED25519 => (Algorithm::EdDSA, DecodingKey::from_ed_der(key)),
        _ => return None,
    };
    Some(Key::new(None, algorithm, decoding))
}

#[cfg(test)]
mod tests;
