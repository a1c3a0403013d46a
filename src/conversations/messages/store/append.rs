//! The statements of `conversation_messages` that write a batch: each column is an array.
//!
//! They are written by hand: diesel has no UNNEST, and a statement whose type is its name is prepared once per
//! connection.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
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
use crate::db::literal::{NO_COPY, push_of_tenant};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{MessageRole, MessageStatus};

/// Inserts messages at their places.
pub(crate) async fn insert(tx: &TenantTx, additions: &[Addition<'_>], now: DateTime<Utc>) -> Result<()> {
    let mut insert = Insert::new(tx.tenant(), now);
    for addition in additions {
        insert.push(addition);
    }
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

/// The statement of [`insert`]: each column of the table is an array.
struct Insert<'m> {
    tenant: Uuid,
    now: DateTime<Utc>,
    statuses: Vec<Text<MessageStatus>>,
    ids: Vec<Uuid>,
    conversation_ids: Vec<Uuid>,
    sequences: Vec<i64>,
    message_keys: Vec<&'m str>,
    roles: Vec<Text<MessageRole>>,
    authors: Vec<&'m str>,
    contents: Vec<&'m str>,
    content_types: Vec<&'m str>,
    ais: Vec<Option<&'m Json<Ai>>>,
    actions: Vec<&'m Json<Vec<Action>>>,
    metadata: Vec<&'m Value>,
    sent_ats: Vec<Option<DateTime<Utc>>>,
    token_counts: Vec<Option<i32>>,
    fingerprints: Vec<&'m [u8]>,
}

impl<'m> Insert<'m> {
    fn new(tenant: Uuid, now: DateTime<Utc>) -> Self {
        Self {
            tenant,
            now,
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
        }
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

/// The statement is the same for any lifetime.
impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO conversation_messages (tenant_id, created_at, updated_at, status, id, conversation_id, \
             sequence, message_key, role, author, content, content_type, ai, actions, metadata, sent_at, token_count, fingerprint) \
             SELECT ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(", m.* FROM unnest(");
        out.push_bind_param::<Array<SqlText>, _>(&self.statuses)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.conversation_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.sequences)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.message_keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.roles)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.authors)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.contents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.content_types)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Jsonb>>, _>(&self.ais)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.actions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.metadata)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Timestamptz>>, _>(&self.sent_ats)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Integer>>, _>(&self.token_counts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.fingerprints)?;
        out.push_sql(") AS m");
        out.push_sql(NO_COPY);
        Ok(())
    }
}

/// The statement of [`reopen`].
#[derive(QueryId)]
struct Reopen {
    tenant: Uuid,
    now: DateTime<Utc>,
    ids: Vec<Uuid>,
    changes: Vec<i64>,
    emptied: Vec<bool>,
}

impl QueryFragment<Pg> for Reopen {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE conversation_messages AS m SET status = 'IN_PROGRESS', change = r.change, \
             content = CASE WHEN r.emptied THEN '' ELSE m.content END, revision = m.revision + 1, updated_at = ",
        );
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(" FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.changes)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Bool>, _>(&self.emptied)?;
        out.push_sql(") AS r (id, change, emptied) WHERE m.id = r.id AND m.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        Ok(())
    }
}

/// The statement of [`close`].
#[derive(QueryId)]
struct Close {
    tenant: Uuid,
    now: DateTime<Utc>,
    ids: Vec<Uuid>,
    statuses: Vec<Text<MessageStatus>>,
    changes: Vec<i64>,
    ais: Vec<Option<Value>>,
    actions: Vec<Option<Json<Vec<Action>>>>,
}

impl Query for Close {
    type SqlType = <diesel::dsl::AsSelect<Message, Pg> as Expression>::SqlType;
}

impl QueryFragment<Pg> for Close {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let set = "UPDATE conversation_messages AS m SET status = c.status, change = c.change, token_count = NULL, \
             content = m.content || (SELECT coalesce(string_agg(p.text, '' ORDER BY p.start_offset), '') \
             FROM message_pieces AS p WHERE p.tenant_id = {tenant} AND p.message_id = m.id), \
             ai = CASE WHEN c.ai IS NULL THEN m.ai ELSE coalesce(m.ai, '{}') || c.ai END, \
             actions = coalesce(c.actions, m.actions), revision = m.revision + 1, updated_at = ";
        push_of_tenant(&mut out, set, &self.tenant)?;
        out.push_bind_param::<Timestamptz, _>(&self.now)?;
        out.push_sql(" FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.statuses)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.changes)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Jsonb>>, _>(&self.ais)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Jsonb>>, _>(&self.actions)?;
        out.push_sql(") AS c (id, status, change, ai, actions) WHERE m.id = c.id AND m.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(
            " RETURNING m.id, m.conversation_id, m.sequence, m.message_key, m.role, m.author, m.status, \
             m.content, m.content_type, m.ai, m.actions, m.metadata, m.sent_at, m.created_at, m.updated_at, \
             m.revision",
        );
        Ok(())
    }
}
