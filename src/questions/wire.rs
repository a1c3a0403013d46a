//! Pending questions: messages ⇄ rows.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::actions::Wish;
use super::rules::{self, LeftOut, Next, Ranking, Source, Step};
use super::store::{Filter, Question};
use crate::error::{Error, Result};
use crate::pb;
use crate::rpc::etag::Etag;
use crate::rpc::together::Together;
use crate::rpc::words::{Text, stored, stored_each, wire};
use crate::rpc::{self, times};

/// How long a question is not asked again when nobody says: a day, so that nobody is asked the same
/// thing twice in one.
const COOLDOWN: TimeDelta = TimeDelta::hours(24);

/// Questions to ask next when nobody says: what fits a talk.
const DEFAULT_NEXT: usize = 5;

/// Questions to ask next at most: more than a person answers.
const MAX_NEXT: usize = 50;

impl From<Question> for pb::PendingQuestion {
    fn from(row: Question) -> Self {
        let Question {
            id,
            customer_id,
            question,
            target_field,
            purpose,
            priority,
            timing,
            scheduled_at,
            status,
            created_conversation_id,
            attempts,
            asked_at,
            asked_conversation_id,
            asked_message_id,
            cooldown_until,
            answer,
            confidence,
            answered_at,
            answered_conversation_id,
            answered_message_id,
            verified_by,
            verified_at,
            skip_reason,
            skipped_at,
            written_at,
            expires_at,
            created_at,
            updated_at,
            revision,
        } = row;
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            question,
            target_field,
            purpose,
            priority: wire(Some(priority)),
            timing: wire(Some(timing)),
            scheduled_time: scheduled_at.map(times::to_wire),
            expire_time: expires_at.map(times::to_wire),
            status: wire(Some(status)),
            created_conversation_id: rpc::optional_text(created_conversation_id),
            attempts,
            ask_time: asked_at.map(times::to_wire),
            asked_conversation_id: rpc::optional_text(asked_conversation_id),
            asked_message_id: rpc::optional_text(asked_message_id),
            cooldown_end_time: cooldown_until.map(times::to_wire),
            answer,
            confidence,
            answer_time: answered_at.map(times::to_wire),
            answered_conversation_id: rpc::optional_text(answered_conversation_id),
            answered_message_id: rpc::optional_text(answered_message_id),
            verified_by,
            verify_time: verified_at.map(times::to_wire),
            skip_reason,
            skip_time: skipped_at.map(times::to_wire),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
            write_time: written_at.map(times::to_wire),
        }
    }
}

/// A new question.
pub(crate) fn create(
    request: pb::CreatePendingQuestionRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Question> {
    let pb::CreatePendingQuestionRequest {
        customer_id,
        question,
        target_field,
        purpose,
        priority,
        timing,
        scheduled_time,
        expire_time,
        conversation_id,
        request_id: _,
    } = request;
    let timing = stored(timing).unwrap_or(Text(pb::QuestionTiming::NextMessage));
    let scheduled_at = times::optional(scheduled_time.as_ref());
    let (customer_id, created_conversation_id, _, ()) = (
        rpc::id("customer_id", &customer_id),
        rpc::optional_id("conversation_id", &conversation_id),
        rules::target("target_field", &target_field),
        rules::check_schedule("scheduled_time", timing.0, scheduled_at),
    )
        .together()?;
    Ok(Question {
        id,
        customer_id,
        question,
        target_field,
        purpose,
        priority: stored(priority).unwrap_or(Text(pb::Priority::Normal)),
        timing,
        scheduled_at,
        status: Text(pb::PendingQuestionStatus::Pending),
        created_conversation_id,
        attempts: 0,
        asked_at: None,
        asked_conversation_id: None,
        asked_message_id: None,
        cooldown_until: None,
        answer: String::new(),
        confidence: None,
        answered_at: None,
        answered_conversation_id: None,
        answered_message_id: None,
        verified_by: String::new(),
        verified_at: None,
        skip_reason: String::new(),
        written_at: None,
        skipped_at: None,
        expires_at: times::optional(expire_time.as_ref()),
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// The row of a question that a client changed: what only the server writes stays as it is.
pub(crate) fn update(wanted: pb::PendingQuestion, current: &Question) -> Question {
    let pb::PendingQuestion {
        id: _,
        customer_id: _,
        question,
        target_field,
        purpose,
        priority,
        timing,
        scheduled_time,
        expire_time,
        status: _,
        created_conversation_id: _,
        attempts: _,
        ask_time: _,
        asked_conversation_id: _,
        asked_message_id: _,
        cooldown_end_time: _,
        answer: _,
        confidence: _,
        answer_time: _,
        answered_conversation_id: _,
        answered_message_id: _,
        verified_by: _,
        verify_time: _,
        skip_reason: _,
        write_time: _,
        skip_time: _,
        create_time: _,
        update_time: _,
        etag: _,
    } = wanted;
    Question {
        question,
        target_field,
        purpose,
        priority: stored(priority).unwrap_or(current.priority),
        timing: stored(timing).unwrap_or(current.timing),
        scheduled_at: times::optional(scheduled_time.as_ref()),
        expires_at: times::optional(expire_time.as_ref()),
        ..current.clone()
    }
}

/// Which questions a list shows.
pub(crate) fn filter(request: &pb::ListPendingQuestionsRequest) -> Result<Filter> {
    Ok(Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        statuses: stored_each(&request.statuses),
        priorities: stored_each(&request.priorities),
        timings: stored_each(&request.timings),
        target_field: rpc::non_empty(&request.target_field),
        created_from: times::optional(request.create_time_from.as_ref()),
        created_until: times::optional(request.create_time_until.as_ref()),
    })
}

/// A question that was asked.
pub(crate) fn asking(request: &pb::MarkPendingQuestionAskedRequest) -> Result<Step> {
    let pb::MarkPendingQuestionAskedRequest {
        id: _,
        conversation_id,
        message_id,
        cooldown,
        etag: _,
        request_id: _,
    } = request;
    let cooldown = cooldown.as_ref().map(times::duration_to_micros);
    Ok(Step::Ask {
        source: source(conversation_id, message_id)?,
        cooldown: cooldown.map_or(COOLDOWN, TimeDelta::microseconds),
    })
}

/// A question that was answered.
pub(crate) fn answering(request: &pb::MarkPendingQuestionAnsweredRequest) -> Result<Step> {
    let pb::MarkPendingQuestionAnsweredRequest {
        id: _,
        answer,
        confidence,
        conversation_id,
        message_id,
        write_to_customer: _,
        overwrite: _,
        etag: _,
        request_id: _,
    } = request;
    Ok(Step::Answer {
        source: source(conversation_id, message_id)?,
        answer: answer.clone(),
        confidence: *confidence,
    })
}

/// An answer that was checked.
pub(crate) fn verifying(request: &pb::MarkPendingQuestionVerifiedRequest) -> Step {
    let pb::MarkPendingQuestionVerifiedRequest { id: _, verified_by, etag: _, request_id: _ } = request;
    Step::Verify { by: verified_by.clone() }
}

/// A question that was put aside.
pub(crate) fn skipping(request: &pb::SkipPendingQuestionRequest) -> Step {
    let pb::SkipPendingQuestionRequest { id: _, declined, reason, etag: _, request_id: _ } = request;
    Step::Skip { declined: *declined, reason: reason.clone() }
}

/// What a caller wants to know who has something to ask.
pub(crate) fn wish(request: &pb::NextPendingQuestionsRequest) -> Result<Wish> {
    let pb::NextPendingQuestionsRequest { customer_id, conversation_id, limit, query } = request;
    Ok(Wish {
        customer_id: rpc::id("customer_id", customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", conversation_id)?,
        limit: match usize::try_from(*limit).unwrap_or(0) {
            0 => DEFAULT_NEXT,
            limit => limit.min(MAX_NEXT),
        },
        query: query.clone(),
    })
}

impl From<Ranking> for pb::NextPendingQuestionsResponse {
    fn from(ranking: Ranking) -> Self {
        let Ranking { questions, left_out } = ranking;
        Self {
            questions: questions.into_iter().map(Into::into).collect(),
            left_out: left_out.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Next> for pb::NextQuestion {
    fn from(next: Next) -> Self {
        let Next { question, score, reason } = next;
        Self { pending_question: Some(question.into()), score, reason }
    }
}

impl From<LeftOut> for pb::LeftOutQuestion {
    fn from(left_out: LeftOut) -> Self {
        let LeftOut { id, question, reason, explanation } = left_out;
        Self { id: id.to_string(), question, reason: reason.into(), explanation }
    }
}

/// Where something was said. A message is looked for in its conversation, so that must be named too.
fn source(conversation_id: &str, message_id: &str) -> Result<Source> {
    let source = Source {
        conversation_id: rpc::optional_id("conversation_id", conversation_id)?,
        message_id: rpc::optional_id("message_id", message_id)?,
    };
    if source.message_id.is_some() && source.conversation_id.is_none() {
        return Err(Error::invalid(
            "conversation_id",
            "required",
            "must be set with message_id, which is looked for in its conversation",
        ));
    }
    Ok(source)
}
