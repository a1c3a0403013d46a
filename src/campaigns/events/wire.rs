//! Events: messages ⇄ rows.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tonic_types::pb as google_rpc;
use uuid::Uuid;

use super::model::{Event, Filter, NewEvent};
use super::rules::{MAX_CAMPAIGNS, Recorded};
use crate::conversations;
use crate::db::words::{Text, stored, stored_each, wire};
use crate::error::{Error, Result};
use crate::pb;
use crate::pb::campaign_event_result::Result as Outcome;
use crate::rpc::together::{self, Together};
use crate::rpc::{self, money};
use crate::times;

/// The events of a call: each ready to be recorded, or its error.
pub(crate) struct Batch {
    /// The campaign of the events that name none, if there are any.
    pub(crate) campaign_id: Option<Uuid>,
    /// The valid events, in order.
    pub(crate) events: Vec<NewEvent>,
    /// For every event of the call: its error, or `None` if it is valid.
    errors: Vec<Option<google_rpc::Status>>,
}

impl Batch {
    /// Reads the events of a call that came at this time.
    ///
    /// # Errors
    ///
    /// If they belong to too many campaigns. The error of a single event is kept with it.
    pub(crate) fn new(request: &pb::RecordCampaignEventsRequest, now: DateTime<Utc>) -> Result<Self> {
        let pb::RecordCampaignEventsRequest { campaign_id, events, request_id: _ } = request;
        let needs_one = events.iter().any(|event| event.campaign_id.is_empty());
        let mut batch = Self {
            campaign_id: rpc::optional_id("campaign_id", campaign_id)?.filter(|_| needs_one),
            events: Vec::with_capacity(events.len()),
            errors: Vec::with_capacity(events.len()),
        };
        for event in events {
            let read = new_event(event, campaign_id, Uuid::now_v7(), now);
            batch.errors.push(match read {
                Ok(event) => {
                    batch.events.push(event);
                    None
                }
                Err(error) => Some(error.into()),
            });
        }
        let campaigns: BTreeSet<Uuid> = batch.events.iter().map(|event| event.campaign_id).collect();
        if campaigns.len() > MAX_CAMPAIGNS {
            let description =
                format!("must be of at most {MAX_CAMPAIGNS} campaigns, are of {}", campaigns.len());
            return Err(Error::invalid("events", "max_campaigns", description));
        }
        Ok(batch)
    }

    /// Returns the answer, from the outcomes of the valid events in their order.
    pub(crate) fn answer(&self, outcomes: Vec<Result<Recorded>>) -> pb::RecordCampaignEventsResponse {
        let mut outcomes = outcomes.into_iter();
        let answer = |error: &Option<google_rpc::Status>| {
            let outcome = match error {
                Some(error) => Err(error.clone()),
                // There is one outcome for each of them.
                None => outcomes
                    .next()
                    .unwrap_or_else(|| Err(Error::internal("an event came to nothing")))
                    .map_err(Into::into),
            };
            result(outcome)
        };
        pb::RecordCampaignEventsResponse { results: self.errors.iter().map(answer).collect() }
    }
}

fn result(outcome: Result<Recorded, google_rpc::Status>) -> pb::CampaignEventResult {
    let (result, deduplicated) = match outcome {
        Ok(Recorded { event, deduplicated }) => (Outcome::CampaignEvent(event.into()), deduplicated),
        Err(error) => (Outcome::Error(error), false),
    };
    pb::CampaignEventResult { result: Some(result), deduplicated }
}

/// Returns an event to be recorded. If it names no campaign, its campaign is that of all events.
fn new_event(
    event: &pb::CampaignEvent,
    campaign_of_all: &str,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<NewEvent> {
    together::checked(event, || read_event(event, campaign_of_all, id, now))
}

fn read_event(
    event: &pb::CampaignEvent,
    campaign_of_all: &str,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<NewEvent> {
    let pb::CampaignEvent {
        id: _,
        campaign_id,
        event_id,
        customer_id,
        kind,
        channel,
        occur_time,
        conversation_id,
        cost,
        bounce_kind,
        detail,
        url,
        create_time: _,
    } = event;
    let campaign_id = if campaign_id.is_empty() { campaign_of_all } else { campaign_id };
    let campaign_id = match campaign_id.is_empty() {
        true => Err(Error::invalid("campaign_id", "required", "must be set, here or in the request")),
        false => rpc::id("campaign_id", campaign_id),
    };
    let kind = stored(*kind).ok_or_else(|| Error::invalid("kind", "required", "must be set"));
    let bounce_kind = stored(*bounce_kind);
    let only_bounced = match &kind {
        Ok(Text(kind)) if bounce_kind.is_some() && *kind != pb::CampaignEventKind::Bounced => {
            Err(Error::invalid("bounce_kind", "combination", "must be unset for a kind other than BOUNCED"))
        }
        _ => Ok(()),
    };
    let occurred_at = times::optional(occur_time.as_ref());
    let not_ahead = |time| conversations::rules::check_not_ahead("occur_time", time, now);
    let ids = (campaign_id, rpc::id("customer_id", customer_id)).together();
    let conversation_id = rpc::optional_id("conversation_id", conversation_id);
    let cost_micros = cost.as_ref().map(|cost| money::to_micros("cost", cost)).transpose();
    let kind = (kind, only_bounced).together();
    let ((campaign_id, customer_id), (kind, ()), conversation_id, cost_micros, _) =
        (ids, kind, conversation_id, cost_micros, occurred_at.map(not_ahead).transpose()).together()?;
    Ok(NewEvent {
        id,
        campaign_id,
        event_id: event_id.clone(),
        customer_id,
        kind,
        occurred_at: occurred_at.unwrap_or(now),
        has_occurred_at: occurred_at.is_some(),
        conversation_id,
        cost_micros,
        currency: cost.as_ref().map(|cost| cost.currency_code.clone()),
        channel: stored(*channel),
        bounce_kind,
        detail: detail.clone(),
        url: url.clone(),
    })
}

/// Returns which events a list shows.
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
            bounce_kind,
            detail,
            url,
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
            bounce_kind: wire(bounce_kind),
            detail,
            url,
        }
    }
}
