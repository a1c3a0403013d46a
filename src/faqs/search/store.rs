//! `customer_faq_terms`.
//!
//! Words are made by Postgres's full text search, here in SQL and not kept as a `tsvector`: under a
//! policy `@@` uses no index. The statements are written by hand, because diesel has neither its
//! functions nor LATERAL.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Float, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::rules::MAX_POSTINGS;
use crate::db::TenantTx;
use crate::db::schema::customer_faq_terms::dsl;
use crate::error::Result;
use crate::faqs::store::Faq;

/// How much a word counts that only the answer has: a question is about its words, an answer mentions
/// some.
const ANSWER_WEIGHT: f32 = 0.4;

/// Words of a FAQ at most, those of the question first: a few hundred are a long answer's.
const MAX_TERMS: i64 = 512;

/// Words of a query that count: the first ones of a long text say what it is about.
const MAX_WORDS: i64 = 32;

/// The words of the texts of `given (text, weight, config)`, at their positions: as they are written,
/// and their stems. Both configurations count positions alike; a word that has no stem says nothing.
/// What is longer than 255 bytes is no word.
const WORDS: &str = "SELECT g.weight, p.position, max(l.lexeme) FILTER (WHERE l.written) AS form, \
     max(l.lexeme) FILTER (WHERE NOT l.written) AS stem FROM given AS g CROSS JOIN LATERAL (\
     SELECT true AS written, w.* FROM unnest(to_tsvector('simple', g.text)) AS w (lexeme, positions, marks) \
     UNION ALL \
     SELECT false, w.* FROM unnest(to_tsvector(g.config, g.text)) AS w (lexeme, positions, marks)) AS l \
     CROSS JOIN LATERAL unnest(l.positions) AS p (position) WHERE octet_length(l.lexeme) <= 255 \
     GROUP BY g.weight, p.position HAVING count(*) FILTER (WHERE NOT l.written) > 0";

/// A word of a query, as it is written or by its stem, and who has it, as far as is looked at.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Posting {
    /// The word, counted from 1.
    pub(crate) word: i64,
    pub(crate) faq_ids: Vec<Uuid>,
    /// How much it counts for each of them.
    pub(crate) weights: Vec<f32>,
}

/// Adds the words of a FAQ.
pub(crate) async fn insert(tx: &TenantTx, faq: &Faq) -> Result<()> {
    let insert = Insert {
        tenant: tx.tenant(),
        customer_id: faq.customer_id,
        faq_id: faq.id,
        question: faq.question.clone(),
        answer: faq.answer.clone(),
        config: faq.search_config.clone(),
    };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Deletes the words of a FAQ.
pub(crate) async fn delete(tx: &TenantTx, faq_id: Uuid) -> Result<()> {
    diesel::delete(dsl::customer_faq_terms)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::faq_id.eq(faq_id))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// The words of a text, and the FAQs of a customer that have them: of each form of a word 64, those first
/// that have it in the question, and then the newest.
pub(crate) async fn list_postings(
    tx: &TenantTx,
    customer_id: Uuid,
    config: &str,
    query: &str,
) -> Result<Vec<Posting>> {
    let list = ListPostings {
        tenant: tx.tenant(),
        customer_id,
        config: config.to_owned(),
        query: query.to_owned(),
        limit: i64::try_from(MAX_POSTINGS).unwrap_or(i64::MAX),
    };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`insert`].
#[derive(QueryId)]
struct Insert {
    tenant: Uuid,
    customer_id: Uuid,
    faq_id: Uuid,
    question: String,
    answer: String,
    config: String,
}

impl QueryFragment<Pg> for Insert {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH given AS (SELECT t.text, t.weight, c.config FROM (VALUES (");
        out.push_bind_param::<SqlText, _>(&self.question)?;
        out.push_sql(", 1::real), (");
        out.push_bind_param::<SqlText, _>(&self.answer)?;
        out.push_sql(", ");
        out.push_bind_param::<Float, _>(&ANSWER_WEIGHT)?;
        out.push_sql(")) AS t (text, weight) CROSS JOIN (SELECT ");
        out.push_bind_param::<SqlText, _>(&self.config)?;
        out.push_sql(
            "::regconfig AS config) AS c) \
             INSERT INTO customer_faq_terms (tenant_id, customer_id, faq_id, term, weight) SELECT ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.faq_id)?;
        out.push_sql(", v.term, max(w.weight) FROM (");
        out.push_sql(WORDS);
        out.push_sql(
            ") AS w CROSS JOIN LATERAL (VALUES (w.form), (w.stem)) AS v (term) WHERE v.term IS NOT NULL \
             GROUP BY v.term ORDER BY max(w.weight) DESC, min(w.position), v.term LIMIT ",
        );
        out.push_bind_param::<BigInt, _>(&MAX_TERMS)?;
        Ok(())
    }
}

/// The statement of [`list_postings`].
#[derive(QueryId)]
struct ListPostings {
    tenant: Uuid,
    customer_id: Uuid,
    config: String,
    query: String,
    limit: i64,
}

impl Query for ListPostings {
    type SqlType = (BigInt, Array<SqlUuid>, Array<Float>);
}

impl QueryFragment<Pg> for ListPostings {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH given AS (SELECT ");
        out.push_bind_param::<SqlText, _>(&self.query)?;
        out.push_sql(" AS text, 1::real AS weight, ");
        out.push_bind_param::<SqlText, _>(&self.config)?;
        out.push_sql(
            "::regconfig AS config), words AS MATERIALIZED (\
             SELECT row_number() OVER (ORDER BY min(f.position)) AS word, f.form, f.stem FROM (",
        );
        out.push_sql(WORDS);
        out.push_sql(") AS f GROUP BY f.form, f.stem ORDER BY word LIMIT ");
        out.push_bind_param::<BigInt, _>(&MAX_WORDS)?;
        out.push_sql(
            ") SELECT w.word, p.faq_ids, p.weights FROM words AS w \
             CROSS JOIN LATERAL (VALUES (w.form), (nullif(w.stem, w.form))) AS v (term) \
             CROSS JOIN LATERAL (SELECT coalesce(array_agg(x.faq_id), '{}') AS faq_ids, \
             coalesce(array_agg(x.weight), '{}') AS weights FROM (SELECT t.faq_id, t.weight \
             FROM customer_faq_terms AS t WHERE t.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND t.customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(" AND t.term = v.term ORDER BY t.weight DESC, t.faq_id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(") AS x) AS p WHERE v.term IS NOT NULL");
        Ok(())
    }
}
