//! Messages in progress: who writes them, and their text so far.

pub(crate) mod store;
