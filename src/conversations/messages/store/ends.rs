//! The statement that compares the ends of messages with finishes that are sent again.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Integer, Jsonb, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::append::said;
use super::{Action, Ai};
use crate::conversations::messages::rules::{Compared, Finish};
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::error::Result;

/// Compares finishes with their messages. Postgres compares them, message by message: the actions may be long,
/// and there may be many.
pub(crate) async fn compare(tx: &TenantTx, finishes: &[Finish<'_>]) -> Result<Vec<Compared>> {
    let fields = |ai: Option<&Ai>| ai.map_or_else(|| Value::Object(serde_json::Map::new()), said);
    let compare = Compare {
        tenant: tx.tenant(),
        places: finishes.iter().map(|finish| i32::try_from(finish.place).unwrap_or(i32::MAX)).collect(),
        ids: finishes.iter().map(|finish| finish.message_id).collect(),
        ais: finishes.iter().map(|finish| fields(finish.ai)).collect(),
        actions: finishes.iter().map(|finish| finish.actions).collect(),
    };
    let rows: Vec<(i32, Vec<String>)> = compare.load(&mut tx.connection()).await?;
    let compared = rows
        .into_iter()
        .filter_map(|(place, differing)| Some(Compared { place: usize::try_from(place).ok()?, differing }));
    Ok(compared.collect())
}

/// The statement of [`compare`].
struct Compare<'f> {
    tenant: Uuid,
    places: Vec<i32>,
    ids: Vec<Uuid>,
    ais: Vec<Value>,
    actions: Vec<&'f Json<Vec<Action>>>,
}

impl QueryId for Compare<'_> {
    type QueryId = Compare<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Compare<'_> {
    type SqlType = (Integer, Array<SqlText>);
}

impl QueryFragment<Pg> for Compare<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // A field of `ai` that holds microseconds has a name without its unit in the contract.
        out.push_sql(
            "SELECT f.place, CASE WHEN m.actions IS DISTINCT FROM f.actions THEN ARRAY['actions'] \
             ELSE ARRAY[]::text[] END || ARRAY(SELECT 'ai.' || regexp_replace(e.key, '_us$', '') \
             FROM jsonb_each(f.ai) AS e WHERE (m.ai -> e.key) IS DISTINCT FROM e.value ORDER BY e.key) \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Integer>, _>(&self.places)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.ais)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.actions)?;
        out.push_sql(
            ") AS f (place, id, ai, actions) CROSS JOIN LATERAL (SELECT ai, actions FROM conversation_messages \
             WHERE id = f.id AND tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" OFFSET 0) AS m");
        Ok(())
    }
}
