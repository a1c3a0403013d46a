//! The cryptography of tokens, by ring. The service has ring for TLS anyway. It needs neither the `rsa` crate of
//! jsonwebtoken's pure Rust variant, which has an open advisory, nor the long C build of aws-lc.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// Verifies tokens. It signs none, and creates no JWKs.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Signed { scheme: Scheme::of(*algorithm, key)?, algorithm: *algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes jsonwebtoken use ring. A second call changes nothing.
pub(super) fn install() {
    let _ = RING.install_default();
}

/// How a signature is verified.
enum Scheme {
    Public(&'static dyn VerificationAlgorithm),
    Rsa,
    Secret,
}

impl Scheme {
    /// Returns the scheme of an algorithm, and only for a key of its kind. If a public key were accepted as a secret,
    /// every caller could issue tokens.
    fn of(algorithm: Algorithm, key: &DecodingKey) -> jsonwebtoken::errors::Result<Self> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        match algorithm {
            Algorithm::RS256 => Ok(Self::Rsa),
            Algorithm::ES256 => Ok(Self::Public(&ECDSA_P256_SHA256_FIXED)),
            Algorithm::EdDSA => Ok(Self::Public(&ED25519)),
            Algorithm::HS256 => Ok(Self::Secret),
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        }
    }
}

struct Signed {
    scheme: Scheme,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Signed {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let public = |scheme, key| UnparsedPublicKey::new(scheme, key).verify(message, signature);
        let verified = match (&self.scheme, self.key.kind()) {
            (Scheme::Public(scheme), DecodingKeyKind::SecretOrDer(key)) => public(*scheme, key),
            (Scheme::Rsa, DecodingKeyKind::SecretOrDer(key)) => public(&RSA_PKCS1_2048_8192_SHA256, key),
            (Scheme::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            // In constant time.
            (Scheme::Secret, DecodingKeyKind::SecretOrDer(key)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature)
            }
            (Scheme::Public(_) | Scheme::Secret, DecodingKeyKind::RsaModulusExponent { .. }) => {
                Err(ring::error::Unspecified)
            }
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Signed {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
