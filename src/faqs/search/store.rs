//! `customer_faq_terms`.
//!
//! The words are chosen in `rules`; Postgres's dictionaries turn them into stems. They are not stored as a
//! `tsvector`, because under a policy `@@` uses no index. The statements are written by hand, because diesel
//! has neither UNNEST nor LATERAL.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Float, Integer, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::model::Posting;
use super::rules::{self, MAX_POSTINGS, MAX_TERMS, Terms, Word};
use crate::db::TenantTx;
use crate::db::literal::NO_COPY;
use crate::db::schema::customer_faq_terms::dsl;
use crate::error::Result;
use crate::faqs::store::Faq;

/// The limit of words of a query that count: the first words of a long text say what it is about.
const MAX_WORDS: i64 = 32;

/// Inserts the words of a FAQ.
pub(crate) async fn insert(tx: &TenantTx, faq: &Faq) -> Result<()> {
    let insert = Insert {
        tenant: tx.tenant(),
        customer_id: faq.customer_id,
        faq_id: faq.id,
        dictionary: rules::dictionary(&faq.search_config),
        terms: rules::terms(faq.id, &faq.question, &faq.answer),
        limit: i64::try_from(MAX_TERMS).unwrap_or(i64::MAX),
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

/// Returns the FAQs of a customer that have each word, in the order of their places. The entries of each form
/// of a word are limited to its part of all entries.
pub(crate) async fn list_postings(
    tx: &TenantTx,
    customer_id: Uuid,
    config: &str,
    words: &[Word],
) -> Result<Vec<Posting>> {
    let list = ListPostings {
        tenant: tx.tenant(),
        customer_id,
        dictionary: rules::dictionary(config),
        written: words.iter().map(|word| word.written.clone()).collect(),
        forms: words.iter().map(|word| word.form.clone()).collect(),
        entries: i64::try_from(MAX_POSTINGS).unwrap_or(i64::MAX),
    };
    Ok(list.load(&mut tx.connection()).await?)
}

/// Returns the weight of each of these terms in each of these FAQs that has it.
pub(crate) async fn list_weights(
    tx: &TenantTx,
    faq_ids: &[Uuid],
    terms: &[String],
) -> Result<Vec<(Uuid, String, f32)>> {
    let list = ListWeights { tenant: tx.tenant(), faq_ids: faq_ids.to_vec(), terms: terms.to_vec() };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`insert`]. A stop word of the language is not stored. A word without a stem is stored as
/// it is.
#[derive(QueryId)]
struct Insert {
    tenant: Uuid,
    customer_id: Uuid,
    faq_id: Uuid,
    dictionary: String,
    terms: Terms,
    limit: i64,
}

impl QueryFragment<Pg> for Insert {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Terms { written, forms, weights, places } = &self.terms;
        out.push_sql(
            "INSERT INTO customer_faq_terms (tenant_id, customer_id, faq_id, term, weight, place) SELECT ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.faq_id)?;
        out.push_sql(", v.term, max(w.weight), min(w.place) FROM unnest(");
        out.push_bind_param::<Array<SqlText>, _>(written)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(forms)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Float>, _>(weights)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(places)?;
        out.push_sql(") WITH ORDINALITY AS w (written, form, weight, place, position) CROSS JOIN LATERAL ");
        push_stems(&mut out, &self.dictionary)?;
        out.push_sql(
            " CROSS JOIN LATERAL (VALUES (w.form), (s.of_written[1]), (s.of_form[1])) AS v (term) \
             WHERE v.term <> '' AND octet_length(v.term) <= 255 \
             GROUP BY v.term ORDER BY max(w.weight) DESC, min(w.position), v.term LIMIT ",
        );
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(NO_COPY);
        Ok(())
    }
}

/// Writes the stems of a word `w`, unless it is a stop word of the language. They are made of the word as it is
/// written and of the word without its accents, since not all people write accents.
fn push_stems<'b>(out: &mut AstPass<'_, 'b, Pg>, dictionary: &'b str) -> QueryResult<()> {
    out.push_sql("(SELECT * FROM (SELECT ts_lexize(");
    out.push_bind_param::<SqlText, _>(dictionary)?;
    out.push_sql("::regdictionary, w.written) AS of_written, ts_lexize(");
    out.push_bind_param::<SqlText, _>(dictionary)?;
    out.push_sql(
        "::regdictionary, w.form) AS of_form) AS made \
         WHERE w.written = '' OR coalesce(cardinality(made.of_written), 1) > 0) AS s",
    );
    Ok(())
}

/// The statement of [`list_postings`].
#[derive(QueryId)]
struct ListPostings {
    tenant: Uuid,
    customer_id: Uuid,
    dictionary: String,
    written: Vec<String>,
    forms: Vec<String>,
    entries: i64,
}

impl Query for ListPostings {
    type SqlType = (BigInt, SqlText, Array<SqlUuid>, Array<Float>);
}

impl QueryFragment<Pg> for ListPostings {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH words AS MATERIALIZED (SELECT row_number() OVER (ORDER BY w.position) AS word, w.form, \
             s.of_written[1] AS stem, s.of_form[1] AS bare_stem FROM unnest(",
        );
        out.push_bind_param::<Array<SqlText>, _>(&self.written)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlText>, _>(&self.forms)?;
        out.push_sql(") WITH ORDINALITY AS w (written, form, position) CROSS JOIN LATERAL ");
        push_stems(&mut out, &self.dictionary)?;
        out.push_sql(" ORDER BY word LIMIT ");
        out.push_bind_param::<BigInt, _>(&MAX_WORDS)?;
        out.push_sql(
            "), terms AS MATERIALIZED (SELECT DISTINCT w.word, v.term FROM words AS w \
             CROSS JOIN LATERAL (VALUES (w.form), (w.stem), (w.bare_stem)) AS v (term) WHERE v.term <> '') \
             SELECT t.word, t.term, p.faq_ids, p.weights FROM terms AS t \
             CROSS JOIN LATERAL (SELECT coalesce(array_agg(x.faq_id), '{}') AS faq_ids, \
             coalesce(array_agg(x.weight), '{}') AS weights FROM (SELECT e.faq_id, e.weight \
             FROM customer_faq_terms AS e WHERE e.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND e.customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)?;
        out.push_sql(" AND e.term = t.term ORDER BY e.place, e.faq_id LIMIT (SELECT ");
        out.push_bind_param::<BigInt, _>(&self.entries)?;
        out.push_sql(" / greatest(count(*), 1) FROM terms)) AS x) AS p ORDER BY t.word, t.term");
        Ok(())
    }
}

/// The statement of [`list_weights`].
#[derive(QueryId)]
struct ListWeights {
    tenant: Uuid,
    faq_ids: Vec<Uuid>,
    terms: Vec<String>,
}

impl Query for ListWeights {
    type SqlType = (SqlUuid, SqlText, Float);
}

impl QueryFragment<Pg> for ListWeights {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT e.faq_id, e.term, e.weight FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.faq_ids)?;
        out.push_sql(") AS at_hand (id) CROSS JOIN unnest(");
        out.push_bind_param::<Array<SqlText>, _>(&self.terms)?;
        out.push_sql(
            ") AS asked (term) CROSS JOIN LATERAL (SELECT t.faq_id, t.term, t.weight FROM customer_faq_terms AS t \
             WHERE t.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND t.faq_id = at_hand.id AND t.term = asked.term OFFSET 0) AS e");
        Ok(())
    }
}
