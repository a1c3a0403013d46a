//! Watching a conversation: a cursor on what is in the database, moved on by what is told live.
//!
//! A watcher stands at a [`Position`], a point among all that happened. What comes next it takes from
//! the feed as long as that goes on where it stands; otherwise it reads from the database, a page at a
//! time. So nothing is missed or told twice, however much is lost on the way, and a watcher whose
//! client reads slowly holds a page and no more.

mod actions;
mod follower;
mod stream;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use stream::foreign_token;
pub(super) use stream::{Responses, Watches, Wish, open};

/// A point in a conversation: whoever stands here knows every message up to `sequence`, as it was
/// after the conversation's change `change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) sequence: i64,
    pub(crate) change: i64,
    /// The change through which the conversation's own fields are known. They are told last, after the
    /// messages that came before they changed.
    #[serde(default)]
    pub(crate) own: i64,
    /// Whether the conversation is known to be over. What changes then is told as a change, and not as
    /// another end.
    #[serde(default)]
    pub(crate) over: bool,
}
