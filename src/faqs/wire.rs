//! FAQs: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::actions::{Params, RankedFaq};
use super::rules::{self, Check};
use super::search::rules::Scores;
use super::store::{Faq, Filter};
use crate::db::words::{Text, stored, stored_each, wire};
use crate::error::Result;
use crate::numbers;
use crate::pb::{self, FaqSource, FaqStatus, FaqVerificationStatus};
use crate::rpc;
use crate::rpc::etag::Etag;
use crate::rpc::together::Together;
use crate::times;

/// The number of FAQs that a search returns if the client sets none: what fits into a prompt.
const DEFAULT_LIMIT: usize = 10;

/// The limit of FAQs that a search returns.
const MAX_LIMIT: usize = 100;

impl From<Faq> for pb::CustomerFaq {
    fn from(row: Faq) -> Self {
        let Faq {
            id,
            customer_id,
            question,
            normalized_question: _,
            answer,
            category,
            source,
            source_conversation_id,
            source_message_id,
            status,
            verification,
            verified_by,
            verified_at,
            reported_confidence,
            derived_confidence,
            usage_count,
            last_used_at,
            created_at,
            updated_at,
            revision,
            observation_count,
            agreeing_count,
            agreeing_confidence: _,
            conflicting_count,
            conflicting_confidence: _,
            last_observed_at,
            active_at: _,
            search_config: _,
        } = row;
        let last_check =
            verified_at.map(|time| pb::Verification { verified_by, verify_time: Some(times::to_wire(time)) });
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            question,
            answer,
            category,
            source: wire(Some(source)),
            source_conversation_id: rpc::optional_text(source_conversation_id),
            source_message_id: rpc::optional_text(source_message_id),
            status: wire(Some(status)),
            verification_status: wire(Some(verification)),
            verification: last_check,
            reported_confidence,
            derived_confidence,
            observation_count: numbers::int32(observation_count),
            agreeing_answer_count: numbers::int32(agreeing_count),
            conflicting_answer_count: numbers::int32(conflicting_count),
            last_observed_time: last_observed_at.map(times::to_wire),
            usage_count: numbers::int32(usage_count),
            last_used_time: last_used_at.map(times::to_wire),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

impl From<RankedFaq> for pb::CustomerFaqMatch {
    fn from(found: RankedFaq) -> Self {
        let RankedFaq { faq, scores: Scores { score, text, confidence, recency } } = found;
        Self {
            customer_faq: Some(faq.into()),
            score,
            text_score: text,
            confidence_score: confidence,
            recency_score: recency,
        }
    }
}

/// Returns the row of a new FAQ that a client wrote. Fields that only the server writes are ignored.
pub(crate) fn create(faq: Option<&pb::CustomerFaq>, id: Uuid, now: DateTime<Utc>) -> Result<Faq> {
    let pb::CustomerFaq {
        id: _,
        customer_id,
        question,
        answer,
        category,
        source,
        source_conversation_id,
        source_message_id,
        status,
        verification_status: _,
        verification: _,
        reported_confidence,
        derived_confidence: _,
        observation_count: _,
        agreeing_answer_count: _,
        conflicting_answer_count: _,
        last_observed_time: _,
        usage_count: _,
        last_used_time: _,
        create_time: _,
        update_time: _,
        etag: _,
    } = rpc::required("customer_faq", faq)?.clone();
    let (customer_id, source_conversation_id, source_message_id) = (
        rpc::id("customer_faq.customer_id", &customer_id),
        rpc::optional_id("customer_faq.source_conversation_id", &source_conversation_id),
        rpc::optional_id("customer_faq.source_message_id", &source_message_id),
    )
        .together()?;
    let faq = Faq {
        answer,
        category,
        source: stored(source).unwrap_or(Text(FaqSource::Human)),
        source_conversation_id,
        source_message_id,
        status: stored(status).unwrap_or(Text(FaqStatus::Candidate)),
        reported_confidence,
        ..rules::blank(id, customer_id, question, now)
    };
    rules::check_origin(&faq)?;
    Ok(faq)
}

/// Returns the row of a FAQ that a client changed. Fields that only the server writes stay as they are.
pub(crate) fn update(wanted: pb::CustomerFaq, current: &Faq) -> Faq {
    let pb::CustomerFaq {
        id: _,
        customer_id: _,
        question,
        answer,
        category,
        source,
        source_conversation_id: _,
        source_message_id: _,
        status,
        verification_status: _,
        verification: _,
        reported_confidence,
        derived_confidence: _,
        observation_count: _,
        agreeing_answer_count: _,
        conflicting_answer_count: _,
        last_observed_time: _,
        usage_count: _,
        last_used_time: _,
        create_time: _,
        update_time: _,
        etag: _,
    } = wanted;
    Faq {
        question,
        answer,
        category,
        source: stored(source).unwrap_or(current.source),
        status: stored(status).unwrap_or(current.status),
        reported_confidence,
        ..current.clone()
    }
}

/// Returns the result of a check.
pub(crate) fn check(request: &pb::MarkCustomerFaqVerifiedRequest) -> Check {
    let pb::MarkCustomerFaqVerifiedRequest {
        id: _,
        verification_status,
        verified_by,
        answer,
        status,
        etag: _,
        request_id: _,
    } = request;
    Check {
        // The rules of the contract admit no other word.
        verification: stored(*verification_status).unwrap_or(Text(FaqVerificationStatus::AiChecked)),
        verified_by: verified_by.clone(),
        answer: rpc::non_empty(answer),
        status: stored(*status),
    }
}

/// Returns the parameters of a search.
pub(crate) fn params(request: &pb::SearchCustomerFaqsRequest) -> Result<Params> {
    let limit = match numbers::size(request.limit) {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    Ok(Params {
        customer_id: rpc::id("customer_id", &request.customer_id)?,
        language: request.language.clone(),
        query: request.query.clone(),
        statuses: stored_each(&request.statuses),
        limit,
    })
}

/// Returns which FAQs a list shows.
pub(crate) fn filter(request: &pb::ListCustomerFaqsRequest) -> Result<Filter> {
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        statuses: stored_each(&request.statuses),
        verifications: stored_each(&request.verification_statuses),
        sources: stored_each(&request.sources),
        category: rpc::non_empty(&request.category),
        created_from: times::optional(request.create_time_from.as_ref()),
        created_until: times::optional(request.create_time_until.as_ref()),
    })
}
