//! `customer_faqs`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::each;
use crate::db::fitted::{Rows, fitted_by, size};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::schema::customer_faqs::{self, dsl};
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::{Error, OnConstraint, Result};
use crate::pb::{FaqSource, FaqStatus, FaqVerificationStatus};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;

size! {
    /// The size of a FAQ in bytes.
    struct FaqSize(question, normalized_question, answer, category, verified_by)
}

/// A row of `customer_faqs`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = customer_faqs, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Faq {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) question: String,
    pub(crate) normalized_question: String,
    pub(crate) answer: String,
    pub(crate) category: String,
    pub(crate) source: Text<FaqSource>,
    pub(crate) source_conversation_id: Option<Uuid>,
    pub(crate) source_message_id: Option<Uuid>,
    pub(crate) status: Text<FaqStatus>,
    pub(crate) verification: Text<FaqVerificationStatus>,
    pub(crate) verified_by: String,
    pub(crate) verified_at: Option<DateTime<Utc>>,
    pub(crate) reported_confidence: Option<f64>,
    pub(crate) derived_confidence: f64,
    pub(crate) usage_count: i64,
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
    pub(crate) observation_count: i64,
    pub(crate) agreeing_count: i64,
    pub(crate) agreeing_confidence: f64,
    pub(crate) conflicting_count: i64,
    pub(crate) conflicting_confidence: f64,
    pub(crate) last_observed_at: Option<DateTime<Utc>>,
    pub(crate) active_at: DateTime<Utc>,
    pub(crate) search_config: String,
}

impl Faq {
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// The FAQs that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) statuses: Vec<Text<FaqStatus>>,
    pub(crate) verifications: Vec<Text<FaqVerificationStatus>>,
    pub(crate) sources: Vec<Text<FaqSource>>,
    pub(crate) category: Option<String>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
}

/// The end of a page: the time at which its last FAQ was created, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `faq`.
    pub(crate) fn at(faq: &Faq) -> Self {
        Self(faq.created_at, faq.id)
    }
}

/// Inserts a FAQ, unless its customer has the question. Returns whether it was inserted.
pub(crate) async fn insert(tx: &TenantTx, faq: &Faq) -> Result<bool> {
    let inserted = diesel::insert_into(dsl::customer_faqs)
        .values((dsl::tenant_id.eq(tx.tenant()), faq))
        .on_conflict((dsl::tenant_id, dsl::customer_id, dsl::normalized_question))
        .do_nothing()
        .execute(&mut tx.connection())
        .await?;
    Ok(inserted == 1)
}

/// Returns the FAQ with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Faq>> {
    let faq = dsl::customer_faqs
        .find((tx.tenant(), id))
        .select(Faq::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(faq)
}

/// Returns the FAQs with these ids, in their order, within [`MAX_PAGE_BYTES`].
pub(crate) async fn list_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Faq>> {
    let faq = dsl::customer_faqs
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Faq::as_select());
    let faqs = fitted_by::<FaqSize, _>(each::each_in_order(ids, faq), MAX_PAGE_BYTES);
    Ok(Rows::of(faqs.load(&mut tx.connection()).await?).rows)
}

/// Returns the id of a customer's FAQ with this normalised question.
pub(crate) async fn find_id_by_question(
    tx: &TenantTx,
    customer_id: Uuid,
    normalized_question: &str,
) -> Result<Option<Uuid>> {
    let id = dsl::customer_faqs
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(customer_id))
        .filter(dsl::normalized_question.eq(normalized_question))
        .select(dsl::id)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(id)
}

/// Returns the ids of a customer's FAQs with these normalised questions, in the order of the questions.
pub(crate) async fn list_ids_by_questions(
    tx: &TenantTx,
    customer_id: Uuid,
    normalized_questions: &[String],
) -> Result<Vec<Uuid>> {
    let list = ListByQuestions { tenant: tx.tenant(), customer_id, questions: normalized_questions };
    let asked: Vec<Asked> = list.load(&mut tx.connection()).await?;
    Ok(asked.into_iter().map(|Asked { id }| id).collect())
}

/// Returns the FAQ with this id, and locks it until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Faq>> {
    let faq = dsl::customer_faqs
        .find((tx.tenant(), id))
        .select(Faq::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(faq)
}

/// Returns the FAQs after this id, by their ids, and locks them until the transaction ends.
pub(crate) async fn lock_after(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Vec<Faq>> {
    let faqs = dsl::customer_faqs
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.gt(after))
        .order(dsl::id)
        .limit(limit)
        .select(Faq::as_select())
        .for_no_key_update()
        .load(&mut tx.connection())
        .await?;
    Ok(faqs)
}

/// Returns a customer's FAQ with this normalised question, and locks it until the transaction ends.
pub(crate) async fn lock_by_question(
    tx: &TenantTx,
    customer_id: Uuid,
    normalized_question: &str,
) -> Result<Option<Faq>> {
    let faq = dsl::customer_faqs
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(customer_id))
        .filter(dsl::normalized_question.eq(normalized_question))
        .select(Faq::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(faq)
}

/// Updates a FAQ.
pub(crate) async fn update(tx: &TenantTx, faq: &Faq, question_taken: impl FnOnce() -> Error) -> Result<()> {
    diesel::update(dsl::customer_faqs.find((tx.tenant(), faq.id)))
        .set(faq)
        .execute(&mut tx.connection())
        .await
        .on_constraint("customer_faqs_question_key", question_taken)?;
    Ok(())
}

/// Deletes a FAQ that no row refers to.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid) -> Result<()> {
    diesel::delete(dsl::customer_faqs.find((tx.tenant(), id))).execute(&mut tx.connection()).await?;
    Ok(())
}

/// Returns one page of the FAQs that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Faq>> {
    let mut query = listing(
        dsl::customer_faqs
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Faq::as_select())
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    query = among!(query, dsl::status, filter.statuses);
    query = among!(query, dsl::verification, filter.verifications);
    query = among!(query, dsl::source, filter.sources);
    if let Some(category) = &filter.category {
        query = query.filter(dsl::category.eq(category));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(dsl::created_at.ge(from));
    }
    if let Some(until) = filter.created_until {
        query = query.filter(dsl::created_at.lt(until));
    }
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::created_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::created_at, dsl::id),
    };
    Ok(Rows::of(fitted_by::<FaqSize, _>(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// A row of the statement of [`list_ids_by_questions`].
#[derive(QueryableByName)]
struct Asked {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

statement! {
    /// The statement of [`list_ids_by_questions`], which looks each question up.
    struct ListByQuestions<'q> {
        tenant: Uuid as SqlUuid,
        customer_id: Uuid as SqlUuid,
        questions: &'q [String] as Array<SqlText>,
    }
    "SELECT f.id
     FROM unnest(:questions) WITH ORDINALITY AS asked (question, position)
     CROSS JOIN LATERAL (
         SELECT c.id FROM customer_faqs AS c
         WHERE c.tenant_id = :tenant AND c.customer_id = :customer_id
             AND c.normalized_question = asked.question
         OFFSET 0
     ) AS f
     ORDER BY asked.position"
}
