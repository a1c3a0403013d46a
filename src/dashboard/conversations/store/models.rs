//! The work of models for the messages of conversations.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Conversations, SPREAD, Scope, SpreadRow};
use crate::dashboard::rules::{MAX_VALUES, Spread};
use crate::db::TenantTx;
use crate::db::statement::statement;
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
    let list =
        ListUsages { tenant: tx.tenant(), conversations: Conversations::new(tx, scope), limit: MAX_VALUES };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let mut all = Spread::default();
    let mut usages = Vec::with_capacity(rows.len());
    for row in rows {
        let Row {
            is_all,
            model,
            messages,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            response_duration,
        } = row;
        let response_duration = response_duration.into();
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

/// A row of the statement of [`list_usages`].
#[derive(Debug, QueryableByName)]
struct Row {
    /// Whether the row is for all models.
    #[diesel(sql_type = Bool)]
    is_all: bool,
    #[diesel(sql_type = SqlText)]
    model: String,
    #[diesel(sql_type = BigInt)]
    messages: i64,
    #[diesel(sql_type = BigInt)]
    prompt_tokens: i64,
    #[diesel(sql_type = BigInt)]
    completion_tokens: i64,
    #[diesel(sql_type = BigInt)]
    cached_tokens: i64,
    /// The spread of the response times.
    #[diesel(embed)]
    response_duration: SpreadRow,
}

statement! {
    /// The statement of [`list_usages`]. It goes conversation by conversation (`OFFSET 0`). The planner would
    /// otherwise read all messages, if it expects many in the window. All columns of messages that it reads are in
    /// the index of their order. Sums of tokens are cut to the largest number of the contract.
    struct ListUsages<'s> {
        tenant: Uuid as SqlUuid,
        conversations: Conversations<'s>,
        limit: i64 as BigInt,
    }
    r#"SELECT
         grouping(model) = 1 AS is_all,
         coalesce(model, '') AS model,
         count(*) AS messages,
         least(coalesce(sum(prompt_tokens), 0), 9223372036854775807)::bigint AS prompt_tokens,
         least(coalesce(sum(completion_tokens), 0), 9223372036854775807)::bigint AS completion_tokens,
         least(coalesce(sum(cached_tokens), 0), 9223372036854775807)::bigint AS cached_tokens,"#,
    SPREAD,
    r#"
     FROM (
         SELECT
             ai_model AS model, ai_prompt_tokens AS prompt_tokens, ai_completion_tokens AS completion_tokens,
             ai_cached_tokens AS cached_tokens, ai_response_duration_us AS us
         FROM :conversations AS c
         CROSS JOIN LATERAL (
             SELECT * FROM conversation_messages
             WHERE tenant_id = :tenant AND conversation_id = c.id AND ai_model IS NOT NULL
             OFFSET 0
         ) AS m
     ) AS m
     GROUP BY GROUPING SETS ((), (model))
     ORDER BY is_all DESC, count(*) DESC, model COLLATE "C"
     LIMIT 1 + :limit"#
}
