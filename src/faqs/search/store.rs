//! `customer_faq_terms`.
//!
//! The words are chosen in `rules`; Postgres's dictionaries turn them into stems. They are not stored as a
//! `tsvector`, because under a policy `@@` uses no index.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Float, Integer, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::model::{Posting, Weight};
use super::rules::{self, MAX_POSTINGS, MAX_TERMS, Terms, Word};
use crate::db::TenantTx;
use crate::db::literal::NO_COPY;
use crate::db::schema::customer_faq_terms::dsl;
use crate::db::statement::statement;
use crate::error::Result;
use crate::faqs::store::Faq;
use crate::numbers;

/// The limit of words of a query that count: the first words of a long text say what it is about.
const MAX_WORDS: i64 = 32;

/// Inserts the words of a FAQ.
pub(crate) async fn insert(tx: &TenantTx, faq: &Faq) -> Result<()> {
    let Terms { written, forms, weights, places } = rules::terms(faq.id, &faq.question, &faq.answer);
    let insert = Insert {
        tenant: tx.tenant(),
        customer_id: faq.customer_id,
        faq_id: faq.id,
        written,
        forms,
        weights,
        places,
        dictionary: rules::dictionary(&faq.search_config),
        limit: numbers::count(MAX_TERMS),
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
        written: words.iter().map(|word| word.written.clone()).collect(),
        forms: words.iter().map(|word| word.form.clone()).collect(),
        dictionary: rules::dictionary(config),
        max_words: MAX_WORDS,
        entries: numbers::count(MAX_POSTINGS),
    };
    Ok(list.load(&mut tx.connection()).await?)
}

/// Returns the weight of each of these terms in each of these FAQs that has it.
pub(crate) async fn list_weights(tx: &TenantTx, faq_ids: &[Uuid], terms: &[String]) -> Result<Vec<Weight>> {
    Ok(ListWeights { tenant: tx.tenant(), faq_ids, terms }.load(&mut tx.connection()).await?)
}

statement! {
    /// The statement of [`insert`]. A stop word of the language is not stored. A word without a stem is stored as
    /// it is.
    struct Insert {
        tenant: Uuid as SqlUuid,
        customer_id: Uuid as SqlUuid,
        faq_id: Uuid as SqlUuid,
        written: Vec<String> as Array<SqlText>,
        forms: Vec<String> as Array<SqlText>,
        weights: Vec<f32> as Array<Float>,
        places: Vec<i32> as Array<Integer>,
        dictionary: String as SqlText,
        limit: i64 as BigInt,
    }
    "INSERT INTO customer_faq_terms (tenant_id, customer_id, faq_id, term, weight, place)
     SELECT :tenant, :customer_id, :faq_id, v.term, max(w.weight), min(w.place)
     FROM unnest(:written, :forms, :weights, :places)
         WITH ORDINALITY AS w (written, form, weight, place, position)
     CROSS JOIN LATERAL (", STEMS, ") AS s
     CROSS JOIN LATERAL (VALUES (w.form), (s.of_written[1]), (s.of_form[1])) AS v (term)
     WHERE v.term <> '' AND octet_length(v.term) <= 255
     GROUP BY v.term
     ORDER BY max(w.weight) DESC, min(w.position), v.term
     LIMIT :limit", NO_COPY
}

/// The stems of a word `w`, unless it is a stop word of the language. They are made of the word as it is written and
/// of the word without its accents, since not all people write accents.
const STEMS: &str = "
         SELECT * FROM (
             SELECT
                 ts_lexize(:dictionary::regdictionary, w.written) AS of_written,
                 ts_lexize(:dictionary::regdictionary, w.form) AS of_form
         ) AS made
         WHERE w.written = '' OR coalesce(cardinality(made.of_written), 1) > 0
     ";

statement! {
    /// The statement of [`list_postings`].
    struct ListPostings {
        tenant: Uuid as SqlUuid,
        customer_id: Uuid as SqlUuid,
        written: Vec<String> as Array<SqlText>,
        forms: Vec<String> as Array<SqlText>,
        dictionary: String as SqlText,
        max_words: i64 as BigInt,
        entries: i64 as BigInt,
    }
    "WITH words AS MATERIALIZED (
         SELECT
             row_number() OVER (ORDER BY w.position) AS word, w.form,
             s.of_written[1] AS stem, s.of_form[1] AS bare_stem
         FROM unnest(:written, :forms) WITH ORDINALITY AS w (written, form, position)
         CROSS JOIN LATERAL (", STEMS, ") AS s
         ORDER BY word
         LIMIT :max_words
     ),
     terms AS MATERIALIZED (
         SELECT DISTINCT w.word, v.term
         FROM words AS w
         CROSS JOIN LATERAL (VALUES (w.form), (w.stem), (w.bare_stem)) AS v (term)
         WHERE v.term <> ''
     )
     SELECT t.word, t.term, p.faq_ids, p.weights
     FROM terms AS t
     CROSS JOIN LATERAL (
         SELECT
             coalesce(array_agg(x.faq_id), '{}') AS faq_ids,
             coalesce(array_agg(x.weight), '{}') AS weights
         FROM (
             SELECT e.faq_id, e.weight FROM customer_faq_terms AS e
             WHERE e.tenant_id = :tenant AND e.customer_id = :customer_id AND e.term = t.term
             ORDER BY e.place, e.faq_id
             LIMIT (SELECT :entries / greatest(count(*), 1) FROM terms)
         ) AS x
     ) AS p
     ORDER BY t.word, t.term"
}

statement! {
    /// The statement of [`list_weights`].
    struct ListWeights<'m> {
        tenant: Uuid as SqlUuid,
        faq_ids: &'m [Uuid] as Array<SqlUuid>,
        terms: &'m [String] as Array<SqlText>,
    }
    "SELECT e.faq_id, e.term, e.weight
     FROM unnest(:faq_ids) AS at_hand (id)
     CROSS JOIN unnest(:terms) AS asked (term)
     CROSS JOIN LATERAL (
         SELECT t.faq_id, t.term, t.weight FROM customer_faq_terms AS t
         WHERE t.tenant_id = :tenant AND t.faq_id = at_hand.id AND t.term = asked.term
         OFFSET 0
     ) AS e"
}
