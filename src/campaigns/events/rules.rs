//! Decisions about events that need no database.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::model::{Event, NewEvent, RecordedEvent};
use crate::db::words::Text;
use crate::error::{Error, Result};
#[cfg(test)]
use crate::pb::{AssignmentStatus, ConsentState};
use crate::pb::{CampaignEventKind as Kind, ContactChannel, ErrorReason};
use crate::{campaigns, conversations, customers};

/// The kinds of events, in the order of the contract.
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

/// Returns the consent that a customer gives by an event; `None` for most kinds. A stored consent has the word
/// of the kind. The statement that records events has these kinds in its SQL, which a test compares.
#[cfg(test)]
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

/// Returns how far an event brings an assigned customer. The statements have this in their SQL, which a test
/// compares.
#[cfg(test)]
pub(crate) fn status_after(kind: Kind) -> AssignmentStatus {
    match kind {
        // A statement about being contacted is a consent, and not a stage.
        Kind::Unspecified | Kind::OptedIn | Kind::OptedOut | Kind::SpamReported => AssignmentStatus::Assigned,
        Kind::Sent | Kind::Deferred => AssignmentStatus::Sent,
        Kind::Bounced | Kind::Dropped => AssignmentStatus::Bounced,
        Kind::Delivered => AssignmentStatus::Delivered,
        Kind::Opened => AssignmentStatus::Opened,
        Kind::Clicked => AssignmentStatus::Clicked,
        Kind::Replied => AssignmentStatus::Replied,
        Kind::Converted => AssignmentStatus::Converted,
    }
}

/// The limit of campaigns of the events of a call: each has a gate to pass.
pub(crate) const MAX_CAMPAIGNS: usize = 100;

/// The result for a recorded event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) event: Event,
    /// Whether it was recorded before.
    pub(crate) deduplicated: bool,
}

/// Returns a new event as it was recorded at this time, with its channel.
pub(crate) fn recorded(
    event: &NewEvent,
    channel: Option<Text<ContactChannel>>,
    now: DateTime<Utc>,
) -> Recorded {
    let NewEvent {
        id,
        campaign_id,
        event_id,
        customer_id,
        kind,
        occurred_at,
        has_occurred_at: _,
        conversation_id,
        cost_micros,
        currency,
        channel: _,
        bounce_kind,
        detail,
        url,
    } = event.clone();
    let event = Event {
        id,
        campaign_id,
        event_id,
        customer_id,
        kind,
        occurred_at,
        conversation_id,
        cost_micros,
        created_at: now,
        channel,
        bounce_kind,
        detail,
        url,
        currency,
    };
    Recorded { event, deduplicated: false }
}

impl RecordedEvent {
    /// Returns the event for a list, with the currency of its campaign.
    pub(crate) fn with(self, currency: Option<String>) -> Event {
        let Self {
            id,
            campaign_id,
            event_id,
            customer_id,
            kind,
            occurred_at,
            has_occurred_at: _,
            conversation_id,
            cost_micros,
            channel,
            bounce_kind,
            detail,
            url,
            created_at,
        } = self;
        Event {
            id,
            campaign_id,
            event_id,
            customer_id,
            kind,
            occurred_at,
            conversation_id,
            cost_micros,
            created_at,
            channel,
            bounce_kind,
            detail,
            url,
            currency,
        }
    }
}

/// Returns the error for an event that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::CampaignEventNotFound,
        kind: "campaign_event",
        name: id.to_string(),
    }
}

/// The existing rows that tell why events were not recorded.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The existing campaigns, each with its currency.
    pub(crate) campaigns: HashMap<Uuid, Option<String>>,
    /// The recorded events, by the client's ids.
    pub(crate) events: HashMap<String, RecordedEvent>,
    /// The existing customers.
    pub(crate) customers: HashSet<Uuid>,
    /// The customers of the existing conversations, by the ids of the conversations.
    pub(crate) conversations: HashMap<Uuid, Uuid>,
}

impl Findings {
    /// Returns the result for an event that was not recorded by the statement: the event with its id, if that
    /// has the same content.
    ///
    /// # Errors
    ///
    /// The reason why it is refused. A conflict if nothing is wrong with it, because another call has added the
    /// missing row in between.
    pub(crate) fn judge(&self, event: &NewEvent) -> Result<Recorded> {
        if let Some(known) = self.events.get(&event.event_id) {
            if !self.is_same(event, known) {
                return Err(reused(event));
            }
            let currency = self.currency_of(known.campaign_id).cloned();
            return Ok(Recorded { event: known.clone().with(currency), deduplicated: true });
        }
        if !self.campaigns.contains_key(&event.campaign_id) {
            return Err(campaigns::rules::not_found(event.campaign_id));
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

    /// Returns whether an event has the same content as the recorded event with its id.
    fn is_same(&self, event: &NewEvent, known: &RecordedEvent) -> bool {
        let NewEvent {
            id: _,
            campaign_id,
            event_id: _,
            customer_id,
            kind,
            occurred_at,
            has_occurred_at,
            conversation_id,
            cost_micros,
            currency,
            channel,
            bounce_kind,
            detail,
            url,
        } = event;
        (*campaign_id, *customer_id, *kind, *conversation_id, *cost_micros)
            == (known.campaign_id, known.customer_id, known.kind, known.conversation_id, known.cost_micros)
            && (*bounce_kind, detail, url) == (known.bounce_kind, &known.detail, &known.url)
            // If the client sets no channel, the event has the campaign's channel of that time.
            && (channel.is_none() || *channel == known.channel)
            && *has_occurred_at == known.has_occurred_at
            && (!has_occurred_at || *occurred_at == known.occurred_at)
            && (currency.is_none() || currency.as_ref() == self.currency_of(known.campaign_id))
    }

    /// Returns the currency of a campaign, if it exists and has one.
    fn currency_of(&self, campaign_id: Uuid) -> Option<&String> {
        self.campaigns.get(&campaign_id)?.as_ref()
    }

    /// Refuses a cost that is not in the campaign's currency.
    fn check_currency(&self, event: &NewEvent) -> Result<()> {
        let must = match (event.currency.as_ref(), self.currency_of(event.campaign_id)) {
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

/// Returns the error for an id that belongs to an event with other content.
fn reused(event: &NewEvent) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: "the tenant has an event with this event_id and other content; use a new one".to_owned(),
        kind: "campaign_event",
        name: event.event_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::contract::Word;

    fn event() -> NewEvent {
        NewEvent {
            id: Uuid::from_u128(1),
            campaign_id: Uuid::from_u128(8),
            event_id: "a".to_owned(),
            customer_id: Uuid::from_u128(2),
            kind: Text(Kind::Opened),
            occurred_at: DateTime::from_timestamp(1_795_000_000, 0).expect("a time"),
            has_occurred_at: false,
            conversation_id: None,
            cost_micros: None,
            currency: None,
            channel: None,
            bounce_kind: None,
            detail: String::new(),
            url: String::new(),
        }
    }

    /// Returns what is found if this event is recorded.
    fn found(event: &NewEvent) -> Findings {
        let known = RecordedEvent {
            id: Uuid::from_u128(9),
            campaign_id: event.campaign_id,
            event_id: event.event_id.clone(),
            customer_id: event.customer_id,
            kind: event.kind,
            occurred_at: event.occurred_at,
            has_occurred_at: event.has_occurred_at,
            conversation_id: event.conversation_id,
            cost_micros: event.cost_micros,
            channel: event.channel,
            bounce_kind: event.bounce_kind,
            detail: event.detail.clone(),
            url: event.url.clone(),
            created_at: event.occurred_at,
        };
        let events = HashMap::from([(event.event_id.clone(), known)]);
        let campaigns = HashMap::from([(event.campaign_id, event.currency.clone())]);
        Findings { events, campaigns, ..Findings::default() }
    }

    #[test]
    fn what_is_further_down_the_list_brings_further() {
        let statuses = KINDS.map(|kind| i32::from(status_after(kind)));
        assert_eq!(statuses, [20, 30, 40, 50, 60, 70, 80, 10, 10, 10, 20, 30]);
    }

    #[test]
    fn every_kind_is_counted() {
        let kinds = (1..).map_while(|number| Kind::try_from(number).ok());
        assert_eq!(kinds.collect::<Vec<_>>(), KINDS);
    }

    /// The statement that stores consents stores the kind of an event as the state. Between two at the same
    /// time, it lets the larger word decide.
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
            assert_eq!(found(&by(email)).judge(&by(other)).is_ok(), same, "{other:?}");
        }
    }

    #[test]
    fn an_event_of_another_campaign_or_with_other_details_is_another() {
        let first = event();
        for other in [
            NewEvent { campaign_id: Uuid::from_u128(7), ..event() },
            NewEvent { bounce_kind: Some(Text(crate::pb::BounceKind::Hard)), ..event() },
            NewEvent { detail: "550".to_owned(), ..event() },
            NewEvent { url: "https://example.com".to_owned(), ..event() },
        ] {
            let error = found(&first).judge(&other).expect_err("another");
            assert_eq!(error.reason(), ErrorReason::IdempotencyKeyReused);
        }
    }

    #[test]
    fn an_event_without_a_time_is_the_same_whenever_it_comes() {
        let first = event();
        let later = NewEvent { occurred_at: first.occurred_at + TimeDelta::hours(1), ..event() };
        let same = found(&first).judge(&later).expect("the same");
        assert_eq!((same.event.id, same.deduplicated), (Uuid::from_u128(9), true));
        let said = NewEvent { has_occurred_at: true, ..event() };
        for (recorded_one, other) in [(&first, &said), (&said, &first)] {
            let error = found(recorded_one).judge(other).expect_err("another");
            assert_eq!(error.reason(), ErrorReason::IdempotencyKeyReused);
        }
        let later = NewEvent { has_occurred_at: true, ..later };
        assert!(found(&said).judge(&later).is_err());
    }

    #[test]
    fn a_cost_in_another_currency_is_another() {
        let costly = |currency: &str| NewEvent {
            cost_micros: Some(5),
            currency: Some(currency.to_owned()),
            ..event()
        };
        assert!(found(&costly("EUR")).judge(&costly("EUR")).is_ok());
        assert!(found(&costly("EUR")).judge(&costly("USD")).is_err());
    }

    #[test]
    fn what_is_wrong_with_nothing_is_tried_again() {
        let event = NewEvent { conversation_id: Some(Uuid::from_u128(3)), ..event() };
        let mut findings = Findings::default();
        let reason = |findings: &Findings| findings.judge(&event).expect_err("not recorded").reason();
        assert_eq!(reason(&findings), ErrorReason::CampaignNotFound);
        findings.campaigns.insert(event.campaign_id, None);
        assert_eq!(reason(&findings), ErrorReason::CustomerNotFound);
        findings.customers.insert(event.customer_id);
        assert_eq!(reason(&findings), ErrorReason::ConversationNotFound);
        findings.conversations.insert(Uuid::from_u128(3), Uuid::from_u128(4));
        assert_eq!(reason(&findings), ErrorReason::ConversationNotFound, "another customer's");
        findings.conversations.insert(Uuid::from_u128(3), event.customer_id);
        assert!(findings.judge(&event).expect_err("it came in between").is_conflict());
    }
}
