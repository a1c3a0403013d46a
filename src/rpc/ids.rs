//! Brings ids into one form, however a client wrote them.
//!
//! A UUID in capitals is the same UUID. Ids are also compared as texts: in fingerprints of requests, in filters of
//! page tokens, in message keys made from a `request_id`. So the codec folds them before any other code sees a
//! message, and no RPC can forget it.

use crate::contract::validate::formats::is_uuid;

/// The code that the build generated.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ids.rs"));
}

/// A message whose UUIDs can be brought into one form.
pub trait FoldIds {
    /// Writes every UUID of the message in lower case. The rules of a field say whether it is a UUID.
    fn fold_ids(&mut self);
}

impl<T: FoldIds> FoldIds for Box<T> {
    fn fold_ids(&mut self) {
        (**self).fold_ids();
    }
}

/// Writes a text in lower case if it is a UUID. Any other text stays as it is; the rules refuse it.
pub fn fold(text: &mut str) {
    if is_uuid(text) {
        text.make_ascii_lowercase();
    }
}
