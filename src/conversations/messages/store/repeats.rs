//! The statement that compares messages with what is said of them again.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Jsonb, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::append::said;
use super::{Action, Ai, NewMessage};
use crate::conversations::messages::rules::{Compared, Repeat, Said};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::statement::statement;
use crate::error::{Error, Result};

/// Compares what these say with the messages that they are about. Postgres does it, message by message: texts
/// and actions may be long, and there may be many.
pub(crate) async fn compare(tx: &TenantTx, repeats: &[Repeat<'_>]) -> Result<Vec<Compared>> {
    let places: std::result::Result<_, _> =
        repeats.iter().map(|repeat| i32::try_from(repeat.place)).collect();
    let compare = Compare {
        tenant: tx.tenant(),
        places: places.map_err(Error::internal)?,
        ids: repeats.iter().map(|repeat| repeat.message_id).collect(),
        saids: repeats.iter().map(|repeat| fields(&repeat.said)).collect(),
    };
    let rows: Vec<Row> = compare.load(&mut tx.connection()).await?;
    let compared = rows.into_iter().filter_map(|Row { place, differing }| {
        Some(Compared { place: usize::try_from(place).ok()?, differing })
    });
    Ok(compared.collect())
}

/// The fields of a write under their names in the contract, but for units, with the values that their columns have.
fn fields(said: &Said<'_>) -> Value {
    match said {
        Said::Message(message) => of_message(message),
        Said::Start(message) => json!({ "role": message.role }),
        Said::Finish { ai, actions } => of_finish(*ai, actions),
    }
}

fn of_message(message: &NewMessage) -> Value {
    let NewMessage {
        id: _,
        conversation_id: _,
        message_key: _,
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
    } = message;
    json!({
        "role": role,
        "author": author,
        "content": content,
        "content_type": content_type,
        "ai": ai,
        "actions": actions,
        "metadata": metadata,
        "sent_time": sent_at.as_ref().map(DateTime::<Utc>::timestamp_micros),
    })
}

/// Of a model, only what is said is compared.
fn of_finish(ai: Option<&Ai>, actions: &Json<Vec<Action>>) -> Value {
    let mut fields = Map::new();
    if let Some(Value::Object(said)) = ai.map(said) {
        fields.extend(said.into_iter().map(|(name, value)| (format!("ai.{name}"), value)));
    }
    fields.insert("actions".to_owned(), json!(actions));
    Value::Object(fields)
}

/// A row of the statement of [`compare`].
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    place: i32,
    #[diesel(sql_type = Array<SqlText>)]
    differing: Vec<String>,
}

statement! {
    /// The statement of [`compare`]. A field of `ai` that holds microseconds is named in the contract without its
    /// unit.
    struct Compare {
        tenant: Uuid as SqlUuid,
        places: Vec<i32> as Array<Integer>,
        ids: Vec<Uuid> as Array<SqlUuid>,
        saids: Vec<Value> as Array<Jsonb>,
    }
    "SELECT
         r.place,
         ARRAY(
             SELECT regexp_replace(e.key, '_us$', '') FROM jsonb_each(r.said) AS e
             WHERE (m.stored -> e.key) IS DISTINCT FROM e.value
             ORDER BY e.key
         ) AS differing
     FROM unnest(:places, :ids, :saids) AS r (place, id, said)
     CROSS JOIN LATERAL (
         SELECT
             jsonb_build_object(
                 'role', role, 'author', author, 'content', content, 'content_type', content_type, 'ai', ai,
                 'actions', actions, 'metadata', metadata,
                 'sent_time', (extract(epoch FROM sent_at) * 1000000)::bigint
             ) || coalesce(
                 (SELECT jsonb_object_agg('ai.' || a.key, a.value) FROM jsonb_each(ai) AS a), '{}'
             ) AS stored
         FROM conversation_messages
         WHERE id = r.id AND tenant_id = :tenant
         OFFSET 0
     ) AS m"
}
