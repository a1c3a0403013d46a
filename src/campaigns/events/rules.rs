//! Decisions about events that need no database.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::store::{Known, NewEvent};
use crate::conversations;
use crate::customers;
use crate::error::{Error, Result};
use crate::pb::{AssignmentStatus, CampaignEventKind as Kind, ConsentState, ErrorReason};

/// What can happen, in the order of the contract.
pub(crate) const KINDS: [Kind; 12] = [
    Kind::Sent,
    Kind::Bounced,
    Kind::Delivered,
    Kind::Opened,
    Kind::Clicked,
    Kind::Replied,
    Kind::Converted,
    Kind::OptedOut,
    Kind::OptedIn,
    Kind::SpamReported,
    Kind::Deferred,
    Kind::Dropped,
];

/// What a customer says by an event about being contacted; nothing by most. As it is stored, a state has the
/// word of the kind.
pub(crate) const fn consent(kind: Kind) -> Option<ConsentState> {
    match kind {
        Kind::OptedIn => Some(ConsentState::OptedIn),
        Kind::OptedOut => Some(ConsentState::OptedOut),
        Kind::SpamReported => Some(ConsentState::SpamReported),
        Kind::Unspecified
        | Kind::Sent
        | Kind::Bounced
        | Kind::Delivered
        | Kind::Opened
        | Kind::Clicked
        | Kind::Replied
        | Kind::Converted
        | Kind::Deferred
        | Kind::Dropped => None,
    }
}

/// How far an event brings a customer whom its campaign is for.
pub(crate) fn status_after(kind: Kind) -> AssignmentStatus {
    match kind {
        Kind::Unspecified | Kind::OptedIn => AssignmentStatus::Assigned,
        Kind::Sent | Kind::Deferred => AssignmentStatus::Sent,
        Kind::Bounced | Kind::Dropped => AssignmentStatus::Bounced,
        Kind::Delivered => AssignmentStatus::Delivered,
        Kind::Opened => AssignmentStatus::Opened,
        Kind::Clicked => AssignmentStatus::Clicked,
        Kind::Replied => AssignmentStatus::Replied,
        Kind::Converted => AssignmentStatus::Converted,
        Kind::OptedOut | Kind::SpamReported => AssignmentStatus::OptedOut,
    }
}

/// An event that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) id: Uuid,
    /// Whether it was before.
    pub(crate) deduplicated: bool,
}

/// What there is, to tell why events were not recorded.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The currency of the campaign.
    pub(crate) currency: Option<String>,
    /// The events that are recorded, by the client's ids.
    pub(crate) events: HashMap<String, Known>,
    /// The customers that there are.
    pub(crate) customers: HashSet<Uuid>,
    /// With whom the conversations are that there are.
    pub(crate) conversations: HashMap<Uuid, Uuid>,
}

impl Findings {
    /// What became of an event that was not recorded.
    ///
    /// # Errors
    ///
    /// Why it is refused; or a conflict where nothing is wrong with it, because what was missing has come
    /// in between.
    pub(crate) fn judge(&self, event: &NewEvent) -> Result<Recorded> {
        if let Some(known) = self.events.get(&event.event_id) {
            if !self.is_same(event, known) {
                return Err(reused(event));
            }
            return Ok(Recorded { id: known.id, deduplicated: true });
        }
        self.check_currency(event)?;
        if !self.customers.contains(&event.customer_id) {
            return Err(customers::actions::not_found(event.customer_id));
        }
        if let Some(id) = event.conversation_id {
            conversations::rules::check_of(id, self.conversations.get(&id), event.customer_id)?;
        }
        Err(Error::Aborted {
            reason: ErrorReason::Conflict,
            message: "other calls changed what the events are about at the same time; retry",
        })
    }

    /// Whether an event says what one says that is recorded under its id.
    fn is_same(&self, event: &NewEvent, known: &Known) -> bool {
        let NewEvent {
            id: _,
            event_id: _,
            customer_id,
            kind,
            occurred_at,
            has_occurred_at,
            conversation_id,
            cost_micros,
            currency,
            channel,
        } = event;
        (*customer_id, *kind, *conversation_id, *cost_micros)
            == (known.customer_id, known.kind, known.conversation_id, known.cost_micros)
            // Where it is not said, it is what the campaign had at the time.
            && (channel.is_none() || *channel == known.channel)
            && *has_occurred_at == known.has_occurred_at
            && (!has_occurred_at || *occurred_at == known.occurred_at)
            && (currency.is_none() || *currency == self.currency)
    }

    /// Refuses a cost that is not in the campaign's currency.
    fn check_currency(&self, event: &NewEvent) -> Result<()> {
        let must = match (&event.currency, &self.currency) {
            (Some(_), None) => {
                "must be that of the campaign, which has none: set its budget first".to_owned()
            }
            (Some(own), Some(campaigns)) if own != campaigns => {
                format!("must be {campaigns}, as the amounts of the campaign")
            }
            _ => return Ok(()),
        };
        Err(Error::invalid("cost.currency_code", "money.currency", must))
    }
}

/// The id stands for something else that happened.
fn reused(event: &NewEvent) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "the campaign has an event with this event_id and other content; use a new one".to_owned(),
        kind: "campaign_event",
        name: event.event_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::pb::ContactChannel;
    use crate::rpc::words::{Text, Word};

    fn event() -> NewEvent {
        NewEvent {
            id: Uuid::from_u128(1),
            event_id: "a".to_owned(),
            customer_id: Uuid::from_u128(2),
            kind: Text(Kind::Opened),
            occurred_at: DateTime::from_timestamp(1_795_000_000, 0).expect("a time"),
            has_occurred_at: false,
            conversation_id: None,
            cost_micros: None,
            currency: None,
            channel: None,
        }
    }

    /// What is found where this event is recorded.
    fn recorded(event: &NewEvent) -> Findings {
        let known = Known {
            id: Uuid::from_u128(9),
            event_id: event.event_id.clone(),
            customer_id: event.customer_id,
            kind: event.kind,
            occurred_at: event.occurred_at,
            has_occurred_at: event.has_occurred_at,
            conversation_id: event.conversation_id,
            cost_micros: event.cost_micros,
            channel: event.channel,
        };
        let events = HashMap::from([(event.event_id.clone(), known)]);
        Findings { events, currency: event.currency.clone(), ..Findings::default() }
    }

    #[test]
    fn what_is_further_down_the_list_brings_further() {
        let statuses = KINDS.map(|kind| i32::from(status_after(kind)));
        assert_eq!(statuses, [2, 3, 4, 5, 6, 7, 8, 9, 1, 9, 2, 3]);
    }

    #[test]
    fn every_kind_is_counted() {
        let kinds = (1..).map_while(|number| Kind::try_from(number).ok());
        assert_eq!(kinds.collect::<Vec<_>>(), KINDS);
    }

    /// The statement that keeps consents stores the kind of an event as the state, and lets the larger word
    /// decide between two at the same time.
    #[test]
    fn a_state_of_consent_has_the_word_of_its_kind_and_the_stricter_one_is_larger() {
        let states: Vec<_> = KINDS
            .into_iter()
            .filter_map(|kind| {
                let state = consent(kind)?;
                assert_eq!(state.word(), kind.word());
                Some(state)
            })
            .collect();
        let all = (1..).map_while(|number| ConsentState::try_from(number).ok());
        let mut sorted: Vec<_> = all.collect();
        assert!(states.len() == sorted.len() && sorted.iter().all(|state| states.contains(state)));
        sorted.sort_by_key(|state| state.word());
        assert_eq!(sorted, [ConsentState::OptedIn, ConsentState::OptedOut, ConsentState::SpamReported]);
    }

    #[test]
    fn a_channel_counts_where_it_is_said() {
        let by = |channel| NewEvent { channel, ..event() };
        let (email, sms) = (Some(Text(ContactChannel::Email)), Some(Text(ContactChannel::Sms)));
        for (other, same) in [(email, true), (None, true), (sms, false)] {
            assert_eq!(recorded(&by(email)).judge(&by(other)).is_ok(), same, "{other:?}");
        }
    }

    #[test]
    fn an_event_without_a_time_is_the_same_whenever_it_comes() {
        let first = event();
        let later = NewEvent { occurred_at: first.occurred_at + TimeDelta::hours(1), ..event() };
        let same = recorded(&first).judge(&later).expect("the same");
        assert_eq!(same, Recorded { id: Uuid::from_u128(9), deduplicated: true });
        let said = NewEvent { has_occurred_at: true, ..event() };
        for (recorded_one, other) in [(&first, &said), (&said, &first)] {
            let error = recorded(recorded_one).judge(other).expect_err("another");
            assert_eq!(error.reason(), ErrorReason::IdempotencyKeyReused);
        }
        let later = NewEvent { has_occurred_at: true, ..later };
        assert!(recorded(&said).judge(&later).is_err());
    }

    #[test]
    fn a_cost_in_another_currency_is_another() {
        let costly = |currency: &str| NewEvent {
            cost_micros: Some(5),
            currency: Some(currency.to_owned()),
            ..event()
        };
        assert!(recorded(&costly("EUR")).judge(&costly("EUR")).is_ok());
        assert!(recorded(&costly("EUR")).judge(&costly("USD")).is_err());
    }

    #[test]
    fn what_is_wrong_with_nothing_is_tried_again() {
        let event = NewEvent { conversation_id: Some(Uuid::from_u128(3)), ..event() };
        let mut findings = Findings::default();
        let reason = |findings: &Findings| findings.judge(&event).expect_err("not recorded").reason();
        assert_eq!(reason(&findings), ErrorReason::CustomerNotFound);
        findings.customers.insert(event.customer_id);
        assert_eq!(reason(&findings), ErrorReason::ConversationNotFound);
        findings.conversations.insert(Uuid::from_u128(3), Uuid::from_u128(4));
        assert_eq!(reason(&findings), ErrorReason::ConversationNotFound, "another customer's");
        findings.conversations.insert(Uuid::from_u128(3), event.customer_id);
        assert!(findings.judge(&event).expect_err("it came in between").is_conflict());
    }
}
