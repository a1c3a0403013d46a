//! Observations: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Observation;
use crate::error::Result;
use crate::faqs::rules::{Sighting, check_sighting};
use crate::pb::{self, FaqObservationKind};
use crate::rpc::words::{Text, stored, wire};
use crate::rpc::{self, times};

impl From<Observation> for pb::FaqObservation {
    fn from(row: Observation) -> Self {
        let Observation {
            id,
            customer_id: _,
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
            faq_id: faq_id.to_string(),
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

/// What somebody observed, before it is known of which FAQ.
pub(crate) fn record(
    request: pb::RecordFaqObservationRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Sighting> {
    let pb::RecordFaqObservationRequest {
        customer_id,
        kind,
        faq_id,
        question,
        answer,
        conversation_id,
        message_id,
        confidence,
        observed_by,
        request_id: _,
    } = request;
    let sighting = Sighting {
        id,
        customer_id: rpc::id("customer_id", &customer_id)?,
        kind: stored(kind).unwrap_or(Text(FaqObservationKind::Asked)),
        faq_id: rpc::optional_id("faq_id", &faq_id)?,
        question,
        answer,
        conversation_id: rpc::optional_id("conversation_id", &conversation_id)?,
        message_id: rpc::optional_id("message_id", &message_id)?,
        confidence,
        observed_by,
        seen_at: now,
    };
    check_sighting(&sighting)?;
    Ok(sighting)
}
