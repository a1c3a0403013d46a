//! Ids in one form, whatever a client wrote.
//!
//! A UUID in capitals is the same UUID. Ids are compared as texts too: in fingerprints of requests, in the
//! filters of page tokens, in message keys that are made of a `request_id`. So the codec folds them before
//! anybody looks at a message, and no RPC can forget it.

use super::validate::formats::is_uuid;

/// The code that the build wrote.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ids.rs"));
}

/// A message whose UUIDs can be brought into one form.
pub trait FoldIds {
    /// Writes every UUID of the message in small letters. Which fields are UUIDs is what their rules say.
    fn fold_ids(&mut self);
}

impl<T: FoldIds> FoldIds for Box<T> {
    fn fold_ids(&mut self) {
        (**self).fold_ids();
    }
}

/// Writes a text in small letters if it is a UUID. Anything else stays as it is, for the rules to refuse.
pub fn fold(text: &mut str) {
    if is_uuid(text) {
        text.make_ascii_lowercase();
    }
}
