//! Messages: messages of the wire ⇄ rows.

use uuid::Uuid;

use super::actions::Name;
use super::quote;
use super::rules::{Change, Placed, Write};
use super::store::{Action, Ai, Message, NewMessage};
use crate::db::json::Json;
use crate::db::words::{Text, stored, wire};
use crate::error::{Error, Result};
use crate::idempotency::fingerprint;
use crate::numbers;
use crate::pb;
use crate::pb::add_message_response::Result as Answer;
use crate::pb::get_message_request::Name as Named;
use crate::rpc::etag::Etag;
use crate::rpc::{self, structs};
use crate::times;

/// The media type of a text whose client sets none.
const PLAIN: &str = "text/plain";

impl From<Message> for pb::Message {
    fn from(row: Message) -> Self {
        let Message {
            id,
            conversation_id,
            sequence,
            message_key,
            role,
            author,
            status,
            content,
            content_type,
            ai,
            actions: Json(actions),
            metadata,
            sent_at,
            created_at,
            updated_at,
            revision,
        } = row;
        Self {
            id: id.to_string(),
            conversation_id: conversation_id.to_string(),
            sequence: numbers::int32(sequence),
            message_key,
            role: wire(Some(role)),
            author,
            status: wire(Some(status)),
            content,
            content_type,
            ai: ai.map(|Json(ai)| ai.into()),
            actions: actions.into_iter().map(Into::into).collect(),
            metadata: structs::from_json(&metadata),
            sent_time: sent_at.map(times::to_wire),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

impl From<Ai> for pb::AiMetadata {
    fn from(row: Ai) -> Self {
        let Ai {
            provider,
            model,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            response_duration_us,
            time_to_first_token_us,
            finish_reason,
        } = row;
        Self {
            provider,
            model,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            response_duration: response_duration_us.map(times::duration_from_micros),
            time_to_first_token: time_to_first_token_us.map(times::duration_from_micros),
            finish_reason,
        }
    }
}

impl From<pb::AiMetadata> for Ai {
    fn from(message: pb::AiMetadata) -> Self {
        let pb::AiMetadata {
            provider,
            model,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            response_duration,
            time_to_first_token,
            finish_reason,
        } = message;
        Self {
            provider,
            model,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            response_duration_us: response_duration.as_ref().map(times::duration_to_micros),
            time_to_first_token_us: time_to_first_token.as_ref().map(times::duration_to_micros),
            finish_reason,
        }
    }
}

impl From<Action> for pb::MessageAction {
    fn from(row: Action) -> Self {
        let Action { id, name, arguments, result, status } = row;
        Self { id, name, arguments, result, status: wire(status) }
    }
}

impl From<pb::MessageAction> for Action {
    fn from(message: pb::MessageAction) -> Self {
        let pb::MessageAction { id, name, arguments, result, status } = message;
        Self { id, name, arguments, result, status: stored(status) }
    }
}

/// Returns the part of a message that a view shows.
pub(crate) fn shown(message: pb::Message, view: pb::MessageView) -> pb::Message {
    match view {
        pb::MessageView::Unspecified | pb::MessageView::Full => message,
        pb::MessageView::Basic => pb::Message { ai: None, actions: Vec::new(), metadata: None, ..message },
    }
}

/// Returns a message to add. Its fingerprint covers all fields of the client, the key too. Fields that the
/// server sets are not part of it.
pub(crate) fn new_message(conversation_id: Uuid, message: pb::Message) -> NewMessage {
    let message = pb::Message {
        id: String::new(),
        conversation_id: String::new(),
        sequence: 0,
        status: 0,
        create_time: None,
        update_time: None,
        etag: String::new(),
        ..message
    };
    let fingerprint = fingerprint(&message);
    let pb::Message {
        id: _,
        conversation_id: _,
        sequence: _,
        message_key,
        role,
        author,
        status: _,
        content,
        content_type,
        ai,
        actions,
        metadata,
        sent_time,
        create_time: _,
        update_time: _,
        etag: _,
    } = message;
    NewMessage {
        id: Uuid::now_v7(),
        token_count: quote::count_in_passing(&content),
        conversation_id,
        message_key,
        // The rules of the contract admit no other role.
        role: stored(role).unwrap_or(Text(pb::MessageRole::User)),
        author,
        content,
        content_type: if content_type.is_empty() { PLAIN.to_owned() } else { content_type },
        ai: ai.map(|ai| Json(ai.into())),
        actions: Json(actions.into_iter().map(Into::into).collect()),
        metadata: structs::to_json(metadata.as_ref()),
        sent_at: times::optional(sent_time.as_ref()),
        fingerprint,
    }
}

/// Returns the name of the message that a request asks for.
pub(crate) fn name(request: &pb::GetMessageRequest) -> Result<Name> {
    match &request.name {
        Some(Named::Id(id)) => rpc::id("id", id).map(Name::Id),
        Some(Named::MessageKey(key)) => Ok(Name::Key(key.clone())),
        // The rules of the contract admit no request without a name.
        None => Err(Error::invalid("name", "required", "must be an id or a message_key")),
    }
}

/// Returns a message to open. Its fingerprint covers only its key and its role. A producer that knows them may
/// go on with it, also another process that does not know the rest.
fn started_message(conversation_id: Uuid, start: pb::MessageStart) -> (NewMessage, String, bool) {
    let pb::MessageStart {
        message_key,
        role,
        content_type,
        author,
        sent_time,
        ai,
        metadata,
        producer_id,
        restart,
    } = start;
    let fingerprint =
        fingerprint(&pb::MessageStart { message_key: message_key.clone(), role, ..Default::default() });
    let message = pb::Message {
        message_key,
        role,
        author,
        content_type,
        ai,
        metadata,
        sent_time,
        ..Default::default()
    };
    // Its tokens are counted when it is closed.
    let message = NewMessage { fingerprint, token_count: None, ..new_message(conversation_id, message) };
    (message, producer_id, restart)
}

/// Returns the write that adds a message.
pub(crate) fn add(conversation_id: Uuid, message: pb::Message) -> Write {
    let message_key = message.message_key.clone();
    let change = Change::Add(Box::new(new_message(conversation_id, message)));
    Write { conversation_id, message_key, change }
}

/// Returns the write with which the stream `holder` opens a message.
pub(crate) fn start(conversation_id: Uuid, start: pb::MessageStart, holder: Uuid) -> Write {
    let message_key = start.message_key.clone();
    let (message, producer_id, restart) = started_message(conversation_id, start);
    let change = Change::Start { message: Box::new(message), producer_id, holder, restart };
    Write { conversation_id, message_key, change }
}

/// Returns the write with which the stream `holder` closes a message.
pub(crate) fn finish(conversation_id: Uuid, finish: pb::MessageFinish, holder: Uuid) -> Write {
    let pb::MessageFinish { message_key, length, ai, actions } = finish;
    let change = Change::Finish {
        holder,
        length: length.into(),
        ai: ai.map(|ai| Json(ai.into())),
        actions: Json(actions.into_iter().map(Into::into).collect()),
    };
    Write { conversation_id, message_key, change }
}

/// Returns the answer to a committed write.
pub(crate) fn ack(placed: Placed) -> pb::AddMessageResponse {
    let Placed {
        conversation_id,
        message_key,
        id,
        sequence,
        status,
        durable_offset,
        since: _,
        deduplicated,
        effect: _,
    } = placed;
    answer(Answer::Ack(pb::MessageAck {
        message_key,
        message_id: id.to_string(),
        sequence: numbers::int32(sequence),
        durable_offset: numbers::int32(durable_offset),
        deduplicated,
        conversation_id: conversation_id.to_string(),
        status: status.into(),
    }))
}

/// Returns the answer to a refused write.
pub(crate) fn error(conversation_id: String, message_key: String, error: Error) -> pb::AddMessageResponse {
    answer(Answer::Error(pb::MessageError { message_key, status: Some(error.into()), conversation_id }))
}

/// Returns the answer that tells the client that the server is stopping. It answers no request.
pub(crate) fn go_away(reason: &str) -> pb::AddMessageResponse {
    answer(Answer::GoAway(pb::GoAway { reason: reason.to_owned() }))
}

fn answer(answer: Answer) -> pb::AddMessageResponse {
    pb::AddMessageResponse { result: Some(answer) }
}
