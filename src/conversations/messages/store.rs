//! `conversation_messages`.

pub(crate) mod append;
pub(crate) mod latest;
pub(crate) mod repeats;
pub(crate) mod spans;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Limits, Rows, Size, fitted_by};
use crate::db::json::Json;
use crate::db::keyset::Direction;
use crate::db::schema::conversation_messages::{self, dsl};
use crate::db::shown::{shown, shown_or};
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::numbers;
use crate::pb::{ActionStatus, MessageRole, MessageStatus};

diesel::define_sql_function! {
    /// Returns the first characters of a text.
    fn left(text: SqlText, characters: Integer) -> SqlText;
}

/// A row of `conversation_messages`.
#[derive(Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = conversation_messages, check_for_backend(Pg))]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) message_key: String,
    pub(crate) role: Text<MessageRole>,
    pub(crate) author: String,
    pub(crate) status: Text<MessageStatus>,
    pub(crate) content: String,
    pub(crate) content_type: String,
    pub(crate) ai: Option<Json<Ai>>,
    pub(crate) actions: Json<Vec<Action>>,
    pub(crate) metadata: serde_json::Value,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

/// A message with the number of its last change; `None` if it is as it was added.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = conversation_messages, check_for_backend(Pg))]
pub(crate) struct Numbered {
    #[diesel(embed)]
    pub(crate) message: Message,
    pub(crate) change: Option<i64>,
}

/// The column `ai`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ai {
    pub(crate) provider: String,
    pub(crate) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cached_tokens: Option<i32>,
    pub(crate) response_duration_us: Option<i64>,
    pub(crate) time_to_first_token_us: Option<i64>,
    pub(crate) finish_reason: String,
}

/// An item of the column `actions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Action {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
    pub(crate) result: String,
    pub(crate) status: Option<Text<ActionStatus>>,
}

/// A message to add, before it has its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewMessage {
    pub(crate) id: Uuid,
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) role: Text<MessageRole>,
    pub(crate) author: String,
    pub(crate) content: String,
    pub(crate) content_type: String,
    pub(crate) ai: Option<Json<Ai>>,
    pub(crate) actions: Json<Vec<Action>>,
    pub(crate) metadata: serde_json::Value,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    /// The number of tokens of the text as a context quotes it; `None` if they were not counted.
    pub(crate) token_count: Option<i32>,
    /// The SHA-256 of what the client sent.
    pub(crate) fingerprint: Vec<u8>,
}

impl Message {
    /// Returns a message as it is right after it was added.
    pub(crate) fn of(message: &NewMessage, sequence: i64, status: MessageStatus, now: DateTime<Utc>) -> Self {
        let NewMessage {
            id,
            conversation_id,
            message_key,
            role,
            author,
            content,
            content_type,
            ai,
            actions,
            metadata,
            sent_at,
            token_count: _,
            fingerprint: _,
        } = message.clone();
        Self {
            id,
            conversation_id,
            sequence,
            message_key,
            role,
            author,
            status: Text(status),
            content,
            content_type,
            ai,
            actions,
            metadata,
            sent_at,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }
}

/// The stored message with a key.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = conversation_messages, check_for_backend(Pg))]
pub(crate) struct StoredMessage {
    pub(crate) conversation_id: Uuid,
    pub(crate) message_key: String,
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) status: Text<MessageStatus>,
    /// The length of its text in bytes.
    #[diesel(sql_type = BigInt)]
    pub(crate) durable_offset: i64,
    /// The number of its last change; 0 if it is as it was added.
    #[diesel(sql_type = BigInt)]
    pub(crate) since: i64,
    /// The producer that writes it, while it is in progress.
    #[diesel(sql_type = Nullable<SqlText>)]
    pub(crate) producer_id: Option<String>,
    /// The stream that may write it, while it is in progress.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(crate) holder: Option<Uuid>,
    /// The milliseconds since the last write to it, by the clock of the database, while it is in progress.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(crate) idle_ms: Option<i64>,
}

/// The number of tokens of a message's text, as of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) id: Uuid,
    pub(crate) revision: i64,
    pub(crate) tokens: i32,
}

/// The size of a message in bytes: of its columns that may be long. The others are smaller than the unit that
/// the size is rounded up to. The size of an uncompressed value is known without reading it.
pub(crate) struct MessageSize;

impl Size for MessageSize {
    const SQL: &'static str = "octet_length(p.content) + octet_length(p.author) \
         + CASE WHEN pg_column_compression(p.actions) IS NULL THEN pg_column_size(p.actions) \
         ELSE octet_length(p.actions::text) END \
         + CASE WHEN pg_column_compression(p.metadata) IS NULL THEN pg_column_size(p.metadata) \
         ELSE octet_length(p.metadata::text) END";

    // Messages of a conversation are found by its index alone: by their places, their changes or their ids.
    const IS_PLANNED_ALONE: bool = false;
}

/// Returns the messages with these keys, each key with its conversation.
pub(crate) async fn list_known(tx: &TenantTx, keys: &[(Uuid, &str)]) -> Result<Vec<StoredMessage>> {
    let (conversation_ids, message_keys) = keys.iter().copied().unzip();
    let query = ListKnown { tenant: tx.tenant(), conversation_ids, message_keys };
    Ok(query.load(&mut tx.connection()).await?)
}

/// Returns one message of a conversation.
pub(crate) async fn find(tx: &TenantTx, conversation_id: Uuid, id: Uuid) -> Result<Option<Message>> {
    let message = dsl::conversation_messages
        .find((tx.tenant(), id))
        .filter(dsl::conversation_id.eq(conversation_id))
        .select(Message::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(message)
}

/// Returns the message of a conversation with this key.
pub(crate) async fn find_by_key(tx: &TenantTx, conversation_id: Uuid, key: &str) -> Result<Option<Message>> {
    let message = dsl::conversation_messages
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::message_key.eq(key))
        .select(Message::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(message)
}

/// Returns whether a conversation has this message.
pub(crate) async fn exists(tx: &TenantTx, conversation_id: Uuid, id: Uuid) -> Result<bool> {
    let found: Option<Uuid> = dsl::conversation_messages
        .find((tx.tenant(), id))
        .filter(dsl::conversation_id.eq(conversation_id))
        .select(dsl::id)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Returns the roles of the last messages of a conversation and the beginnings of their texts, the latest
/// first.
pub(crate) async fn list_last(
    tx: &TenantTx,
    conversation_id: Uuid,
    limit: i64,
    characters: i32,
) -> Result<Vec<(Text<MessageRole>, String)>> {
    let beginnings = dsl::conversation_messages
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .order(dsl::sequence.desc())
        .limit(limit)
        .select((dsl::role, left(dsl::content, characters)))
        .load(&mut tx.connection())
        .await?;
    Ok(beginnings)
}

/// Returns messages of a conversation within `bytes`, the last one first.
pub(crate) async fn list_by_id(
    tx: &TenantTx,
    conversation_id: Uuid,
    ids: &[Uuid],
    bytes: usize,
) -> Result<Vec<Numbered>> {
    let messages = dsl::conversation_messages
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::id.eq_any(ids.to_vec()))
        .order(dsl::sequence.desc())
        .limit(numbers::count(ids.len()))
        .select(Numbered::as_select());
    Ok(Rows::of(fitted_by::<MessageSize, _>(messages, bytes).load(&mut tx.connection()).await?).rows)
}

/// The sequences between which messages are listed, without the messages at these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) after: i64,
    pub(crate) before: i64,
}

/// Returns the messages between two sequences, within the limits. Unless `is_full`, without metadata, and without
/// what models and tools did.
pub(crate) async fn list(
    tx: &TenantTx,
    conversation_id: Uuid,
    Between { after, before }: Between,
    direction: Direction,
    is_full: bool,
    Limits { rows, bytes }: Limits,
) -> Result<Rows<Message>> {
    // The columns of `Message`, in its order.
    let columns = (
        dsl::id,
        dsl::conversation_id,
        dsl::sequence,
        dsl::message_key,
        dsl::role,
        dsl::author,
        dsl::status,
        dsl::content,
        dsl::content_type,
        shown(dsl::ai, is_full),
        shown_or(dsl::actions, is_full, "'[]'"),
        shown_or(dsl::metadata, is_full, "'{}'"),
        dsl::sent_at,
        dsl::created_at,
        dsl::updated_at,
        dsl::revision,
    );
    let messages = dsl::conversation_messages
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::sequence.gt(after))
        .filter(dsl::sequence.lt(before))
        .limit(rows)
        .select(columns);
    match direction {
        Direction::Ascending => Ok(Rows::of(
            fitted_by::<MessageSize, _>(messages.order(dsl::sequence.asc()), bytes)
                .load(&mut tx.connection())
                .await?,
        )),
        Direction::Descending => Ok(Rows::of(
            fitted_by::<MessageSize, _>(messages.order(dsl::sequence.desc()), bytes)
                .load(&mut tx.connection())
                .await?,
        )),
    }
}

/// Returns the messages up to a sequence that changed after a change of the conversation, within the limits, in the
/// order of their changes.
pub(crate) async fn list_changed(
    tx: &TenantTx,
    conversation_id: Uuid,
    after: i64,
    through_sequence: i64,
    Limits { rows, bytes }: Limits,
) -> Result<Rows<Numbered>> {
    let messages = dsl::conversation_messages
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::conversation_id.eq(conversation_id))
        .filter(dsl::change.gt(after))
        .filter(dsl::sequence.le(through_sequence))
        .order(dsl::change)
        .limit(rows)
        .select(Numbered::as_select());
    Ok(Rows::of(fitted_by::<MessageSize, _>(messages, bytes).load(&mut tx.connection()).await?))
}

/// Stores the token counts of messages, if they still have the text that was counted. For a client the message
/// does not change. Messages that another transaction has locked are left out, because their text is about to
/// change. So a transaction that holds several locks never waits for one.
pub(crate) async fn update_token_counts(tx: &TenantTx, counts: &[Counted]) -> Result<()> {
    let update = UpdateTokenCounts {
        tenant: tx.tenant(),
        ids: counts.iter().map(|count| count.id).collect(),
        revisions: counts.iter().map(|count| count.revision).collect(),
        tokens: counts.iter().map(|count| count.tokens).collect(),
    };
    update.execute(&mut tx.connection()).await?;
    Ok(())
}

statement! {
    /// The statement of [`list_known`]. It looks up key by key, independent of the planner's statistics: `OFFSET 0`
    /// prevents other joins. The lookup of pieces costs nothing for a message that is not in progress.
    struct ListKnown<'k> {
        tenant: Uuid as SqlUuid,
        conversation_ids: Vec<Uuid> as Array<SqlUuid>,
        message_keys: Vec<&'k str> as Array<SqlText>,
    }
    "SELECT
         m.conversation_id, m.message_key, m.id, m.sequence, m.fingerprint, m.status,
         coalesce(p.end_offset, octet_length(m.content))::bigint AS durable_offset,
         coalesce(m.change, 0) AS since, d.producer_id, d.holder,
         (extract(epoch FROM clock_timestamp() - greatest(d.held_at, p.created_at)) * 1000)::bigint AS idle_ms
     FROM unnest(:conversation_ids, :message_keys) AS k (conversation_id, message_key)
     CROSS JOIN LATERAL (
         SELECT * FROM conversation_messages
         WHERE conversation_id = k.conversation_id AND message_key = k.message_key AND tenant_id = :tenant
         OFFSET 0
     ) AS m
     LEFT JOIN message_drafts AS d ON d.tenant_id = :tenant AND d.message_id = m.id
     LEFT JOIN LATERAL (
         SELECT start_offset + octet_length(text) AS end_offset, created_at FROM message_pieces
         WHERE tenant_id = :tenant AND message_id = d.message_id
         ORDER BY start_offset DESC
         LIMIT 1
     ) AS p ON true"
}

statement! {
    /// The statement of [`update_token_counts`].
    struct UpdateTokenCounts {
        tenant: Uuid as SqlUuid,
        ids: Vec<Uuid> as Array<SqlUuid>,
        revisions: Vec<i64> as Array<BigInt>,
        tokens: Vec<i32> as Array<Integer>,
    }
    "WITH free AS (
         SELECT m.id, c.tokens
         FROM conversation_messages AS m
         JOIN unnest(:ids, :revisions, :tokens) AS c (id, revision, tokens)
             ON m.id = c.id AND m.revision = c.revision
         WHERE m.tenant_id = :tenant
         FOR NO KEY UPDATE OF m SKIP LOCKED
     )
     UPDATE conversation_messages AS m
     SET token_count = f.tokens
     FROM free AS f
     WHERE m.id = f.id AND m.tenant_id = :tenant"
}
