//! Messages in progress: their producers, and their text so far.

pub(crate) mod store;
