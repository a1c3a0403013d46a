//! Pending questions: messages ⇄ rows.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::actions::Params;
use super::rules::{self, LeftOut, Next, Ranking, Source, Step};
use super::store::{Filter, Question};
use crate::db::words::{Text, stored, stored_each, wire};
use crate::error::{Error, Result};
use crate::numbers;
use crate::pb;
use crate::rpc;
use crate::rpc::etag::Etag;
use crate::rpc::together::Together;
use crate::times;

/// The time for which a question is not asked again, if the request sets none. With a day, a customer is not
/// asked the same question twice in one day.
const COOLDOWN: TimeDelta = TimeDelta::hours(24);

/// The number of questions to ask next if the request sets none: what fits a conversation.
const DEFAULT_NEXT: usize = 5;

/// The limit of questions to ask next: more than a person answers.
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
            source_conversation_id,
            attempt_count,
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
        let last_asking = asked_at.map(|time| pb::QuestionAsking {
            attempt_count,
            ask_time: Some(times::to_wire(time)),
            conversation_id: rpc::optional_text(asked_conversation_id),
            message_id: rpc::optional_text(asked_message_id),
            cooldown_end_time: cooldown_until.map(times::to_wire),
        });
        let answer = answered_at.map(|time| pb::QuestionAnswer {
            text: answer,
            confidence,
            answer_time: Some(times::to_wire(time)),
            conversation_id: rpc::optional_text(answered_conversation_id),
            message_id: rpc::optional_text(answered_message_id),
            write_time: written_at.map(times::to_wire),
        });
        let verification =
            verified_at.map(|time| pb::Verification { verified_by, verify_time: Some(times::to_wire(time)) });
        let last_skip = skipped_at.map(|time| pb::QuestionSkip {
            // No step leads on from DECLINED.
            declined: status.0 == pb::PendingQuestionStatus::Declined,
            reason: skip_reason,
            skip_time: Some(times::to_wire(time)),
        });
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            question,
            target_field,
            purpose,
            priority: wire(Some(priority)),
            timing: wire(Some(timing)),
            schedule_time: scheduled_at.map(times::to_wire),
            expire_time: expires_at.map(times::to_wire),
            source_conversation_id: rpc::optional_text(source_conversation_id),
            status: wire(Some(status)),
            last_asking,
            answer,
            verification,
            last_skip,
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

/// Returns the row of a new question. Fields that only the server writes are ignored.
pub(crate) fn create(
    question: Option<&pb::PendingQuestion>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Question> {
    let pb::PendingQuestion {
        id: _,
        customer_id,
        question,
        target_field,
        purpose,
        priority,
        timing,
        schedule_time,
        expire_time,
        source_conversation_id,
        status: _,
        last_asking: _,
        answer: _,
        verification: _,
        last_skip: _,
        create_time: _,
        update_time: _,
        etag: _,
    } = rpc::required("pending_question", question)?.clone();
    let timing = stored(timing).unwrap_or(Text(pb::QuestionTiming::NextMessage));
    let scheduled_at = times::optional(schedule_time.as_ref());
    let (customer_id, source_conversation_id, _, ()) = (
        rpc::id("pending_question.customer_id", &customer_id),
        rpc::optional_id("pending_question.source_conversation_id", &source_conversation_id),
        rules::target("pending_question.target_field", &target_field),
        rules::check_schedule("pending_question.schedule_time", timing.0, scheduled_at),
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
        source_conversation_id,
        attempt_count: 0,
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

/// Returns the row of a question that a client changed. Fields that only the server writes stay as they are.
pub(crate) fn update(wanted: pb::PendingQuestion, current: &Question) -> Question {
    let pb::PendingQuestion {
        id: _,
        customer_id: _,
        question,
        target_field,
        purpose,
        priority,
        timing,
        schedule_time,
        expire_time,
        source_conversation_id: _,
        status: _,
        last_asking: _,
        answer: _,
        verification: _,
        last_skip: _,
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
        scheduled_at: times::optional(schedule_time.as_ref()),
        expires_at: times::optional(expire_time.as_ref()),
        ..current.clone()
    }
}

/// Returns which questions a list shows.
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

/// Returns the step of a question that was asked.
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

/// Returns the step of a question that was answered.
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

/// Returns the step of an answer that was verified.
pub(crate) fn verifying(request: &pb::MarkPendingQuestionVerifiedRequest) -> Step {
    let pb::MarkPendingQuestionVerifiedRequest { id: _, verified_by, etag: _, request_id: _ } = request;
    Step::Verify { by: verified_by.clone() }
}

/// Returns the step of a question that was skipped.
pub(crate) fn skipping(request: &pb::SkipPendingQuestionRequest) -> Step {
    let pb::SkipPendingQuestionRequest { id: _, declined, reason, etag: _, request_id: _ } = request;
    Step::Skip { declined: *declined, reason: reason.clone() }
}

/// Returns the parameters of a request for what to ask next.
pub(crate) fn params(request: &pb::NextPendingQuestionsRequest) -> Result<Params> {
    let pb::NextPendingQuestionsRequest { customer_id, conversation_id, limit, query, include_left_out } =
        request;
    Ok(Params {
        customer_id: rpc::id("customer_id", customer_id)?,
        conversation_id: rpc::optional_id("conversation_id", conversation_id)?,
        limit: match numbers::size(*limit) {
            0 => DEFAULT_NEXT,
            limit => limit.min(MAX_NEXT),
        },
        query: query.clone(),
        include_left_out: *include_left_out,
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

/// Returns the source of a statement. A message is looked up in its conversation, so the conversation must be
/// named too.
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
