//! Observations: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Observation;
use crate::db::words::{Text, stored, wire};
use crate::error::Result;
use crate::faqs::rules::{Sighting, check_sighting};
use crate::pb::{self, FaqObservationKind};
use crate::rpc;
use crate::rpc::together::Together;
use crate::times;

impl From<Observation> for pb::FaqObservation {
    fn from(row: Observation) -> Self {
        let Observation {
            id,
            customer_id,
            faq_id,
            kind,
            question,
            answer,
            agreement,
            conversation_id,
            message_id,
            confidence,
            observed_by,
            created_at,
        } = row;
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            customer_faq_id: faq_id.to_string(),
            kind: wire(Some(kind)),
            question,
            answer,
            agreement: wire(agreement),
            conversation_id: rpc::optional_text(conversation_id),
            message_id: rpc::optional_text(message_id),
            confidence,
            observed_by,
            create_time: Some(times::to_wire(created_at)),
        }
    }
}

/// Returns an observation of a client, before its FAQ is known. Fields that only the server writes are ignored.
pub(crate) fn record(
    request: &pb::RecordFaqObservationRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Sighting> {
    let pb::RecordFaqObservationRequest { customer_id, observation, request_id: _ } = request;
    let pb::FaqObservation {
        id: _,
        customer_id: _,
        customer_faq_id,
        kind,
        question,
        answer,
        agreement: _,
        conversation_id,
        message_id,
        confidence,
        observed_by,
        create_time: _,
    } = rpc::required("observation", observation.as_ref())?.clone();
    let (customer_id, faq_id, conversation_id, message_id) = (
        rpc::id("customer_id", customer_id),
        rpc::optional_id("observation.customer_faq_id", &customer_faq_id),
        rpc::optional_id("observation.conversation_id", &conversation_id),
        rpc::optional_id("observation.message_id", &message_id),
    )
        .together()?;
    let sighting = Sighting {
        id,
        customer_id,
        kind: stored(kind).unwrap_or(Text(FaqObservationKind::Asked)),
        faq_id,
        question,
        answer,
        conversation_id,
        message_id,
        confidence,
        observed_by,
        seen_at: now,
    };
    check_sighting(&sighting)?;
    Ok(sighting)
}
