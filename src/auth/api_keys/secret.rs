//! The secrets of API keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use crate::auth::bearer::KEY_PREFIX;

/// The random bytes of a secret: 256 bits can neither be guessed nor found from their hash.
const BYTES: usize = 32;

/// What is stored of a secret. Salt and stretching would add nothing: they protect secrets that people choose. The
/// lookup by an index leaks nothing either, since a caller that does not know a secret cannot choose the first bytes
/// of its hash.
pub(super) type Hash = [u8; 32];

/// The text that a caller must send to use a key. It is shown once and stored nowhere.
pub struct Secret(String);

impl Secret {
    /// Creates a secret from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// If the system has no randomness.
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text that a caller sends.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(&self.0).into()
    }
}

/// Returns the hash of a text that may be a secret; `None` if the text cannot be a secret, so that no lookup is
/// needed.
pub(super) fn hash(text: &str) -> Option<Hash> {
    let decoded = URL_SAFE_NO_PAD.decode(text.strip_prefix(KEY_PREFIX)?).ok()?;
    (decoded.len() == BYTES).then(|| Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash() {
        let (one, other) = (Secret::new().expect("randomness"), Secret::new().expect("randomness"));
        assert_eq!(one.expose().len(), KEY_PREFIX.len() + 43);
        assert_eq!(hash(one.expose()), Some(one.hash()));
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn what_no_secret_looks_like_has_no_hash() {
        let secret = Secret::new().expect("randomness");
        let text = secret.expose();
        let longer = format!("{text}A");
        let padded = format!("{text}=");
        for bad in
            ["", "crm_", &text[..text.len() - 1], &longer, &padded, &text[1..], &text.replace("crm_", "crm-")]
        {
            assert_eq!(hash(bad), None, "{bad}");
        }
    }
}
