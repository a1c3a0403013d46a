//! The secrets of API keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use crate::auth::bearer::KEY_PREFIX;

/// Random bytes of a secret: nobody can guess 256 bits, nor find them by their hash.
const BYTES: usize = 32;

/// What of a secret is kept. Neither salt nor stretching would add anything: they are for secrets that
/// people choose. That it is looked up by an index tells nobody anything either, since whoever does not
/// know a secret cannot choose what its hash begins with.
pub(super) type Hash = [u8; 32];

/// What somebody who calls with a key has to know. Shown once, and kept nowhere.
pub struct Secret(String);

impl Secret {
    /// A new one, of the operating system's randomness.
    ///
    /// # Errors
    ///
    /// Where there is none to be had.
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text that is sent.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(&self.0).into()
    }
}

/// The hash of a text that may be a secret; none for one that no secret looks like, which nobody has to
/// look up.
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
