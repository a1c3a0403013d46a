//! The work of models for the messages of conversations.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::{Conversations, SPREAD, Scope, SpreadRow, SpreadType, to_spread};
use crate::dashboard::rules::{MAX_VALUES, Spread};
use crate::db::TenantTx;
use crate::error::Result;

/// The usage of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::dashboard) struct Usage {
    /// Empty for messages without a model.
    pub(in crate::dashboard) model: String,
    pub(in crate::dashboard) messages: i64,
    pub(in crate::dashboard) prompt_tokens: i64,
    pub(in crate::dashboard) completion_tokens: i64,
    pub(in crate::dashboard) cached_tokens: i64,
    pub(in crate::dashboard) response_duration: Spread,
}

/// Returns the response times of all models, and the usage of each, the one with the most messages first.
pub(in crate::dashboard::conversations) async fn list_usages(
    tx: &TenantTx,
    scope: &Scope,
) -> Result<(Spread, Vec<Usage>)> {
    let list = ListUsages { of: Conversations::new(tx, scope), limit: MAX_VALUES };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let mut all = Spread::default();
    let mut usages = Vec::with_capacity(rows.len());
    for (is_all, model, (messages, prompt_tokens, completion_tokens, cached_tokens), spread) in rows {
        let response_duration = to_spread(spread);
        if is_all {
            all = response_duration;
        } else {
            usages.push(Usage {
                model,
                messages,
                prompt_tokens,
                completion_tokens,
                cached_tokens,
                response_duration,
            });
        }
    }
    Ok((all, usages))
}

/// Whether the row is for all models, the model, its messages and tokens, and its response times.
type Row = (bool, String, (i64, i64, i64, i64), SpreadRow);

/// The statement of [`list_usages`]. It goes conversation by conversation (`OFFSET 0`). The planner would
/// otherwise read all messages, if it expects many in the window. All columns of messages that it reads are in
/// the index of their order.
#[derive(QueryId)]
struct ListUsages {
    of: Conversations,
    limit: i64,
}

impl Query for ListUsages {
    type SqlType = (Bool, SqlText, (BigInt, BigInt, BigInt, BigInt), SpreadType);
}

/// Returns the SQL of a sum of tokens, cut to the largest number of the contract.
fn sum(column: &str) -> String {
    format!("least(coalesce(sum({column}), 0), {})::bigint", i64::MAX)
}

impl QueryFragment<Pg> for ListUsages {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT grouping(model) = 1 AS is_all, coalesce(model, ''), count(*)");
        for column in ["prompt_tokens", "completion_tokens", "cached_tokens"] {
            out.push_sql(", ");
            out.push_sql(&sum(column));
        }
        out.push_sql(", ");
        out.push_sql(SPREAD);
        out.push_sql(
            " FROM (SELECT ai_model AS model, ai_prompt_tokens AS prompt_tokens, \
             ai_completion_tokens AS completion_tokens, ai_cached_tokens AS cached_tokens, \
             ai_response_duration_us AS us",
        );
        self.of.walk_ast(out.reborrow())?;
        out.push_sql(" CROSS JOIN LATERAL (SELECT * FROM conversation_messages WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.of.tenant)?;
        out.push_sql(
            " AND conversation_id = c.id AND ai_model IS NOT NULL OFFSET 0) AS m) AS m \
             GROUP BY GROUPING SETS ((), (model)) \
             ORDER BY is_all DESC, count(*) DESC, model COLLATE \"C\" LIMIT 1 + ",
        );
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}
