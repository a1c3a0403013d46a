//! Watching a conversation: a cursor on the rows of the database, moved on by live events.
//!
//! A watcher stands at a [`Position`], a point among all events. It takes the next events from the feed as long
//! as they follow directly on its position. Otherwise it reads from the database, a page at a time. So no event
//! is missed or told twice, however many signals are lost. A watcher whose client reads slowly holds one page
//! and no more.

mod actions;
mod follower;
mod stream;
mod ticks;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use stream::foreign_token;
pub(super) use stream::{Params, Responses, Watches, open};

/// A point in a conversation. A watcher at this point knows every message up to `sequence`, as it was after the
/// change `change` of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) sequence: i64,
    pub(crate) change: i64,
    /// The number of the change up to which the conversation's own fields are known. They are told last, after
    /// the messages that came before they changed.
    #[serde(default)]
    pub(crate) own: i64,
    /// Whether the client knows that the conversation is over. Later changes of its fields are told as changes,
    /// and not as another end.
    #[serde(default)]
    pub(crate) over: bool,
}
