//! Decisions about interest that need no database: which events are the same, and which rows they refer to.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::InterestEvent;
use crate::campaigns;
use crate::conversations;
use crate::customers;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::fold;

/// The time after which an event counts half.
pub(crate) const HALF_LIFE: TimeDelta = TimeDelta::days(30);

/// The time for which an event counts: at its end, a 4,096th of it is left.
pub(crate) const WINDOW: TimeDelta = TimeDelta::days(360);

/// The limit of events that scores are computed from: some milliseconds of work, and more than a person causes
/// in a year.
pub(crate) const MAX_SCORED: i64 = 10_000;

/// The number of bytes of a subject that are in its key as they are. A subject that is longer after folding,
/// which expands some letters to whole words, is known by its hash.
const MAX_KEY: usize = 768;

/// The existing rows that events refer to.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Customers, deleted or not.
    pub(crate) customers: HashSet<Uuid>,
    /// Conversations, each with its customer.
    pub(crate) conversations: HashMap<Uuid, Uuid>,
    pub(crate) campaigns: HashSet<Uuid>,
}

/// Returns the key by which a subject is recognised. A subject without letters is its own key.
pub(crate) fn subject_key(subject: &str) -> String {
    let folded = fold::fold(subject);
    fold::key(if folded.is_empty() { subject.to_owned() } else { folded }, MAX_KEY)
}

/// Refuses an event that refers to a missing row.
pub(crate) fn check_references(event: &InterestEvent, around: &Surroundings) -> Result<()> {
    if !around.customers.contains(&event.customer_id) {
        return Err(customers::actions::not_found(event.customer_id));
    }
    if let Some(id) = event.conversation_id {
        conversations::rules::check_of(id, around.conversations.get(&id), event.customer_id)?;
    }
    match event.campaign_id {
        Some(id) if !around.campaigns.contains(&id) => Err(campaigns::rules::not_found(id)),
        _ => Ok(()),
    }
}

/// Refuses an event whose id another one has, unless both have the same content.
pub(crate) fn check_same(known: &InterestEvent, event: &InterestEvent) -> Result<()> {
    if content(known) == content(event) {
        return Ok(());
    }
    Err(Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "this event_id was recorded before with other content; use a new one".to_owned(),
        kind: "interest_event",
        name: known.id.to_string(),
    })
}

/// Returns the error for an event that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::InterestEventNotFound,
        kind: "interest_event",
        name: id.to_string(),
    }
}

/// Returns an event with only the fields that the client set.
fn content(event: &InterestEvent) -> InterestEvent {
    let occurred_at = if event.has_occurred_at { event.occurred_at } else { DateTime::UNIX_EPOCH };
    InterestEvent { id: Uuid::nil(), occurred_at, created_at: DateTime::<Utc>::UNIX_EPOCH, ..event.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The subject is any text that the contract accepts as a subject.
        #[test]
        fn every_subject_has_a_key_that_is_stored(subject in "\\P{Cc}{0,120}[^\\p{Z}\\p{Cc}\\p{Cf}]\\P{Cc}{0,135}") {
            let key = subject_key(&subject);
            prop_assert!((1..=1_024).contains(&key.chars().count()), "{key:?}");
            prop_assert_eq!(subject_key(&subject.to_uppercase()), key);
        }
    }

    #[test]
    fn a_letter_that_stands_for_many_words_is_stored_all_the_same() {
        let key = subject_key(&"\u{fdfa}".repeat(256));
        assert!(key.chars().count() <= 1_024, "{}", key.chars().count());
        assert_ne!(key, subject_key(&"\u{fdfa}".repeat(255)));
    }
}
