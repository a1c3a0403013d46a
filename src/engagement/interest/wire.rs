//! Interest: messages ⇄ rows.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::actions::Recorded;
use super::rules;
use super::store::scores::Score;
use super::store::{Filter, InterestEvent};
use crate::conversations::rules::check_not_ahead;
use crate::db::words::{stored, stored_each, wire};
use crate::engagement::rules::check_outcome;
use crate::error::{Error, Result};
use crate::numbers;
use crate::pb;
use crate::pb::interest_event_result::Result as Outcome;
use crate::rpc::together::{self, Together};
use crate::rpc::{self, money};
use crate::times;

/// The number of scores that are returned if the client sets none: what a person reads at a glance.
const DEFAULT_SCORES: i64 = 20;

/// The limit of scores that are returned.
const MAX_SCORES: i64 = 100;

/// The weight of an event that sets none.
const UNSAID_WEIGHT: f64 = 1.0;

impl From<InterestEvent> for pb::InterestEvent {
    fn from(row: InterestEvent) -> Self {
        let InterestEvent {
            id,
            event_id,
            customer_id,
            kind,
            subject,
            subject_key: _,
            weight,
            value_currency,
            value_micros,
            source,
            occurred_at,
            has_occurred_at: _,
            conversation_id,
            campaign_id,
            outcome: _,
            created_at,
        } = row;
        Self {
            id: id.to_string(),
            event_id,
            customer_id: customer_id.to_string(),
            kind: wire(Some(kind)),
            subject,
            weight: Some(weight),
            value: value_currency
                .zip(value_micros)
                .map(|(currency, micros)| money::of_micros(&currency, micros.into())),
            source,
            occur_time: Some(times::to_wire(occurred_at)),
            conversation_id: rpc::optional_text(conversation_id),
            campaign_id: rpc::optional_text(campaign_id),
            conversation_outcome: 0,
            create_time: Some(times::to_wire(created_at)),
        }
    }
}

impl From<Score> for pb::InterestScore {
    fn from(row: Score) -> Self {
        let Score { subject, score, event_count, last_occurred_at, last_id: _ } = row;
        // No more than `MAX_SCORED`.
        let event_count = numbers::int32(event_count);
        Self { subject, score, event_count, last_occur_time: Some(times::to_wire(last_occurred_at)) }
    }
}

/// The parameters of a request for scores.
pub(crate) struct Params {
    pub(crate) customer_id: Uuid,
    pub(crate) as_of: DateTime<Utc>,
    pub(crate) limit: i64,
}

/// Returns the parameters of a request for scores that came at this time.
pub(crate) fn params(request: &pb::GetInterestScoresRequest, now: DateTime<Utc>) -> Result<Params> {
    let pb::GetInterestScoresRequest { customer_id, as_of_time, limit } = request;
    Ok(Params {
        customer_id: rpc::id("customer_id", customer_id)?,
        as_of: times::optional(as_of_time.as_ref()).unwrap_or(now),
        limit: match i64::from(*limit) {
            0 => DEFAULT_SCORES,
            limit => limit.min(MAX_SCORES),
        },
    })
}

/// Returns which events a list shows.
pub(crate) fn filter(request: &pb::ListInterestEventsRequest) -> Result<Filter> {
    let subject = (!request.subject.is_empty()).then(|| rules::subject_key(&request.subject));
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", &request.conversation_id)?,
        campaign_id: rpc::optional_id("campaign_id", &request.campaign_id)?,
        kinds: stored_each(&request.kinds),
        subject_key: subject,
        occurred_from: times::optional(request.occur_time_from.as_ref()),
        occurred_until: times::optional(request.occur_time_until.as_ref()),
    })
}

/// Returns the events of a request, each checked by itself.
pub(crate) fn record(
    request: &pb::RecordInterestEventsRequest,
    now: DateTime<Utc>,
) -> Vec<Result<InterestEvent>> {
    let pb::RecordInterestEventsRequest { customer_id, events, request_id: _ } = request;
    events.iter().map(|event| new(event, customer_id, now)).collect()
}

/// Returns a new event. If it names no customer, its customer is that of all events.
fn new(event: &pb::InterestEvent, customer_of_all: &str, now: DateTime<Utc>) -> Result<InterestEvent> {
    together::checked(event, || read(event, customer_of_all, now))
}

fn read(event: &pb::InterestEvent, customer_of_all: &str, now: DateTime<Utc>) -> Result<InterestEvent> {
    let pb::InterestEvent {
        id: _,
        event_id,
        customer_id,
        kind,
        subject,
        weight,
        value,
        source,
        occur_time,
        conversation_id,
        campaign_id,
        conversation_outcome,
        create_time: _,
    } = event;
    let customer_id = if customer_id.is_empty() { customer_of_all } else { customer_id };
    let customer_id = match customer_id.is_empty() {
        true => Err(Error::invalid("customer_id", "required", "must be set, here or in the request")),
        false => rpc::id("customer_id", customer_id),
    };
    let said = times::optional(occur_time.as_ref());
    let occurred_at = said.unwrap_or(now);
    let outcome = stored(*conversation_outcome);
    let conversation_id = rpc::optional_id("conversation_id", conversation_id)
        .and_then(|id| check_outcome("conversation_id", outcome, id).map(|()| id));
    let ids = (conversation_id, rpc::optional_id("campaign_id", campaign_id)).together();
    let value_micros = value.as_ref().map(|value| money::to_micros("value", value)).transpose();
    let (customer_id, kind, (conversation_id, campaign_id), value_micros, ()) = (
        customer_id,
        stored(*kind).ok_or_else(|| Error::invalid("kind", "enum.not_in", "must be set")),
        ids,
        value_micros,
        check_not_ahead("occur_time", occurred_at, now),
    )
        .together()?;
    Ok(InterestEvent {
        id: Uuid::now_v7(),
        event_id: event_id.clone(),
        customer_id,
        kind,
        subject: subject.clone(),
        subject_key: rules::subject_key(subject),
        weight: weight.unwrap_or(UNSAID_WEIGHT),
        value_currency: value.as_ref().map(|value| value.currency_code.clone()),
        value_micros,
        source: source.clone(),
        occurred_at,
        has_occurred_at: said.is_some(),
        conversation_id,
        campaign_id,
        outcome,
        created_at: now,
    })
}

/// Returns the results of the events of a request, in their order.
pub(crate) fn recorded(results: Vec<Result<Recorded>>) -> pb::RecordInterestEventsResponse {
    let results = results.into_iter().map(|result| match result {
        Ok(Recorded { event, deduplicated }) => {
            pb::InterestEventResult { deduplicated, result: Some(Outcome::InterestEvent(event.into())) }
        }
        Err(error) => {
            pb::InterestEventResult { deduplicated: false, result: Some(Outcome::Error(error.into())) }
        }
    });
    pb::RecordInterestEventsResponse { results: results.collect() }
}

/// Returns the conversations that got an outcome by a request.
pub(crate) fn concluded<'r>(
    request: &'r pb::RecordInterestEventsRequest,
    response: &'r pb::RecordInterestEventsResponse,
) -> BTreeSet<&'r str> {
    let is_new = |result: &pb::InterestEventResult| {
        matches!(result.result, Some(Outcome::InterestEvent(_))) && !result.deduplicated
    };
    let new = request.events.iter().zip(&response.results).filter(|(_, result)| is_new(result));
    let concluding = new.filter(|(event, _)| event.conversation_outcome != 0);
    concluding.map(|(event, _)| event.conversation_id.as_str()).collect()
}
