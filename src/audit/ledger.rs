//! Which messages need an event of their own.
//!
//! There are too many messages for a row each. The first message that a principal writes to a conversation has
//! an event, committed with it. The event covers the principal's later messages there for a while. The ledger
//! remembers committed events. It is a bounded cache: if it forgets an event, or a process ends, that costs
//! another event and nothing else.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use chrono::{DateTime, Utc};
use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use uuid::Uuid;

use crate::pb::ErrorReason;

/// The limit of events that are remembered: as many conversations as a process may have open at once, in some
/// ten megabytes.
const REMEMBERED: usize = 100_000;

/// The key of an event of messages: its writer, its place, and why the messages were refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing<'n> {
    pub(crate) tenant: Uuid,
    pub(crate) principal: &'n str,
    pub(crate) conversation_id: Uuid,
    /// The reason why messages were refused; `None` if they were accepted.
    pub(crate) refused: Option<ErrorReason>,
}

/// The events that cover writes.
pub(crate) struct Ledger {
    /// The time of the last event for each key.
    events: Cache<Key, DateTime<Utc>>,
    cover: Duration,
}

impl Ledger {
    /// Creates a ledger whose events cover this much time each.
    pub(crate) fn new(cover: Duration) -> Self {
        Self { events: Cache::new(REMEMBERED), cover }
    }

    /// Returns when an event of this moment ceases to cover writes.
    pub(crate) fn covers_until(&self, event: DateTime<Utc>) -> DateTime<Utc> {
        event.checked_add_signed(chrono::TimeDelta::from_std(self.cover).unwrap_or_default()).unwrap_or(event)
    }

    /// Returns whether an event covers a write of this moment. An event that is later than now, because the
    /// clock went back, does not.
    pub(crate) fn covers(&self, writing: Writing<'_>, now: DateTime<Utc>) -> bool {
        self.events.get(&writing).is_some_and(|event| event <= now && now < self.covers_until(event))
    }

    /// Remembers an event. It must be committed.
    pub(crate) fn enter(&self, writing: Writing<'_>, event: DateTime<Utc>) {
        let Writing { tenant, principal, conversation_id, refused } = writing;
        let key = Key { tenant, principal: principal.to_owned(), conversation_id, refused };
        self.events.insert(key, event);
    }
}

/// A [`Writing`] that owns its principal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    tenant: Uuid,
    principal: String,
    conversation_id: Uuid,
    refused: Option<ErrorReason>,
}

impl Key {
    fn writing(&self) -> Writing<'_> {
        let Self { tenant, principal, conversation_id, refused } = self;
        Writing { tenant: *tenant, principal, conversation_id: *conversation_id, refused: *refused }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.writing().hash(state);
    }
}

impl Hash for Writing<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { tenant, principal, conversation_id, refused } = self;
        (tenant, principal, conversation_id, refused.map(i32::from)).hash(state);
    }
}

impl Equivalent<Key> for Writing<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let Self { tenant, principal, conversation_id, refused } = self;
        key.conversation_id == *conversation_id
            && key.tenant == *tenant
            && key.principal == *principal
            && key.refused == *refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + seconds, 0).expect("a time")
    }

    fn writing(principal: &str, conversation: u128) -> Writing<'_> {
        let conversation_id = Uuid::from_u128(conversation);
        Writing { tenant: Uuid::from_u128(1), principal, conversation_id, refused: None }
    }

    #[test]
    fn an_event_covers_a_minute_of_one_principal_in_one_conversation() {
        let ledger = Ledger::new(MINUTE);
        assert!(!ledger.covers(writing("ana", 1), at(0)), "nothing was written");
        ledger.enter(writing("ana", 1), at(0));
        assert!(ledger.covers(writing("ana", 1), at(0)));
        assert!(ledger.covers(writing("ana", 1), at(59)));
        assert!(!ledger.covers(writing("ana", 1), at(60)), "the minute is over");
        assert!(!ledger.covers(writing("ana", 1), at(-1)), "the clock went back");
        assert!(!ledger.covers(writing("ben", 1), at(0)), "another principal");
        assert!(!ledger.covers(writing("ana", 2), at(0)), "another conversation");
        let other = Writing { tenant: Uuid::from_u128(2), ..writing("ana", 1) };
        assert!(!ledger.covers(other, at(0)), "another tenant");
        let refused = Writing { refused: Some(ErrorReason::ConversationEnded), ..writing("ana", 1) };
        assert!(!ledger.covers(refused, at(0)), "what is refused is not what is taken");
    }

    #[test]
    fn what_is_forgotten_is_not_covered() {
        let ledger = Ledger { events: Cache::new(1), cover: MINUTE };
        for conversation in 0..1_000 {
            ledger.enter(writing("ana", conversation), at(0));
        }
        let covered = (0..1_000).filter(|conversation| ledger.covers(writing("ana", *conversation), at(0)));
        assert!(covered.count() < 100);
    }
}
