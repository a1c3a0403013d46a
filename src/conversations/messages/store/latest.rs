//! The statement of `conversation_messages` that reads the messages for a context.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Action;
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::schema::conversation_messages;
use crate::db::statement::{fragment, statement};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{MessageRole, MessageStatus};

/// The columns of a message that a context uses.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = conversation_messages, check_for_backend(Pg))]
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
    #[diesel(sql_type = Timestamptz)]
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
    let Room { tokens, overhead, bytes, actions, characters } = room;
    let list = ListLatest {
        tenant: tx.tenant(),
        conversations: Conversations::new(tx.tenant(), of),
        tokens,
        overhead,
        max_messages: MAX_MESSAGES,
        bytes,
        unit: UNIT,
        short_actions: SHORT_ACTIONS,
        actions,
        characters,
    };
    Ok(list.load(&mut tx.connection()).await?)
}

statement! {
    /// The statement of [`list_latest`]. From the inside out: the messages, with their tokens added up, and the part
    /// of their actions that is read. Each row is repeated once per unit of bytes, until all units are taken. Of
    /// these, the first of each row is returned.
    ///
    /// No message has fewer tokens than the overhead, so no more messages fit than the tokens by the overhead.
    struct ListLatest<'o> {
        tenant: Uuid as SqlUuid,
        conversations: Conversations<'o>,
        tokens: i64 as BigInt,
        overhead: i64 as BigInt,
        max_messages: i64 as BigInt,
        bytes: i64 as BigInt,
        unit: i64 as BigInt,
        short_actions: i32 as Integer,
        actions: i64 as BigInt,
        characters: i32 as Integer,
    }
    "SELECT
         conversation_id, id, sequence, role, author, status, content, told AS actions,
         coalesce(sent_at, created_at) AS said_at, token_count
     FROM (
         SELECT
             u.*,
             generate_series(1, (octet_length(content) + octet_length(told::text)) / :unit::int + 1) AS unit
         FROM (
             SELECT s.*, a.told
             FROM (
                 SELECT
                     m.*, c.place,
                     sum(m.tokens) OVER (ORDER BY c.place, m.sequence DESC ROWS UNBOUNDED PRECEDING)
                         AS tokens_through
                 FROM :conversations AS c (id, place)
                 CROSS JOIN LATERAL (
                     SELECT *, coalesce(token_count, octet_length(content) / 4) + :overhead AS tokens
                     FROM conversation_messages
                     WHERE tenant_id = :tenant AND conversation_id = c.id
                     ORDER BY sequence DESC
                     LIMIT least(1 + :tokens / :overhead, :max_messages)
                 ) AS m
                 ORDER BY c.place, m.sequence DESC
             ) AS s
             CROSS JOIN LATERAL (
                 SELECT
                     CASE WHEN pg_column_compression(s.actions) IS NULL
                         AND pg_column_size(s.actions) <= :short_actions
                     THEN s.actions
                     ELSE (
                         SELECT coalesce(
                             jsonb_agg(
                                 jsonb_build_object(
                                     'id', coalesce(x.action ->> 'id', ''),
                                     'name', coalesce(x.action ->> 'name', ''),
                                     'arguments', left(coalesce(x.action ->> 'arguments', ''), :characters + 1),
                                     'result', left(coalesce(x.action ->> 'result', ''), :characters + 1),
                                     'status', x.action -> 'status'
                                 )
                                 ORDER BY x.place
                             ),
                             '[]'
                         )
                         FROM jsonb_array_elements(s.actions) WITH ORDINALITY AS x (action, place)
                         WHERE x.place <= :actions + 1
                     ) END AS told
                 OFFSET 0
             ) AS a
             WHERE s.tokens_through - s.tokens < :tokens
             OFFSET 0
         ) AS u
         LIMIT greatest(1, :bytes / :unit)
     ) AS p
     WHERE unit = 1
     ORDER BY place, sequence DESC"
}

fragment! {
    /// The ids of the conversations, each with its place.
    enum Conversations<'o> {
        One { id: Uuid as SqlUuid } => "(SELECT :id, 1)",
        Newest { tenant: Uuid as SqlUuid, customer_id: Uuid as SqlUuid } =>
            "(
                 SELECT id, 1 FROM conversations WHERE tenant_id = :tenant AND customer_id = :customer_id
                 ORDER BY started_at DESC, id DESC
                 LIMIT 1
             )",
        Each { ids: &'o [Uuid] as Array<SqlUuid> } => "unnest(:ids) WITH ORDINALITY",
    }
}

impl<'o> Conversations<'o> {
    fn new(tenant: Uuid, of: &'o Of) -> Self {
        match of {
            Of::Conversation(id) => Self::One { id: *id },
            Of::Newest { customer_id } => Self::Newest { tenant, customer_id: *customer_id },
            Of::Conversations(ids) => Self::Each { ids },
        }
    }
}
