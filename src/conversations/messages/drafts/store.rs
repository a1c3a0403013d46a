//! `message_drafts` and `message_pieces`.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Text as SqlText, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::conversations::messages::rules::{Hold, Piece};
use crate::db::TenantTx;
use crate::db::each;
use crate::db::fitted::{Rows, fitted};
use crate::db::literal::NO_COPY;
use crate::db::schema::{message_drafts, message_pieces};
use crate::db::statement::statement;
use crate::error::{Error, Result};
use crate::numbers;

/// The limit of messages that [`list_expired`] returns: a few batches of the lanes, which are used for other
/// writes too.
pub(crate) const MAX_EXPIRED: usize = 500;

/// Reads the messages of all tenants whose lease has run out.
const EXPIRED: &str = "
    SELECT d.tenant_id, d.conversation_id, m.message_key
    FROM message_drafts AS d
    JOIN conversation_messages AS m ON m.tenant_id = d.tenant_id AND m.id = d.message_id
    LEFT JOIN LATERAL (
        SELECT p.created_at FROM message_pieces AS p
        WHERE p.tenant_id = d.tenant_id AND p.message_id = d.message_id
        ORDER BY p.start_offset DESC LIMIT 1
    ) AS p ON true
    WHERE greatest(d.held_at, p.created_at) < clock_timestamp() - make_interval(secs => $1)
    LIMIT $2";

/// The limit of messages in progress that one look returns: more than are ever written at once.
const MAX_PROGRESS: i64 = 5_000;

/// Reads how far messages in progress have come.
///
/// It reads all messages in progress of all tenants, which are few, and then looks up each message. Without
/// messages in progress, it does not touch the conversations of the request. The table is empty at one moment
/// and has thousands of rows at the next, so the planner must have no choice. With a join, a plan that was made
/// while the table was empty reads all of it once for each conversation. `IS TRUE` has the conversations
/// hashed, and `LIMIT 1` keeps the lookups by key.
const PROGRESS: &str = "
    SELECT d.tenant_id, d.conversation_id, m.sequence, coalesce(m.change, 0) AS since, d.holder, p.length
    FROM message_drafts AS d
    CROSS JOIN LATERAL (
        SELECT m.sequence, m.change FROM conversation_messages AS m
        WHERE m.tenant_id = d.tenant_id AND m.id = d.message_id LIMIT 1
    ) AS m
    CROSS JOIN LATERAL (
        SELECT (p.start_offset + octet_length(p.text))::bigint AS length FROM message_pieces AS p
        WHERE p.tenant_id = d.tenant_id AND p.message_id = d.message_id
        ORDER BY p.start_offset DESC LIMIT 1
    ) AS p
    WHERE ((d.tenant_id, d.conversation_id) IN (SELECT k.tenant_id, k.id FROM unnest($1, $2) AS k (tenant_id, id)))
        IS TRUE
    LIMIT $3";

/// How far a message in progress has come.
#[derive(Debug, QueryableByName)]
pub(crate) struct Progress {
    #[diesel(sql_type = SqlUuid)]
    pub(crate) tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) conversation_id: Uuid,
    #[diesel(sql_type = BigInt)]
    pub(crate) sequence: i64,
    /// The number of the change that put it in progress; 0 if it is in progress since it was added.
    #[diesel(sql_type = BigInt)]
    pub(crate) since: i64,
    /// The id of the stream that holds it.
    #[diesel(sql_type = SqlUuid)]
    pub(crate) holder: Uuid,
    /// The length of its text in bytes.
    #[diesel(sql_type = BigInt)]
    pub(crate) length: i64,
}

/// A message in progress whose lease has run out.
#[derive(QueryableByName)]
pub(crate) struct Expired {
    #[diesel(sql_type = SqlUuid)]
    pub(crate) tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) conversation_id: Uuid,
    #[diesel(sql_type = SqlText)]
    pub(crate) message_key: String,
}

/// A piece of the text of a message in progress.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Text {
    pub(crate) message_id: Uuid,
    /// The offset of the piece, in bytes of the message's text.
    pub(crate) offset: i32,
    pub(crate) text: String,
}

/// Sets the streams that hold messages. A message that was not in progress becomes so.
pub(crate) async fn hold(tx: &TenantTx, holds: &[Hold<'_>]) -> Result<()> {
    let upsert = Upsert {
        tenant: tx.tenant(),
        message_ids: holds.iter().map(|hold| hold.message_id).collect(),
        conversation_ids: holds.iter().map(|hold| hold.conversation_id).collect(),
        producer_ids: holds.iter().map(|hold| &*hold.producer_id).collect(),
        holders: holds.iter().map(|hold| hold.holder).collect(),
    };
    upsert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Appends text to messages in progress.
pub(crate) async fn extend(tx: &TenantTx, pieces: &[Piece<'_>]) -> Result<()> {
    let offsets: std::result::Result<_, _> = pieces.iter().map(|piece| i32::try_from(piece.offset)).collect();
    let insert = Insert {
        tenant: tx.tenant(),
        message_ids: pieces.iter().map(|piece| piece.message_id).collect(),
        offsets: offsets.map_err(Error::internal)?,
        texts: pieces.iter().map(|piece| piece.text).collect(),
    };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Deletes the pieces of messages.
pub(crate) async fn delete_pieces(tx: &TenantTx, message_ids: &[Uuid]) -> Result<()> {
    diesel::delete(message_pieces::table)
        .filter(message_pieces::tenant_id.eq(tx.tenant()))
        .filter(message_pieces::message_id.eq_any(message_ids))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Deletes the drafts of messages: they are no longer in progress.
pub(crate) async fn delete(tx: &TenantTx, message_ids: &[Uuid]) -> Result<()> {
    diesel::delete(message_drafts::table)
        .filter(message_drafts::tenant_id.eq(tx.tenant()))
        .filter(message_drafts::message_id.eq_any(message_ids))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the newest messages in progress of a conversation and the streams that hold them, the last message
/// first. Ids are in the order of creation.
pub(crate) async fn list(tx: &TenantTx, conversation_id: Uuid, limit: i64) -> Result<Vec<(Uuid, Uuid)>> {
    let holders = message_drafts::table
        .filter(message_drafts::tenant_id.eq(tx.tenant()))
        .filter(message_drafts::conversation_id.eq(conversation_id))
        .order(message_drafts::message_id.desc())
        .limit(limit)
        .select((message_drafts::message_id, message_drafts::holder))
        .load(&mut tx.connection())
        .await?;
    Ok(holders)
}

/// Returns how far the messages in progress of these conversations have come, for messages that have text. Each
/// conversation is named by its tenant and its id. It runs as the owner, for all tenants.
pub(crate) async fn list_progress(
    connection: &mut AsyncPgConnection,
    tenants: &[Uuid],
    conversation_ids: &[Uuid],
) -> QueryResult<Vec<Progress>> {
    let query = diesel::sql_query(PROGRESS)
        .bind::<Array<SqlUuid>, _>(tenants)
        .bind::<Array<SqlUuid>, _>(conversation_ids)
        .bind::<BigInt, _>(MAX_PROGRESS);
    query.load(connection).await
}

/// Returns the stream that holds a message; `None` if the message is not in progress.
pub(crate) async fn find_holder(tx: &TenantTx, message_id: Uuid) -> Result<Option<Uuid>> {
    let holder = message_drafts::table
        .find((tx.tenant(), message_id))
        .select(message_drafts::holder)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(holder)
}

/// Returns the pieces of messages in progress within `bytes`, message by message, each message's pieces in
/// order.
pub(crate) async fn list_texts(tx: &TenantTx, message_ids: &[Uuid], bytes: usize) -> Result<Rows<Text>> {
    let texts = message_pieces::table
        .filter(message_pieces::tenant_id.eq(tx.tenant()))
        .filter(message_pieces::message_id.eq(each::Id))
        .order(message_pieces::start_offset)
        .select((message_pieces::message_id, message_pieces::start_offset, message_pieces::text));
    Ok(Rows::of(fitted(each::each(message_ids, texts), bytes).load(&mut tx.connection()).await?))
}

/// Returns the messages of all tenants whose lease has run out. The connection must not be a tenant's.
pub(crate) async fn list_expired(
    connection: &mut AsyncPgConnection,
    lease: Duration,
) -> QueryResult<Vec<Expired>> {
    let limit = numbers::count(MAX_EXPIRED);
    let query = diesel::sql_query(EXPIRED).bind::<Double, _>(lease.as_secs_f64()).bind::<BigInt, _>(limit);
    query.load(connection).await
}

statement! {
    /// The statement of [`hold`].
    struct Upsert<'h> {
        tenant: Uuid as SqlUuid,
        message_ids: Vec<Uuid> as Array<SqlUuid>,
        conversation_ids: Vec<Uuid> as Array<SqlUuid>,
        producer_ids: Vec<&'h str> as Array<SqlText>,
        holders: Vec<Uuid> as Array<SqlUuid>,
    }
    "INSERT INTO message_drafts AS d (tenant_id, message_id, conversation_id, producer_id, holder)
     SELECT :tenant, h.* FROM unnest(:message_ids, :conversation_ids, :producer_ids, :holders) AS h
     ON CONFLICT (tenant_id, message_id) DO UPDATE
     SET producer_id = excluded.producer_id, holder = excluded.holder, held_at = excluded.held_at,
         updated_at = excluded.updated_at, revision = d.revision + 1"
}

statement! {
    /// The statement of [`extend`].
    struct Insert<'p> {
        tenant: Uuid as SqlUuid,
        message_ids: Vec<Uuid> as Array<SqlUuid>,
        offsets: Vec<i32> as Array<Integer>,
        texts: Vec<&'p str> as Array<SqlText>,
    }
    "INSERT INTO message_pieces (tenant_id, message_id, start_offset, text)
     SELECT :tenant, p.* FROM unnest(:message_ids, :offsets, :texts) AS p",
    NO_COPY
}
