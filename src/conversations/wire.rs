//! Conversations: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::rules::{self, Ending, FollowUp};
use super::store::analysed::Analysed;
use super::store::{Conversation, Filter, OrderKey};
use crate::db::keyset::Direction;
use crate::db::words::{Text, stored, stored_each, wire};
use crate::error::Result;
use crate::numbers;
use crate::pb;
use crate::rpc::etag::Etag;
use crate::rpc::fold::fold;
use crate::rpc::together::Together;
use crate::rpc::{self, structs};
use crate::times;

impl From<Conversation> for pb::Conversation {
    fn from(row: Conversation) -> Self {
        let Conversation {
            id,
            customer_id,
            session_id,
            entry_point,
            contact_channel,
            modality,
            environment,
            presenter_kind,
            presenter_id,
            presenter_name,
            presenter_persona,
            status,
            started_at,
            ended_at,
            last_sequence,
            last_message_at,
            latest_analysis,
            outcome,
            outcome_notes,
            handoff_reason,
            follow_up_needed,
            follow_up_due_at,
            follow_up_notes,
            metadata,
            change_count: _,
            own_change: _,
            created_at,
            updated_at,
            revision,
        } = row;
        let follow_up =
            FollowUp { needed: follow_up_needed, due_at: follow_up_due_at, notes: follow_up_notes };
        Self {
            id: id.to_string(),
            customer_id: customer_id.to_string(),
            session_id,
            entry_point: wire(entry_point),
            contact_channel: wire(contact_channel),
            modality: wire(Some(modality)),
            environment: wire(Some(environment)),
            presenter: Some(pb::Presenter {
                kind: wire(Some(presenter_kind)),
                id: presenter_id,
                name: presenter_name,
                persona: presenter_persona,
            }),
            status: wire(Some(status)),
            start_time: Some(times::to_wire(started_at)),
            end_time: ended_at.map(times::to_wire),
            duration: ended_at.map(|ended_at| times::duration_to_wire(ended_at - started_at)),
            message_count: numbers::int32(last_sequence),
            last_sequence: numbers::int32(last_sequence),
            last_message_time: last_message_at.map(times::to_wire),
            latest_analysis: latest_analysis.map(|analysis| analysis.0.into()),
            outcome: wire(outcome),
            outcome_notes,
            handoff_reason: wire(handoff_reason),
            follow_up: (follow_up != FollowUp::default()).then(|| follow_up.into()),
            metadata: structs::from_json(&metadata),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

impl From<FollowUp> for pb::FollowUp {
    fn from(value: FollowUp) -> Self {
        let FollowUp { needed, due_at, notes } = value;
        Self { needed, due_time: due_at.map(times::to_wire), notes }
    }
}

impl From<pb::FollowUp> for FollowUp {
    fn from(message: pb::FollowUp) -> Self {
        let pb::FollowUp { needed, due_time, notes } = message;
        Self { needed, due_at: times::optional(due_time.as_ref()), notes }
    }
}

/// Returns the part of a conversation that a view shows.
pub(crate) fn shown(conversation: pb::Conversation, view: pb::ConversationView) -> pb::Conversation {
    match view {
        pb::ConversationView::Unspecified | pb::ConversationView::Full => conversation,
        pb::ConversationView::Basic => {
            pb::Conversation { latest_analysis: None, metadata: None, ..conversation }
        }
    }
}

/// Returns the row of a new conversation. Fields that the server sets are not taken from the client.
pub(crate) fn create(
    request: pb::CreateConversationRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Conversation> {
    let pb::CreateConversationRequest { conversation, request_id: _, reuse_open } = request;
    let pb::Conversation {
        id: _,
        customer_id,
        session_id,
        entry_point,
        contact_channel,
        modality,
        environment,
        presenter,
        status,
        start_time,
        end_time,
        duration: _,
        message_count: _,
        last_sequence: _,
        last_message_time: _,
        latest_analysis: _,
        outcome,
        outcome_notes,
        handoff_reason,
        follow_up,
        metadata,
        create_time: _,
        update_time: _,
        etag: _,
    } = conversation.unwrap_or_default();
    let pb::Presenter { kind, id: presenter_id, name, persona } = presenter.unwrap_or_default();
    let FollowUp { needed, due_at, notes } = follow_up.map(Into::into).unwrap_or_default();
    let status = stored(status).unwrap_or(Text(pb::ConversationStatus::Open));
    let said_end = times::optional(end_time.as_ref());
    let started_at =
        times::optional(start_time.as_ref()).unwrap_or_else(|| said_end.map_or(now, |end| end.min(now)));
    let (customer_id, (), ended_at, ()) = (
        rpc::id("conversation.customer_id", &customer_id),
        rules::check_not_ahead("conversation.start_time", started_at, now),
        rules::end_of_new(status, started_at, said_end, now),
        rules::check_reuse(reuse_open, &session_id),
    )
        .together()?;
    Ok(Conversation {
        id,
        customer_id,
        session_id: if session_id.is_empty() { Uuid::new_v4().to_string() } else { session_id },
        entry_point: stored(entry_point),
        contact_channel: stored(contact_channel),
        modality: stored(modality).unwrap_or(Text(pb::Modality::Text)),
        environment: stored(environment).unwrap_or(Text(pb::ConversationEnvironment::Live)),
        presenter_kind: stored(kind).unwrap_or(Text(pb::PresenterKind::AiAgent)),
        presenter_id,
        presenter_name: name,
        presenter_persona: persona,
        status,
        started_at,
        ended_at,
        last_sequence: 0,
        last_message_at: None,
        latest_analysis: None,
        outcome: stored(outcome),
        outcome_notes,
        handoff_reason: stored(handoff_reason),
        follow_up_needed: needed,
        follow_up_due_at: due_at,
        follow_up_notes: notes,
        metadata: structs::to_json(metadata.as_ref()),
        change_count: 0,
        own_change: 0,
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// Returns the row of a conversation that a client changed. Fields that only the server writes stay as they
/// are.
pub(crate) fn update(wanted: pb::Conversation, current: &Conversation) -> Conversation {
    let pb::Conversation {
        id: _,
        customer_id: _,
        session_id: _,
        entry_point,
        contact_channel,
        modality,
        environment: _,
        presenter,
        status,
        start_time: _,
        end_time: _,
        duration: _,
        message_count: _,
        last_sequence: _,
        last_message_time: _,
        latest_analysis: _,
        outcome,
        outcome_notes,
        handoff_reason,
        follow_up,
        metadata,
        create_time: _,
        update_time: _,
        etag: _,
    } = wanted;
    let pb::Presenter { kind, id: presenter_id, name, persona } = presenter.unwrap_or_default();
    let FollowUp { needed, due_at, notes } = follow_up.map(Into::into).unwrap_or_default();
    Conversation {
        entry_point: stored(entry_point),
        contact_channel: stored(contact_channel),
        modality: stored(modality).unwrap_or(current.modality),
        presenter_kind: stored(kind).unwrap_or(current.presenter_kind),
        presenter_id,
        presenter_name: name,
        presenter_persona: persona,
        status: stored(status).unwrap_or(current.status),
        outcome: stored(outcome),
        outcome_notes,
        handoff_reason: stored(handoff_reason),
        follow_up_needed: needed,
        follow_up_due_at: due_at,
        follow_up_notes: notes,
        metadata: structs::to_json(metadata.as_ref()),
        ..current.clone()
    }
}

/// Returns how a conversation ends.
pub(crate) fn ending(request: &pb::EndConversationRequest) -> Ending {
    let pb::EndConversationRequest {
        id: _,
        status,
        end_time,
        outcome,
        outcome_notes,
        handoff_reason,
        follow_up,
        etag: _,
        request_id: _,
    } = request;
    Ending {
        status: stored(*status),
        ended_at: times::optional(end_time.as_ref()),
        outcome: stored(*outcome),
        outcome_notes: rpc::non_empty(outcome_notes),
        handoff_reason: stored(*handoff_reason),
        follow_up: follow_up.clone().map(Into::into),
    }
}

/// Returns the order of a list. The rules of the contract admit no other text.
pub(crate) fn order(text: &str) -> (OrderKey, Direction) {
    let key = match text.strip_suffix(" desc").unwrap_or(text) {
        "update_time" => OrderKey::UpdatedAt,
        _ => OrderKey::StartedAt,
    };
    (key, Direction::of(text))
}

/// Returns which conversations a list shows.
pub(crate) fn filter(request: &pb::ListConversationsRequest) -> Result<Filter> {
    let filter = Filter {
        customer_id: rpc::optional_id("customer_id", &request.customer_id)?,
        session_id: rpc::non_empty(&request.session_id),
        statuses: stored_each(&request.statuses),
        entry_points: stored_each(&request.entry_points),
        environments: stored_each(&request.environments),
        presenter_kinds: stored_each(&request.presenter_kinds),
        presenter_id: rpc::non_empty(&request.presenter_id),
        outcomes: stored_each(&request.outcomes),
        follow_up_due_from: times::optional(request.follow_up_due_time_from.as_ref()),
        follow_up_due_until: times::optional(request.follow_up_due_time_until.as_ref()),
        started_from: times::optional(request.start_time_from.as_ref()),
        started_until: times::optional(request.start_time_until.as_ref()),
        modalities: stored_each(&request.modalities),
        analysed: Analysed {
            topic: rpc::non_empty(&request.topic).map(|topic| fold(&topic)),
            question: rpc::non_empty(&request.question).map(|question| fold(&question)),
            objection_kinds: stored_each(&request.objection_kinds),
            sentiments: stored_each(&request.sentiments),
        },
    };
    rules::check_bounded(&filter)?;
    Ok(filter)
}
