//! The actions on pending questions, each within one transaction.
//!
//! A transaction that needs both locks a question before its customer, so that no two transactions wait for
//! each other.

use chrono::{DateTime, Utc};
use futures_util::join;
use uuid::Uuid;

use super::rules::{self, Candidates, Ranking, Situation, Source, Step};
use super::store::{self, Cursor, Filter, Question};
use crate::customers::field;
use crate::customers::model::Customer;
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use crate::rpc::Page;
use crate::rpc::etag::{self, Etag};
use crate::times;
use crate::{conversations, customers};

/// The limit of open questions of a customer that are read to find what to ask next. It is far more than are
/// asked, and little to read.
const OPEN: i64 = 100;

/// The limit of declined questions, and of answered ones, that are read to find what not to ask: the latest
/// count.
const CLOSED: i64 = 50;

/// The parameters of a request for what to ask next.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    pub(crate) customer_id: Uuid,
    /// The conversation in which to ask; `None` for one that has not begun.
    pub(crate) conversation_id: Option<Uuid>,
    /// The limit of questions.
    pub(crate) limit: usize,
    /// The topic of the conversation, beside what the customer said; may be empty.
    pub(crate) query: String,
    /// Whether the answer has the questions not to ask.
    pub(crate) include_left_out: bool,
}

/// The result of a call on a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    /// The question after it.
    pub(crate) question: Question,
    /// Whether the question was in this state before, so that nothing was changed.
    pub(crate) deduplicated: bool,
}

/// Creates a question. If its customer has an open one for its target field with the same content, that one is
/// returned.
pub(crate) async fn create(tx: &TenantTx, question: Question) -> Result<Done> {
    let customer_id = question.customer_id;
    let source = Source { conversation_id: question.source_conversation_id, message_id: None };
    if let Err(no_conversation) = require(tx, customer_id, source).await {
        customers::actions::require(tx, customer_id).await?;
        return Err(no_conversation);
    }
    let mut existing = None;
    if !question.target_field.is_empty() {
        existing = find_open(tx, &question).await?;
    }
    if existing.is_none()
        && !store::insert(tx, &question, || customers::actions::not_found(customer_id)).await?
    {
        existing = Some(find_open(tx, &question).await?.ok_or_else(overtaken)?);
    }
    // The customer is locked only now: the question may have had to wait for another transaction that locks
    // both.
    customers::actions::require(tx, customer_id).await?;
    let Some(existing) = existing else { return Ok(Done { question, deduplicated: false }) };
    match rules::differences(&existing, &question).as_slice() {
        [] => Ok(Done { question: existing, deduplicated: true }),
        differs => Err(rules::target_taken(&question.target_field, existing.id, differs)),
    }
}

/// Returns the question with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Question> {
    let question = store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    Ok(rules::as_of(question, times::now()))
}

/// Returns one page of questions, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Question>> {
    let now = times::now();
    let questions = store::list(tx, filter, direction, now, page).await?;
    Ok(questions.map(|question| rules::as_of(question, now)))
}

/// Applies `change` to an open question. If the result is the same, nothing is written, and the etag stays.
pub(crate) async fn update(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    change: impl Fn(&Question) -> Result<Question> + Send + Sync,
) -> Result<Question> {
    let current = lock(tx, id).await?;
    etag::check(expected, current.etag())?;
    let wanted = change(&current)?;
    if wanted == current {
        return Ok(current);
    }
    rules::check_update(&current)?;
    rules::check_schedule("pending_question.schedule_time", wanted.timing.0, wanted.scheduled_at)?;
    if wanted.target_field != current.target_field {
        rules::target("pending_question.target_field", &wanted.target_field)?;
        make_way(tx, &wanted).await?;
    }
    write(tx, wanted).await
}

/// Deletes a question.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Question> {
    let question = lock(tx, id).await?;
    etag::check(expected, question.etag())?;
    store::delete(tx, id).await?;
    Ok(question)
}

/// Takes a step of a question. A step that it has taken already changes nothing.
pub(crate) async fn step(tx: &TenantTx, id: Uuid, expected: Option<Etag>, step: &Step) -> Result<Done> {
    let current = lock(tx, id).await?;
    if step.is_repeated(&current)? {
        return Ok(Done { question: current, deduplicated: true });
    }
    etag::check(expected, current.etag())?;
    Ok(Done { question: take(tx, &current, step, None).await?, deduplicated: false })
}

/// Records an answer, and writes it into the question's customer if `overwrite` is set. Its value says whether
/// another value is replaced. A repeated answer is not written again, because the customer may have changed
/// since.
pub(crate) async fn answer(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    step: &Step,
    overwrite: Option<bool>,
) -> Result<(Done, Option<Customer>)> {
    let current = lock(tx, id).await?;
    let is_repeated = step.is_repeated(&current)?;
    let Some(overwrite) = overwrite else {
        if is_repeated {
            return Ok((Done { question: current, deduplicated: true }, None));
        }
        etag::check(expected, current.etag())?;
        let question = take(tx, &current, step, None).await?;
        return Ok((Done { question, deduplicated: false }, None));
    };
    if is_repeated && current.written_at.is_some() {
        let customer = customers::actions::read(tx, current.customer_id).await?;
        return Ok((Done { question: current, deduplicated: true }, Some(customer)));
    }
    etag::check(expected, current.etag())?;
    let now = Some(times::now());
    let question = match is_repeated {
        true => write(tx, Question { written_at: now, ..current }).await?,
        false => take(tx, &current, step, now).await?,
    };
    let customer = fill(tx, &question, overwrite).await?;
    Ok((Done { question, deduplicated: false }, Some(customer)))
}

/// Takes a step of a locked question.
async fn take(
    tx: &TenantTx,
    current: &Question,
    step: &Step,
    written_at: Option<DateTime<Utc>>,
) -> Result<Question> {
    let wanted = step.take(current, times::now())?;
    let wanted = Question { written_at: written_at.or(wanted.written_at), ..wanted };
    require(tx, current.customer_id, step.source()).await?;
    if rules::is_open(&wanted) && !rules::is_open(current) {
        make_way(tx, &wanted).await?;
    }
    write(tx, wanted).await
}

/// Writes the answer of a question into its customer, which is read again for it.
async fn fill(tx: &TenantTx, question: &Question, overwrite: bool) -> Result<Customer> {
    let target = rules::target("write_to_customer", &question.target_field)?;
    let target = target.ok_or_else(|| {
        Error::invalid(
            "write_to_customer",
            "question.target_field",
            "needs a question that has a target_field; set one with UpdatePendingQuestion",
        )
    })?;
    customers::actions::update(tx, question.customer_id, None, |current| {
        field::fill(current, &target, &question.answer, overwrite)
    })
    .await
}

/// Returns the questions to ask a customer next, and those not to ask.
pub(crate) async fn next(tx: &TenantTx, params: &Params) -> Result<Ranking> {
    let Params { customer_id, conversation_id, limit, query, include_left_out } = params;
    let now = times::now();
    let (customer, said, candidates) = join!(
        customers::actions::read(tx, *customer_id),
        said(tx, *customer_id, *conversation_id),
        candidates(tx, *customer_id, now),
    );
    let customer = customer?;
    let mut texts = said?;
    texts.push(query.clone());
    let situation = Situation { now, conversation_id: *conversation_id, customer: &customer, texts: &texts };
    let ranking = rules::rank(&candidates?, &situation, *limit)?;
    Ok(if *include_left_out { ranking } else { Ranking { left_out: Vec::new(), ..ranking } })
}

/// Returns the questions of a customer that may be asked at this time, and those that must not be asked.
pub(crate) async fn candidates(tx: &TenantTx, customer_id: Uuid, now: DateTime<Utc>) -> Result<Candidates> {
    let questions = store::list_candidates(tx, customer_id, now, (OPEN, CLOSED)).await?;
    Ok(Candidates::of(questions))
}

/// Returns the customer's last messages in this conversation.
async fn said(tx: &TenantTx, customer_id: Uuid, conversation_id: Option<Uuid>) -> Result<Vec<String>> {
    let Some(id) = conversation_id else { return Ok(Vec::new()) };
    let (is_theirs, said) = join!(
        conversations::actions::require_of(tx, customer_id, id),
        conversations::actions::list_said(tx, id)
    );
    is_theirs?;
    said
}

/// Returns the question in its state of this moment, and locks it until the transaction ends.
async fn lock(tx: &TenantTx, id: Uuid) -> Result<Question> {
    let question = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    Ok(rules::as_of(question, times::now()))
}

/// Checks that a source that a call names belongs to the customer.
async fn require(tx: &TenantTx, customer_id: Uuid, source: Source) -> Result<()> {
    let Some(conversation_id) = source.conversation_id else { return Ok(()) };
    conversations::actions::require_of(tx, customer_id, conversation_id).await?;
    match source.message_id {
        Some(id) => conversations::messages::actions::require(tx, conversation_id, id).await,
        None => Ok(()),
    }
}

/// Checks that a question that is about to be open is the only open one for its target field.
async fn make_way(tx: &TenantTx, question: &Question) -> Result<()> {
    if question.target_field.is_empty() {
        return Ok(());
    }
    match find_open(tx, question).await? {
        Some(other) if other.id != question.id => {
            Err(rules::target_taken(&question.target_field, other.id, &[]))
        }
        _ => Ok(()),
    }
}

/// Returns the open question of the same customer for the same target field. A question that has expired is
/// stored as expired, and does not count.
async fn find_open(tx: &TenantTx, question: &Question) -> Result<Option<Question>> {
    let found = store::find_open(tx, question.customer_id, &question.target_field).await?;
    match found.map(|found| rules::as_of(found, times::now())) {
        Some(lapsed) if !rules::is_open(&lapsed) => {
            // It may be deleted by now.
            let lapsed = store::lock(tx, lapsed.id).await?.map(|lapsed| rules::as_of(lapsed, times::now()));
            if let Some(lapsed) = lapsed.filter(rules::is_expired) {
                write(tx, lapsed).await?;
            }
            Ok(None)
        }
        open => Ok(open),
    }
}

async fn write(tx: &TenantTx, question: Question) -> Result<Question> {
    let question = Question { updated_at: times::now(), revision: question.revision + 1, ..question };
    store::update(tx, &question, overtaken).await?;
    Ok(question)
}

/// Returns the error for a call that was overtaken: another call opened or closed a question for the same
/// field. The transaction runs again.
fn overtaken() -> Error {
    Error::Aborted {
        reason: ErrorReason::Conflict,
        message: "another call changed the questions for this field at the same time; retry",
    }
}
