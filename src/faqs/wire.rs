//! FAQs: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::actions::{Found, Wish};
use super::rules::{self, Check};
use super::search::rules::Scores;
use super::store::{Faq, Filter};
use crate::error::Result;
use crate::pb::{self, FaqSource, FaqStatus, FaqVerification};
use crate::rpc::etag::Etag;
use crate::rpc::words::{Text, stored, stored_each, wire};
use crate::rpc::{self, times};

/// FAQs that a search gives when the client does not say: what a prompt has room for.
const DEFAULT_LIMIT: usize = 10;

/// FAQs that a search gives at most.
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
            verification: wire(Some(verification)),
            verified_by,
            verify_time: verified_at.map(times::to_wire),
            reported_confidence,
            derived_confidence,
            observation_count,
            agreeing_answer_count: agreeing_count,
            conflicting_answer_count: conflicting_count,
            last_observed_time: last_observed_at.map(times::to_wire),
            usage_count,
            last_used_time: last_used_at.map(times::to_wire),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

impl From<Found> for pb::CustomerFaqMatch {
    fn from(found: Found) -> Self {
        let Found { faq, scores: Scores { score, text, confidence, recency } } = found;
        Self {
            customer_faq: Some(faq.into()),
            score,
            text_score: text,
            confidence_score: confidence,
            recency_score: recency,
        }
    }
}

/// A new FAQ that somebody wrote.
pub(crate) fn create(request: pb::CreateCustomerFaqRequest, id: Uuid, now: DateTime<Utc>) -> Result<Faq> {
    let pb::CreateCustomerFaqRequest {
        customer_id,
        question,
        answer,
        category,
        source,
        source_conversation_id,
        source_message_id,
        status,
        reported_confidence,
        request_id: _,
    } = request;
    let faq = Faq {
        answer,
        category,
        source: stored(source).unwrap_or(Text(FaqSource::Human)),
        source_conversation_id: rpc::optional_id("source_conversation_id", &source_conversation_id)?,
        source_message_id: rpc::optional_id("source_message_id", &source_message_id)?,
        status: stored(status).unwrap_or(Text(FaqStatus::Candidate)),
        reported_confidence,
        ..rules::blank(id, rpc::id("customer_id", &customer_id)?, question, now)
    };
    rules::check_origin(&faq)?;
    Ok(faq)
}

/// The row of a FAQ that a client changed: what only the server writes stays as it is.
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
        verification: _,
        verified_by: _,
        verify_time: _,
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

/// What a check came to.
pub(crate) fn check(request: &pb::MarkCustomerFaqVerifiedRequest) -> Check {
    let pb::MarkCustomerFaqVerifiedRequest {
        id: _,
        verification,
        verified_by,
        answer,
        status,
        etag: _,
        request_id: _,
    } = request;
    Check {
        // The contract's rules leave no other word.
        verification: stored(*verification).unwrap_or(Text(FaqVerification::AiChecked)),
        verified_by: verified_by.clone(),
        answer: rpc::non_empty(answer),
        status: stored(*status),
    }
}

/// What a search asks for.
pub(crate) fn wish(request: &pb::SearchCustomerFaqsRequest) -> Result<Wish> {
    let limit = match usize::try_from(request.limit).unwrap_or(0) {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    Ok(Wish {
        customer_id: rpc::id("customer_id", &request.customer_id)?,
        language: request.language.clone(),
        query: request.query.clone(),
        statuses: stored_each(&request.statuses),
        limit,
    })
}

/// Which FAQs a list shows.
pub(crate) fn filter(request: &pb::ListCustomerFaqsRequest) -> Result<Filter> {
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        statuses: stored_each(&request.statuses),
        verifications: stored_each(&request.verifications),
        sources: stored_each(&request.sources),
        category: rpc::non_empty(&request.category),
        created_from: times::optional(request.create_time_from.as_ref()),
        created_until: times::optional(request.create_time_until.as_ref()),
    })
}
