//! Events: messages ⇄ rows.

use chrono::{DateTime, Utc};
use tonic_types::pb as google_rpc;
use uuid::Uuid;

use super::rules::Recorded;
use super::store::{Event, Filter, NewEvent};
use crate::conversations;
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::together::{self, Together};
use crate::rpc::words::{stored, stored_each, wire};
use crate::rpc::{self, money, times};

/// The events of a call: each as it is to be recorded, or what is wrong with it.
pub(crate) struct Batch {
    /// Those that may be recorded, in order.
    pub(crate) events: Vec<NewEvent>,
    /// For every event of the call its id of the client's, and the error of one that may not be.
    items: Vec<(String, Option<google_rpc::Status>)>,
}

impl Batch {
    /// The events of a call that came at this time.
    pub(crate) fn new(request: &pb::RecordCampaignEventsRequest, now: DateTime<Utc>) -> Self {
        let mut batch = Self {
            events: Vec::with_capacity(request.events.len()),
            items: Vec::with_capacity(request.events.len()),
        };
        for event in &request.events {
            let error = match new_event(event, Uuid::now_v7(), now) {
                Ok(event) => {
                    batch.events.push(event);
                    None
                }
                Err(error) => Some(error.into()),
            };
            batch.items.push((event.event_id.clone(), error));
        }
        batch
    }

    /// The answer, with what became of those that could be recorded, in their order.
    pub(crate) fn answer(&self, outcomes: Vec<Result<Recorded>>) -> pb::RecordCampaignEventsResponse {
        let mut outcomes = outcomes.into_iter();
        let answer = |(event_id, error): &(String, Option<google_rpc::Status>)| {
            let outcome = match error {
                Some(error) => Err(error.clone()),
                // There is one for each of them.
                None => outcomes
                    .next()
                    .unwrap_or_else(|| Err(Error::internal("an event came to nothing")))
                    .map_err(Into::into),
            };
            result(event_id, outcome)
        };
        pb::RecordCampaignEventsResponse { results: self.items.iter().map(answer).collect() }
    }
}

fn result(event_id: &str, outcome: Result<Recorded, google_rpc::Status>) -> pb::RecordedEvent {
    let event_id = event_id.to_owned();
    match outcome {
        Ok(Recorded { id, deduplicated }) => {
            pb::RecordedEvent { event_id, id: id.to_string(), deduplicated, error: None }
        }
        Err(error) => {
            pb::RecordedEvent { event_id, id: String::new(), deduplicated: false, error: Some(error) }
        }
    }
}

/// An event as it is to be recorded.
fn new_event(event: &pb::NewCampaignEvent, id: Uuid, now: DateTime<Utc>) -> Result<NewEvent> {
    together::checked(event, || read_event(event, id, now))
}

fn read_event(event: &pb::NewCampaignEvent, id: Uuid, now: DateTime<Utc>) -> Result<NewEvent> {
    let pb::NewCampaignEvent { event_id, customer_id, kind, occur_time, conversation_id, cost, channel } =
        event;
    let occurred_at = times::optional(occur_time.as_ref());
    let not_ahead = |time| conversations::rules::check_not_ahead("occur_time", time, now);
    let (customer_id, kind, conversation_id, cost_micros, _) = (
        rpc::id("customer_id", customer_id),
        stored(*kind).ok_or_else(|| Error::invalid("kind", "required", "must be set")),
        rpc::optional_id("conversation_id", conversation_id),
        cost.as_ref().map(|cost| money::to_micros("cost", cost)).transpose(),
        occurred_at.map(not_ahead).transpose(),
    )
        .together()?;
    Ok(NewEvent {
        id,
        event_id: event_id.clone(),
        customer_id,
        kind,
        occurred_at: occurred_at.unwrap_or(now),
        has_occurred_at: occurred_at.is_some(),
        conversation_id,
        cost_micros,
        currency: cost.as_ref().map(|cost| cost.currency_code.clone()),
        channel: stored(*channel),
    })
}

/// Which events a list shows.
pub(crate) fn filter(request: &pb::ListCampaignEventsRequest) -> Result<Filter> {
    Ok(Filter {
        campaign_id: rpc::optional_id("campaign_id", &request.campaign_id)?,
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        kinds: stored_each(&request.kinds),
        occurred_from: times::optional(request.occur_time_from.as_ref()),
        occurred_until: times::optional(request.occur_time_until.as_ref()),
    })
}

impl From<Event> for pb::CampaignEvent {
    fn from(row: Event) -> Self {
        let Event {
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
            currency,
        } = row;
        let cost = |micros: i64| money::of_micros(currency.as_deref().unwrap_or_default(), micros.into());
        Self {
            id: id.to_string(),
            campaign_id: campaign_id.to_string(),
            event_id,
            customer_id: customer_id.to_string(),
            kind: wire(Some(kind)),
            occur_time: Some(times::to_wire(occurred_at)),
            conversation_id: rpc::optional_text(conversation_id),
            cost: cost_micros.map(cost),
            create_time: Some(times::to_wire(created_at)),
            channel: wire(channel),
        }
    }
}
