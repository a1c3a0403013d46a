//! Told text, in a form that can be recognised.

use sha2::{Digest, Sha256};

use crate::conversations::messages::rules::length;

/// The length and the hash of told text. A watcher keeps no text.
#[derive(Debug, Clone)]
pub(super) struct Said {
    length: i64,
    hash: Sha256,
}

impl Said {
    pub(super) fn new(text: &str) -> Self {
        let mut said = Self { length: 0, hash: Sha256::new() };
        said.push(text);
        said
    }

    /// Returns how many bytes were told.
    pub(super) fn length(&self) -> i64 {
        self.length
    }

    /// Adds the text that follows.
    pub(super) fn push(&mut self, text: &str) {
        self.length = self.length.saturating_add(length(text));
        self.hash.update(text);
    }

    /// Returns whether `text` begins with the told text.
    pub(super) fn begins(&self, text: &str) -> bool {
        let beginning = usize::try_from(self.length).ok().and_then(|length| text.as_bytes().get(..length));
        beginning.is_some_and(|beginning| Sha256::digest(beginning) == self.hash.clone().finalize())
    }

    /// Returns the part of `text` after the told text. `text` must begin with the told text.
    pub(super) fn rest_of<'t>(&self, text: &'t str) -> Option<&'t str> {
        usize::try_from(self.length).ok().and_then(|length| text.get(length..))
    }
}
