//! The statements of `conversation_messages` that write a batch: each column is an array.

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{Action, Ai, Message, NewMessage};
use crate::conversations::messages::rules::{Addition, Closing, Reopening};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::literal::NO_COPY;
use crate::db::statement::{fragment, statement};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{MessageRole, MessageStatus};

/// Inserts messages at their places.
pub(crate) async fn insert(tx: &TenantTx, additions: &[Addition<'_>], now: DateTime<Utc>) -> Result<()> {
    let insert = Insert { tenant: tx.tenant(), now, messages: Columns::of(additions) };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Inserts messages behind the last ones of their conversations, which must be locked. The sequence of an addition is
/// its place among the new messages of its conversation, from 1. Inserts nothing if one of the messages has a key that
/// its conversation has already. Inserts nothing into a conversation that is over, or has no `room` left.
pub(crate) async fn insert_behind(
    tx: &TenantTx,
    additions: &[Addition<'_>],
    room: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    let messages = || additions.iter().map(|addition| addition.message);
    let insert = InsertBehind {
        tenant: tx.tenant(),
        now,
        room,
        conversation_ids: messages().map(|message| message.conversation_id).collect(),
        message_keys: messages().map(|message| message.message_key.as_str()).collect(),
        messages: Columns::of(additions),
    };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Puts messages in progress again, some without their text. Pieces of text are not touched.
pub(crate) async fn reopen(tx: &TenantTx, reopenings: &[Reopening], now: DateTime<Utc>) -> Result<()> {
    let reopen = Reopen {
        tenant: tx.tenant(),
        now,
        ids: reopenings.iter().map(|reopening| reopening.message_id).collect(),
        changes: reopenings.iter().map(|reopening| reopening.change).collect(),
        emptied: reopenings.iter().map(|reopening| reopening.emptied).collect(),
    };
    reopen.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Closes messages in progress, with all their stored text, and returns them.
pub(crate) async fn close(
    tx: &TenantTx,
    closings: &[Closing<'_>],
    now: DateTime<Utc>,
) -> Result<Vec<Message>> {
    let close = Close {
        tenant: tx.tenant(),
        now,
        ids: closings.iter().map(|closing| closing.message_id).collect(),
        statuses: closings.iter().map(|closing| closing.status).collect(),
        changes: closings.iter().map(|closing| closing.change).collect(),
        ais: closings.iter().map(|closing| closing.content.ai.map(said)).collect(),
        actions: closings
            .iter()
            .map(|closing| {
                (!closing.content.actions.is_empty()).then(|| Json(closing.content.actions.to_vec()))
            })
            .collect(),
    };
    Ok(close.load(&mut tx.connection()).await?)
}

/// Returns the fields that are set for a model.
pub(super) fn said(ai: &Ai) -> Value {
    let object = |ai: &Ai| match serde_json::to_value(ai) {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let open = object(&Ai::default());
    Value::Object(object(ai).into_iter().filter(|(field, value)| open.get(field) != Some(value)).collect())
}

statement! {
    /// The statement of [`insert`].
    struct Insert<'m> {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        messages: Columns<'m>,
    }
    "INSERT INTO conversation_messages (
         tenant_id, created_at, updated_at, status, id, conversation_id, sequence, message_key, role, author,
         content, content_type, ai, actions, metadata, sent_at, token_count, fingerprint
     )
     SELECT :tenant, :now, :now, m.*
     FROM :messages AS m",
    NO_COPY
}

statement! {
    /// The statement of [`insert_behind`].
    struct InsertBehind<'m> {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        room: i64 as BigInt,
        conversation_ids: Vec<Uuid> as Array<SqlUuid>,
        message_keys: Vec<&'m str> as Array<SqlText>,
        messages: Columns<'m>,
    }
    "INSERT INTO conversation_messages (
         tenant_id, created_at, updated_at, status, id, conversation_id, sequence, message_key, role, author,
         content, content_type, ai, actions, metadata, sent_at, token_count, fingerprint
     )
     SELECT
         :tenant, :now, :now, m.status, m.id, m.conversation_id, c.last_sequence + m.place, m.message_key, m.role,
         m.author, m.content, m.content_type, m.ai, m.actions, m.metadata, m.sent_at, m.token_count, m.fingerprint
     FROM :messages AS m (
         status, id, conversation_id, place, message_key, role, author, content, content_type, ai, actions, metadata,
         sent_at, token_count, fingerprint
     )
     CROSS JOIN LATERAL (
         SELECT last_sequence FROM conversations
         WHERE id = m.conversation_id AND tenant_id = :tenant AND status NOT IN ('ENDED', 'ABANDONED')
             AND last_sequence <= :room
         OFFSET 0
     ) AS c
     WHERE NOT EXISTS (
         SELECT FROM unnest(:conversation_ids, :message_keys) AS k (conversation_id, message_key)
         CROSS JOIN LATERAL (
             SELECT FROM conversation_messages
             WHERE conversation_id = k.conversation_id AND message_key = k.message_key AND tenant_id = :tenant
             OFFSET 0
         ) AS known
     )",
    NO_COPY
}

fragment! {
    /// Messages to insert: each column is an array.
    struct Columns<'m> {
        statuses: Vec<Text<MessageStatus>> as Array<SqlText>,
        ids: Vec<Uuid> as Array<SqlUuid>,
        conversation_ids: Vec<Uuid> as Array<SqlUuid>,
        sequences: Vec<i64> as Array<BigInt>,
        message_keys: Vec<&'m str> as Array<SqlText>,
        roles: Vec<Text<MessageRole>> as Array<SqlText>,
        authors: Vec<&'m str> as Array<SqlText>,
        contents: Vec<&'m str> as Array<SqlText>,
        content_types: Vec<&'m str> as Array<SqlText>,
        ais: Vec<Option<&'m Json<Ai>>> as Array<Nullable<Jsonb>>,
        actions: Vec<&'m Json<Vec<Action>>> as Array<Jsonb>,
        metadata: Vec<&'m Value> as Array<Jsonb>,
        sent_ats: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        token_counts: Vec<Option<i32>> as Array<Nullable<Integer>>,
        fingerprints: Vec<&'m [u8]> as Array<Binary>,
    }
    "unnest(
         :statuses, :ids, :conversation_ids, :sequences, :message_keys, :roles, :authors,
         :contents, :content_types, :ais, :actions, :metadata, :sent_ats, :token_counts, :fingerprints
     )"
}

impl<'m> Columns<'m> {
    fn of(additions: &[Addition<'m>]) -> Self {
        let mut columns = Self {
            statuses: Vec::new(),
            ids: Vec::new(),
            conversation_ids: Vec::new(),
            sequences: Vec::new(),
            message_keys: Vec::new(),
            roles: Vec::new(),
            authors: Vec::new(),
            contents: Vec::new(),
            content_types: Vec::new(),
            ais: Vec::new(),
            actions: Vec::new(),
            metadata: Vec::new(),
            sent_ats: Vec::new(),
            token_counts: Vec::new(),
            fingerprints: Vec::new(),
        };
        for addition in additions {
            columns.push(addition);
        }
        columns
    }

    fn push(&mut self, addition: &Addition<'m>) {
        let Addition { message, sequence, status } = addition;
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
            token_count,
            fingerprint,
        } = *message;
        self.statuses.push(*status);
        self.ids.push(*id);
        self.conversation_ids.push(*conversation_id);
        self.sequences.push(*sequence);
        self.message_keys.push(message_key);
        self.roles.push(*role);
        self.authors.push(author);
        self.contents.push(content);
        self.content_types.push(content_type);
        self.ais.push(ai.as_ref());
        self.actions.push(actions);
        self.metadata.push(metadata);
        self.sent_ats.push(*sent_at);
        self.token_counts.push(*token_count);
        self.fingerprints.push(fingerprint);
    }
}

statement! {
    /// The statement of [`reopen`].
    struct Reopen {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        ids: Vec<Uuid> as Array<SqlUuid>,
        changes: Vec<i64> as Array<BigInt>,
        emptied: Vec<bool> as Array<Bool>,
    }
    "UPDATE conversation_messages AS m
     SET status = 'IN_PROGRESS', change = r.change, content = CASE WHEN r.emptied THEN '' ELSE m.content END,
         revision = m.revision + 1, updated_at = :now
     FROM unnest(:ids, :changes, :emptied) AS r (id, change, emptied)
     WHERE m.id = r.id AND m.tenant_id = :tenant"
}

statement! {
    /// The statement of [`close`].
    struct Close {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        ids: Vec<Uuid> as Array<SqlUuid>,
        statuses: Vec<Text<MessageStatus>> as Array<SqlText>,
        changes: Vec<i64> as Array<BigInt>,
        ais: Vec<Option<Value>> as Array<Nullable<Jsonb>>,
        actions: Vec<Option<Json<Vec<Action>>>> as Array<Nullable<Jsonb>>,
    }
    "UPDATE conversation_messages AS m
     SET status = c.status, change = c.change, token_count = NULL,
         content = m.content || (
             SELECT coalesce(string_agg(p.text, '' ORDER BY p.start_offset), '')
             FROM message_pieces AS p WHERE p.tenant_id = :tenant AND p.message_id = m.id
         ),
         ai = CASE WHEN c.ai IS NULL THEN m.ai ELSE coalesce(m.ai, '{}') || c.ai END,
         actions = coalesce(c.actions, m.actions), revision = m.revision + 1, updated_at = :now
     FROM unnest(:ids, :statuses, :changes, :ais, :actions) AS c (id, status, change, ai, actions)
     WHERE m.id = c.id AND m.tenant_id = :tenant
     RETURNING m.id, m.conversation_id, m.sequence, m.message_key, m.role, m.author, m.status, m.content,
         m.content_type, m.ai, m.actions, m.metadata, m.sent_at, m.created_at, m.updated_at, m.revision"
}
