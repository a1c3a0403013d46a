//! Ids by which the service recognizes a call that is repeated.
//!
//! A tool has no place for an id that a model would have to invent and remember. So ids are hashes of what a
//! repetition has in common with the first call, and of nothing that a call with another meaning has in common with
//! it. The id of the JSON-RPC request is not part of it: clients count it from zero in every session, and a model
//! that repeats a call sends another one.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Returns the UUID of these texts: the same for the same texts in the same order.
pub(super) fn uuid_of(texts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for text in texts {
        // With their lengths, so that no text can pass for the end of another and the begin of the next.
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(hash.first_chunk::<16>().unwrap_or(&[0; 16]));
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_have_the_same_id_and_others_another() {
        assert_eq!(uuid_of(&["a", "b"]), uuid_of(&["a", "b"]));
        for other in [["ab", ""], ["", "ab"], ["b", "a"], ["a", "b "]] {
            assert_ne!(uuid_of(&["a", "b"]), uuid_of(&other), "{other:?}");
        }
        assert_eq!(uuid_of(&[]).get_version_num(), 8);
    }
}
