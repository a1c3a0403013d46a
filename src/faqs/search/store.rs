//! `customer_faq_terms`.
//!
//! Words are made by Postgres's full text search, here in SQL and not kept as a `tsvector`: under a
//! policy `@@` uses no index. The statements are written by hand, because diesel has neither its
//! functions nor LATERAL.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Double, Float, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::rules::{Candidate, MAX_POSTINGS};
use crate::db::TenantTx;
use crate::db::schema::customer_faq_terms::dsl;
use crate::error::Result;
use crate::faqs::store::Faq;
use crate::pb::FaqStatus;
use crate::rpc::words::Word;

/// How much a word counts that only the answer has: a question is about its words, an answer mentions
/// some.
const ANSWER_WEIGHT: f32 = 0.4;

/// Words of a FAQ at most, those of the question first: a few hundred are a long answer's.
const MAX_TERMS: i64 = 512;

/// Words of a query that count: the first ones of a long text say what it is about.
const MAX_WORDS: i64 = 32;

/// FAQs that are ranked: more than a search may give.
const MAX_CANDIDATES: i64 = 128;

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

/// The FAQs of a customer, of these statuses, that have words of a text: the 128 that match best, as
/// far as can be told from 64 FAQs of each word.
pub(crate) async fn list_candidates(
    tx: &TenantTx,
    customer_id: Uuid,
    config: &str,
    query: &str,
    statuses: &[FaqStatus],
) -> Result<Vec<Candidate>> {
    let list = ListCandidates {
        tenant: tx.tenant(),
        customer_id,
        config: config.to_owned(),
        query: query.to_owned(),
        statuses: statuses.iter().map(|status| status.word()).collect(),
    };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let candidates =
        rows.into_iter().map(|(id, confidence, active_at, newest, frequencies, words, weights)| Candidate {
            id,
            confidence,
            active_at,
            newest,
            frequencies,
            words,
            weights,
        });
    Ok(candidates.collect())
}

type Row = (Uuid, f64, DateTime<Utc>, DateTime<Utc>, Vec<i64>, Vec<i64>, Vec<f32>);

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

/// The statement of [`list_candidates`].
///
/// Of each word, FAQs are read that have it in the question first, and the newest of them. Who else has
/// a word that is cut off there is looked up for the candidates alone.
#[derive(QueryId)]
struct ListCandidates {
    tenant: Uuid,
    customer_id: Uuid,
    config: String,
    query: String,
    statuses: Vec<&'static str>,
}

impl Query for ListCandidates {
    type SqlType = (SqlUuid, Double, Timestamptz, Timestamptz, Array<BigInt>, Array<BigInt>, Array<Float>);
}

impl QueryFragment<Pg> for ListCandidates {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.walk_words(out.reborrow())?;
        self.walk_postings(out.reborrow())?;
        self.walk_candidates(out)
    }
}

impl ListCandidates {
    /// The words of the query, numbered from 1.
    fn walk_words<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
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
            "), terms AS MATERIALIZED (SELECT DISTINCT w.word, v.term FROM words AS w \
             CROSS JOIN LATERAL (VALUES (w.form), (w.stem)) AS v (term) WHERE v.term IS NOT NULL), ",
        );
        Ok(())
    }

    /// Who has them.
    fn walk_postings<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "postings AS MATERIALIZED (SELECT t.word, t.term, p.faq_id, p.weight, \
             count(*) OVER (PARTITION BY t.word, t.term) AS frequency FROM terms AS t \
             CROSS JOIN LATERAL (SELECT x.faq_id, x.weight FROM customer_faq_terms AS x WHERE x.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND x.customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(" AND x.term = t.term ORDER BY x.weight DESC, x.faq_id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&MAX_POSTINGS)?;
        out.push_sql(
            ") AS p), common AS MATERIALIZED (SELECT DISTINCT word, term FROM postings WHERE frequency = ",
        );
        out.push_bind_param::<BigInt, _>(&MAX_POSTINGS)?;
        // Shares are exact numbers, so that their sum does not depend on its order.
        out.push_sql(
            "), candidates AS MATERIALIZED (SELECT m.faq_id, array_agg(m.word) AS words, \
             array_agg(m.weight) AS weights FROM (SELECT p.faq_id, p.word, max(p.weight) AS weight, \
             max(round((p.weight * ln(1 + ",
        );
        out.push_bind_param::<BigInt, _>(&MAX_POSTINGS)?;
        out.push_sql(
            "::double precision / p.frequency))::numeric, 6)) AS share FROM postings AS p \
             GROUP BY p.faq_id, p.word) AS m GROUP BY m.faq_id ORDER BY sum(m.share) DESC, m.faq_id DESC LIMIT ",
        );
        out.push_bind_param::<BigInt, _>(&MAX_CANDIDATES)?;
        out.push_sql(") ");
        Ok(())
    }

    /// What ranks them.
    fn walk_candidates<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT f.id, f.derived_confidence, f.active_at, (SELECT n.active_at FROM customer_faqs AS n \
             WHERE n.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND n.customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(
            " ORDER BY n.active_at DESC LIMIT 1), (SELECT array_agg(coalesce(n.frequency, 0) ORDER BY w.word) \
             FROM words AS w LEFT JOIN (SELECT word, max(frequency) AS frequency FROM postings GROUP BY word) AS n \
             ON n.word = w.word), c.words || coalesce(l.words, '{}'), c.weights || coalesce(l.weights, '{}') \
             FROM candidates AS c CROSS JOIN LATERAL (SELECT x.id, x.derived_confidence, x.active_at \
             FROM customer_faqs AS x WHERE x.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND x.id = c.faq_id AND x.status = ANY (");
        out.push_bind_param::<Array<SqlText>, _>(&self.statuses)?;
        out.push_sql(
            ") OFFSET 0) AS f CROSS JOIN LATERAL (SELECT array_agg(k.word) AS words, array_agg(y.weight) AS weights \
             FROM common AS k CROSS JOIN LATERAL (SELECT x.weight FROM customer_faq_terms AS x WHERE x.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND x.faq_id = c.faq_id AND x.term = k.term OFFSET 0) AS y) AS l");
        Ok(())
    }
}
