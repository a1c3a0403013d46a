//! `pending_questions`.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Nullable, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted_by, size};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::literal::literal;
use crate::db::schema::pending_questions::{self, dsl};
use crate::db::words::Text;
use crate::error::{Error, OnConstraint, Result};
use crate::pb::{PendingQuestionStatus as Status, Priority, QuestionTiming};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;

literal! {
    /// The condition of the index of open questions by target field. It is literal, so that a plan for any
    /// value can use the index.
    HasOpenTarget: Bool = "(target_field <> '' AND status IN ('PENDING', 'ASKED'))"
}

literal! {
    /// The customer of an open question, as in the index of what to ask next.
    CustomerOfOpen: Nullable<SqlUuid> = "CASE WHEN status IN ('PENDING', 'ASKED') THEN customer_id END"
}

literal! {
    /// The customer of a declined question, as in an index.
    CustomerOfDeclined: Nullable<SqlUuid> = "CASE WHEN status = 'DECLINED' THEN customer_id END"
}

literal! {
    /// The customer of an answered question, as in an index.
    CustomerOfAnswered: Nullable<SqlUuid> = "CASE WHEN status IN ('ANSWERED', 'VERIFIED') THEN customer_id END"
}

literal! {
    /// The priority as a number, the highest first, as in the index of what to ask next.
    Rank: Integer = "CASE priority WHEN 'URGENT' THEN 1 WHEN 'HIGH' THEN 2 WHEN 'NORMAL' THEN 3 ELSE 4 END"
}

size! {
    /// The size of a question in bytes.
    struct QuestionSize(question, purpose, answer, target_field, verified_by, skip_reason)
}

/// A row of `pending_questions`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = pending_questions, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Question {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) question: String,
    pub(crate) target_field: String,
    pub(crate) purpose: String,
    pub(crate) priority: Text<Priority>,
    pub(crate) timing: Text<QuestionTiming>,
    pub(crate) scheduled_at: Option<DateTime<Utc>>,
    pub(crate) status: Text<Status>,
    pub(crate) source_conversation_id: Option<Uuid>,
    pub(crate) attempt_count: i32,
    pub(crate) asked_at: Option<DateTime<Utc>>,
    pub(crate) asked_conversation_id: Option<Uuid>,
    pub(crate) asked_message_id: Option<Uuid>,
    pub(crate) cooldown_until: Option<DateTime<Utc>>,
    pub(crate) answer: String,
    pub(crate) confidence: Option<f64>,
    pub(crate) answered_at: Option<DateTime<Utc>>,
    pub(crate) answered_conversation_id: Option<Uuid>,
    pub(crate) answered_message_id: Option<Uuid>,
    pub(crate) verified_by: String,
    pub(crate) verified_at: Option<DateTime<Utc>>,
    pub(crate) skip_reason: String,
    pub(crate) skipped_at: Option<DateTime<Utc>>,
    pub(crate) written_at: Option<DateTime<Utc>>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

impl Question {
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// The questions that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) statuses: Vec<Text<Status>>,
    pub(crate) priorities: Vec<Text<Priority>>,
    pub(crate) timings: Vec<Text<QuestionTiming>>,
    pub(crate) target_field: Option<String>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
}

/// The end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `question`.
    pub(crate) fn at(question: &Question) -> Self {
        Self(question.created_at, question.id)
    }
}

/// Inserts a question, unless its customer has an open one for its target field. Returns whether it was
/// inserted.
pub(crate) async fn insert(
    tx: &TenantTx,
    question: &Question,
    no_customer: impl FnOnce() -> Error,
) -> Result<bool> {
    let inserted = diesel::insert_into(dsl::pending_questions)
        .values((dsl::tenant_id.eq(tx.tenant()), question))
        .on_conflict_do_nothing()
        .execute(&mut tx.connection())
        .await
        .on_constraint("pending_questions_customer_fkey", no_customer)?;
    Ok(inserted == 1)
}

/// Returns the question with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Question>> {
    let question = dsl::pending_questions
        .find((tx.tenant(), id))
        .select(Question::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(question)
}

/// Returns the question with this id, and locks it until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Question>> {
    let question = dsl::pending_questions
        .find((tx.tenant(), id))
        .select(Question::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(question)
}

/// Returns the question of a customer that is stored as open for this target field.
pub(crate) async fn find_open(
    tx: &TenantTx,
    customer_id: Uuid,
    target_field: &str,
) -> Result<Option<Question>> {
    let question = dsl::pending_questions
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(customer_id))
        .filter(dsl::target_field.eq(target_field))
        .filter(HasOpenTarget)
        .select(Question::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(question)
}

/// Updates a question.
pub(crate) async fn update(
    tx: &TenantTx,
    question: &Question,
    target_taken: impl FnOnce() -> Error,
) -> Result<()> {
    diesel::update(dsl::pending_questions.find((tx.tenant(), question.id)))
        .set(question)
        .execute(&mut tx.connection())
        .await
        .on_constraint("pending_questions_open_target_field_key", target_taken)?;
    Ok(())
}

/// Deletes a question.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid) -> Result<()> {
    diesel::delete(dsl::pending_questions.find((tx.tenant(), id))).execute(&mut tx.connection()).await?;
    Ok(())
}

/// Returns the questions of a customer from which those to ask next are chosen. They are in no order.
///
/// - Up to `open` open questions that have not expired: the most important first, then those asked least, then
///   the oldest.
/// - Up to `closed` declined ones, and as many answered ones, the latest first.
///
/// They are limited by [`MAX_PAGE_BYTES`]; the open ones go before the others. It is a single statement,
/// because a statement costs more than these rows.
pub(crate) async fn list_candidates(
    tx: &TenantTx,
    customer_id: Uuid,
    now: DateTime<Utc>,
    (open, closed): (i64, i64),
) -> Result<Vec<Question>> {
    let of_tenant = || dsl::pending_questions.filter(dsl::tenant_id.eq(tx.tenant()));
    let open = of_tenant()
        .filter(CustomerOfOpen.eq(customer_id))
        .filter(dsl::expires_at.is_null().or(dsl::expires_at.gt(now)))
        .order((Rank, dsl::attempt_count, dsl::created_at, dsl::id))
        .limit(open)
        .select(Question::as_select());
    let declined = of_tenant()
        .filter(CustomerOfDeclined.eq(customer_id))
        .order((dsl::skipped_at.desc(), dsl::id.desc()))
        .limit(closed)
        .select(Question::as_select());
    let answered = of_tenant()
        .filter(CustomerOfAnswered.eq(customer_id))
        .order((dsl::answered_at.desc(), dsl::id.desc()))
        .limit(closed)
        .select(Question::as_select());
    let candidates =
        fitted_by::<QuestionSize, _>(open.union_all(declined).union_all(answered), MAX_PAGE_BYTES);
    Ok(Rows::of(candidates.load(&mut tx.connection()).await?).rows)
}

/// Returns one page of the questions that match `filter` in their state at `now`, and one row more if there is
/// one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    now: DateTime<Utc>,
    page: &Page<Cursor>,
) -> Result<Rows<Question>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let mut query = listing(
        dsl::pending_questions
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Question::as_select())
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    if !filter.statuses.is_empty() {
        query = query.filter(reads_as(&filter.statuses, now));
    }
    query = among!(query, dsl::priority, filter.priorities);
    query = among!(query, dsl::timing, filter.timings);
    if let Some(target_field) = &filter.target_field {
        // The second condition is the index's own.
        query = query.filter(dsl::target_field.eq(target_field)).filter(dsl::target_field.ne(""));
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
    Ok(Rows::of(fitted_by::<QuestionSize, _>(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// A condition of a list.
type Condition<'a> = Box<dyn BoxableExpression<pending_questions::table, Pg, SqlType = Nullable<Bool>> + 'a>;

/// Returns whether a question has one of these statuses at `now`. A question that waits is EXPIRED from its
/// time of expiry on, even if its row has another status.
fn reads_as(statuses: &[Text<Status>], now: DateTime<Utc>) -> Condition<'_> {
    let waiting = [Status::Pending, Status::Asked, Status::Skipped];
    let lasts = || dsl::expires_at.is_null().or(dsl::expires_at.gt(now));
    let (expired, others): (Vec<Text<Status>>, Vec<_>) =
        statuses.iter().copied().partition(|status| status.0 == Status::Expired);
    let expired = (!expired.is_empty()).then(|| {
        // The first condition is the index's own.
        dsl::expires_at.is_not_null().nullable().and(
            dsl::status
                .eq(Text(Status::Expired))
                .nullable()
                .or(dsl::status.eq_any(waiting.map(Text)).and(dsl::expires_at.le(now))),
        )
    });
    let others: Option<Condition<'_>> = match others.as_slice() {
        [] => None,
        [status] if waiting.contains(&status.0) => Some(Box::new(dsl::status.eq(*status).and(lasts()))),
        [status] => Some(Box::new(dsl::status.eq(*status).nullable())),
        _ => {
            let lasting = dsl::status.ne_all(waiting.map(Text)).nullable().or(lasts());
            Some(Box::new(dsl::status.eq_any(others).nullable().and(lasting)))
        }
    };
    match (others, expired) {
        (Some(others), Some(expired)) => Box::new(others.or(expired)),
        (Some(others), None) => others,
        (None, Some(expired)) => Box::new(expired),
        (None, None) => Box::new(sql::<Nullable<Bool>>("true")),
    }
}
