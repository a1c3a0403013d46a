//! The statement of `conversation_messages` that reads the messages for a context.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Integer, Jsonb, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Action;
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{MessageRole, MessageStatus};

/// The columns of a message that a context uses.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Said {
    pub(crate) conversation_id: Uuid,
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) role: Text<MessageRole>,
    pub(crate) author: String,
    pub(crate) status: Text<MessageStatus>,
    pub(crate) content: String,
    pub(crate) actions: Json<Vec<Action>>,
    /// The time of the message by the client's clock, or else the time it was added.
    pub(crate) said_at: DateTime<Utc>,
    /// The number of tokens of the quoted text; `None` if they are not counted.
    pub(crate) token_count: Option<i32>,
}

/// The conversations whose messages are read.
#[derive(Debug, Clone)]
pub(crate) enum Of {
    /// One conversation.
    Conversation(Uuid),
    /// The conversation of a customer that began last.
    Newest { customer_id: Uuid },
    /// Several conversations, one after the other.
    Conversations(Vec<Uuid>),
}

/// The limits on what is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The limit of tokens. The message that exceeds it is the last one.
    pub(crate) tokens: i64,
    /// The number of tokens that a message has besides its text.
    pub(crate) overhead: i64,
    /// The limit of bytes.
    pub(crate) bytes: i64,
    /// The limit of actions of a message. One more is read, to show that there are more.
    pub(crate) actions: i64,
    /// The limit of characters of an action's arguments, and of its result. One more is read, to show that
    /// there are more.
    pub(crate) characters: i32,
}

/// The limit of messages, however short they are: to add up the tokens of more takes too long.
const MAX_MESSAGES: i64 = 8_192;

/// The number of bytes in a unit of [`Room::bytes`]: what the shortest message has besides its text.
const UNIT: i64 = 64;

/// The size in bytes up to which actions are not cut. Compressed values are larger when they are read.
const SHORT_ACTIONS: i32 = 500;

/// Returns the last messages of conversations, the last one of each first, within the limits; at least one.
/// Tokens that are not counted are estimated. Messages beyond the limits are neither sent nor decompressed.
pub(crate) async fn list_latest(tx: &TenantTx, of: &Of, room: Room) -> Result<Vec<Said>> {
    let query = ListLatest { tenant: tx.tenant(), of: of.clone(), room };
    Ok(query.load(&mut tx.connection()).await?)
}

/// The statement of [`list_latest`].
struct ListLatest {
    tenant: Uuid,
    of: Of,
    room: Room,
}

/// Each kind of [`Of`] makes another statement.
impl QueryId for ListLatest {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListLatest {
    type SqlType =
        (SqlUuid, SqlUuid, BigInt, SqlText, SqlText, SqlText, SqlText, Jsonb, Timestamptz, Nullable<Integer>);
}

impl QueryFragment<Pg> for ListLatest {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { tenant, of, room } = self;
        let Room { tokens, overhead, bytes, actions, characters } = room;
        // From the inside out: the messages, with their tokens added up, and the part of their actions that is
        // read. Each row is repeated once per unit of bytes, until all units are taken. Of these, the first of
        // each row is returned.
        out.push_sql(
            "SELECT conversation_id, id, sequence, role, author, status, content, told, \
             coalesce(sent_at, created_at), token_count FROM (SELECT u.*, generate_series(1, \
             (octet_length(content) + octet_length(told::text)) / ",
        );
        out.push_bind_param::<BigInt, _>(&UNIT)?;
        out.push_sql("::int + 1) AS unit FROM (SELECT s.*, a.told FROM (SELECT m.*, c.place, \
             sum(m.tokens) OVER (ORDER BY c.place, m.sequence DESC ROWS UNBOUNDED PRECEDING) AS tokens_through FROM ");
        match of {
            Of::Conversation(id) => {
                out.push_sql("(SELECT ");
                out.push_bind_param::<SqlUuid, _>(id)?;
                out.push_sql(", 1)");
            }
            Of::Newest { customer_id } => {
                out.push_sql("(SELECT id, 1 FROM conversations WHERE tenant_id = ");
                out.push_bind_param::<SqlUuid, _>(tenant)?;
                out.push_sql(" AND customer_id = ");
                out.push_bind_param::<SqlUuid, _>(customer_id)?;
                out.push_sql(" ORDER BY started_at DESC, id DESC LIMIT 1)");
            }
            Of::Conversations(ids) => {
                out.push_sql("unnest(");
                out.push_bind_param::<Array<SqlUuid>, _>(ids)?;
                out.push_sql(") WITH ORDINALITY");
            }
        }
        out.push_sql(
            " AS c (id, place) CROSS JOIN LATERAL (SELECT *, coalesce(token_count, octet_length(content) / 4) + ",
        );
        out.push_bind_param::<BigInt, _>(overhead)?;
        out.push_sql(" AS tokens FROM conversation_messages WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        // No message has fewer tokens than the overhead, so no more messages than this fit.
        out.push_sql(" AND conversation_id = c.id ORDER BY sequence DESC LIMIT least(1 + ");
        out.push_bind_param::<BigInt, _>(tokens)?;
        out.push_sql(" / ");
        out.push_bind_param::<BigInt, _>(overhead)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&MAX_MESSAGES)?;
        out.push_sql(
            ")) AS m ORDER BY c.place, m.sequence DESC) AS s \
             CROSS JOIN LATERAL (SELECT CASE WHEN pg_column_compression(s.actions) IS NULL \
             AND pg_column_size(s.actions) <= ",
        );
        out.push_bind_param::<Integer, _>(&SHORT_ACTIONS)?;
        out.push_sql(
            " THEN s.actions ELSE (SELECT coalesce(jsonb_agg(jsonb_build_object(\
             'id', coalesce(x.action ->> 'id', ''), 'name', coalesce(x.action ->> 'name', ''), \
             'arguments', left(coalesce(x.action ->> 'arguments', ''), ",
        );
        out.push_bind_param::<Integer, _>(characters)?;
        out.push_sql(" + 1), 'result', left(coalesce(x.action ->> 'result', ''), ");
        out.push_bind_param::<Integer, _>(characters)?;
        out.push_sql(
            " + 1), 'status', x.action -> 'status') ORDER BY x.place), '[]') \
             FROM jsonb_array_elements(s.actions) WITH ORDINALITY AS x (action, place) WHERE x.place <= ",
        );
        out.push_bind_param::<BigInt, _>(actions)?;
        out.push_sql(" + 1) END AS told OFFSET 0) AS a WHERE s.tokens_through - s.tokens < ");
        out.push_bind_param::<BigInt, _>(tokens)?;
        out.push_sql(" OFFSET 0) AS u LIMIT greatest(1, ");
        out.push_bind_param::<BigInt, _>(bytes)?;
        out.push_sql(" / ");
        out.push_bind_param::<BigInt, _>(&UNIT)?;
        out.push_sql(")) AS p WHERE unit = 1 ORDER BY place, sequence DESC");
        Ok(())
    }
}
