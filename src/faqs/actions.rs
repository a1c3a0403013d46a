//! The actions on FAQs, each within one transaction.

use std::collections::HashMap;

use futures_util::try_join;
use uuid::Uuid;

use super::observations::store::{self as observations, Observation};
use super::rules::{self, Check, Sighting};
use super::search::rules::{self as ranking, Candidate, MAX_PROBED, Matches, Scores};
use super::search::store as terms;
use super::store::{self, Cursor, Faq, Filter};
use crate::customers::actions::Deleted;
use crate::db::TenantTx;
use crate::db::fitted::Rows;
use crate::db::keyset::Direction;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::FaqStatus;
use crate::rpc::Page;
use crate::rpc::etag::{self, Etag};
use crate::times;
use crate::{conversations, customers};

/// The number of attempts to lock or insert a FAQ that other calls insert or delete in between.
const OPEN_ATTEMPTS: u32 = 4;

/// The result of an observation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    /// The FAQ after it.
    pub(crate) faq: Faq,
    pub(crate) observation: Observation,
    /// Whether it was recorded before.
    pub(crate) deduplicated: bool,
}

/// The result of a call on a FAQ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    /// The FAQ after it.
    pub(crate) faq: Faq,
    /// Whether the FAQ was in this state before, so that nothing was changed.
    pub(crate) deduplicated: bool,
}

/// The parameters of a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Params {
    pub(crate) customer_id: Uuid,
    /// The BCP 47 tag of the query's language; empty for none. Without a language, words are found only as they
    /// are written.
    pub(crate) language: String,
    /// The text, of at most 8,192 characters, so that it is split into words quickly.
    pub(crate) query: String,
    /// The accepted statuses; if empty, all statuses that a search can find.
    pub(crate) statuses: Vec<Text<FaqStatus>>,
    /// The limit of FAQs.
    pub(crate) limit: usize,
}

/// A FAQ that a search found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RankedFaq {
    pub(crate) faq: Faq,
    /// The scores that decide its place.
    pub(crate) scores: Scores,
}

/// Creates a FAQ that a client wrote. If its customer has the question with the same content, that FAQ is
/// returned.
pub(crate) async fn create(tx: &TenantTx, faq: Faq) -> Result<Done> {
    customers::actions::require(tx, faq.customer_id).await?;
    require_origin(tx, faq.customer_id, faq.source_conversation_id, faq.source_message_id).await?;
    let faq = Faq { search_config: config(tx, faq.customer_id).await?, ..faq };
    if !store::insert(tx, &faq).await? {
        return Ok(Done { faq: same(tx, &faq).await?, deduplicated: true });
    }
    if rules::is_usable(faq.status.0) {
        terms::insert(tx, &faq).await?;
    }
    Ok(Done { faq, deduplicated: false })
}

/// Returns the FAQ with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Faq> {
    store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))
}

/// Returns the observation with this id.
pub(crate) async fn get_observation(tx: &TenantTx, id: Uuid) -> Result<Observation> {
    observations::find(tx, id).await?.ok_or_else(|| rules::no_observation(id))
}

/// Returns one page of the observations of a FAQ, the newest first, and one row more if there is one.
pub(crate) async fn list_observations(
    tx: &TenantTx,
    faq_id: Uuid,
    page: &Page<observations::Cursor>,
) -> Result<Rows<Observation>> {
    let (_, observations) = try_join!(get(tx, faq_id), observations::list(tx, faq_id, page))?;
    Ok(observations)
}

/// Returns one page of FAQs, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Faq>> {
    // A plan for any value does not know which words are rare and which are common.
    if *filter != (Filter { customer_id: filter.customer_id, ..Filter::default() }) {
        tx.plan_for_values().await?;
    }
    store::list(tx, filter, direction, page).await
}

/// Returns the FAQs that match a text, the best first. It takes two flights, one if nothing is found, and three
/// if thousands of FAQs have the same words.
pub(crate) async fn search(tx: &TenantTx, params: &Params) -> Result<Vec<RankedFaq>> {
    let Params { customer_id, language, query, statuses, limit } = params;
    let (words, questions) = (ranking::asked(query), ranking::questions(query));
    let (postings, same) = try_join!(
        terms::list_postings(tx, *customer_id, ranking::config(language), &words),
        store::list_ids_by_questions(tx, *customer_id, &questions),
    )?;
    let mut matches = Matches::of(postings);
    if !matches.cut.is_empty() {
        matches.truncate(MAX_PROBED);
        let ids: Vec<Uuid> = matches.words.keys().copied().collect();
        let cut: Vec<String> = matches.cut.iter().map(|(_, term)| term.clone()).collect();
        matches.fill(terms::list_weights(tx, &ids, &cut).await?);
    }
    // The rows that are read are limited by the size of an answer, so the best matches are read first.
    let matching = matches.truncate(ranking::shortlist(*limit));
    let matching = matching.into_iter().filter(|id| !same.contains(id));
    let ids: Vec<Uuid> = same.iter().copied().chain(matching).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let faqs = store::list_each(tx, &ids).await?;
    let mut faqs: HashMap<Uuid, Faq> = faqs.into_iter().map(|faq| (faq.id, faq)).collect();
    faqs.retain(|_, faq| {
        rules::is_usable(faq.status.0) && (statuses.is_empty() || statuses.contains(&faq.status))
    });
    let exact = same.iter().filter_map(|id| faqs.remove(id));
    let exact = exact.map(|faq| RankedFaq { scores: ranking::exact(faq.derived_confidence), faq });
    let mut found: Vec<RankedFaq> = exact.collect();
    let Matches { frequencies, words, cut: _ } = matches;
    let candidates: Vec<Candidate> = words
        .into_iter()
        .filter_map(|(id, words)| {
            let Faq { derived_confidence, active_at, .. } = faqs.get(&id)?;
            Some(Candidate { id, confidence: *derived_confidence, active_at: *active_at, words })
        })
        .collect();
    let ranked = ranking::rank(&candidates, &frequencies, *limit);
    found.extend(
        ranked.into_iter().filter_map(|(id, scores)| Some(RankedFaq { faq: faqs.remove(&id)?, scores })),
    );
    found.truncate(*limit);
    Ok(found)
}

/// Returns the FAQs of a customer that match a text. The language is that of the request, or else the
/// customer's.
pub(crate) async fn search_customer(tx: &TenantTx, mut params: Params) -> Result<Vec<RankedFaq>> {
    let language = customers::actions::language(tx, params.customer_id, Deleted::Hidden).await?;
    if params.language.is_empty() {
        params.language = language;
    }
    search(tx, &params).await
}

/// Applies `change` to a FAQ. If the result is the same, nothing is written, and the etag stays.
pub(crate) async fn update(
    tx: &TenantTx,
    id: Uuid,
    expected: Option<Etag>,
    change: impl Fn(&Faq) -> Result<Faq> + Send + Sync,
) -> Result<Faq> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, current.etag())?;
    let wanted = change(&current)?;
    if wanted == current {
        return Ok(current);
    }
    let wanted = rules::update(&current, wanted);
    if wanted.normalized_question != current.normalized_question
        && let Some(other) =
            store::find_id_by_question(tx, current.customer_id, &wanted.normalized_question).await?
    {
        return Err(rules::exists(other, &[]));
    }
    write(tx, &current, wanted).await
}

/// Deletes a FAQ with its words and its observations. Returns its last state.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Faq> {
    let faq = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, faq.etag())?;
    terms::delete(tx, id).await?;
    observations::delete_of(tx, id).await?;
    store::delete(tx, id).await?;
    Ok(faq)
}

/// Records the result of a check of a FAQ. A check that the FAQ has already changes nothing.
pub(crate) async fn verify(tx: &TenantTx, id: Uuid, expected: Option<Etag>, check: Check) -> Result<Done> {
    let current = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    if rules::is_checked(&current, &check) {
        return Ok(Done { faq: current, deduplicated: true });
    }
    etag::check(expected, current.etag())?;
    let verified = rules::verify(&current, check, times::now())?;
    if verified == current {
        return Ok(Done { faq: current, deduplicated: false });
    }
    Ok(Done { faq: write(tx, &current, verified).await?, deduplicated: false })
}

/// Records that a question was asked or a FAQ was used. A message counts once for a FAQ and a kind.
pub(crate) async fn observe(tx: &TenantTx, sighting: Sighting) -> Result<Recorded> {
    customers::actions::require(tx, sighting.customer_id).await?;
    require_origin(tx, sighting.customer_id, sighting.conversation_id, sighting.message_id).await?;
    let faq = match sighting.faq_id {
        Some(id) => lock_of(tx, id, sighting.customer_id).await?,
        None => find_or_open(tx, &sighting).await?,
    };
    if let Some(message_id) = sighting.message_id
        && let Some(observation) =
            observations::find_by_message(tx, faq.id, message_id, sighting.kind).await?
    {
        return match rules::sighting_differences(&observation, &sighting).as_slice() {
            [] => Ok(Recorded { faq, observation, deduplicated: true }),
            differs => Err(rules::observed_otherwise(&observation, differs)),
        };
    }
    let (after, observation) = rules::observe(&faq, sighting);
    observations::insert(tx, &observation).await?;
    let faq = write(tx, &faq, after).await?;
    Ok(Recorded { faq, observation, deduplicated: false })
}

/// Returns the customer's FAQ with this id, and locks it until the transaction ends.
async fn lock_of(tx: &TenantTx, id: Uuid, customer_id: Uuid) -> Result<Faq> {
    match store::lock(tx, id).await? {
        Some(faq) if faq.customer_id == customer_id => Ok(faq),
        Some(_) => Err(rules::not_of(id, customer_id)),
        None => Err(rules::not_found(id)),
    }
}

/// Returns the customer's FAQ with the observed question, and locks it until the transaction ends. If there is
/// none, it is created. Of several concurrent calls, one creates it and the others find it.
async fn find_or_open(tx: &TenantTx, sighting: &Sighting) -> Result<Faq> {
    let key = rules::question_key(&sighting.question);
    for _ in 0..OPEN_ATTEMPTS {
        if let Some(faq) = store::lock_by_question(tx, sighting.customer_id, &key).await? {
            return Ok(faq);
        }
        let faq = rules::opened(sighting, Uuid::now_v7());
        let faq = Faq { search_config: config(tx, faq.customer_id).await?, ..faq };
        if store::insert(tx, &faq).await? {
            terms::insert(tx, &faq).await?;
            return Ok(faq);
        }
    }
    Err(rules::collided())
}

/// Updates a FAQ after a change, and its words if they are different now.
async fn write(tx: &TenantTx, before: &Faq, after: Faq) -> Result<Faq> {
    let mut faq = rules::dated(before, after, times::now());
    let same_words = rules::same_words(before, &faq);
    if !same_words {
        faq.search_config = config(tx, faq.customer_id).await?;
    }
    store::update(tx, &faq, rules::collided).await?;
    if !same_words {
        terms::delete(tx, faq.id).await?;
        if rules::is_usable(faq.status.0) {
            terms::insert(tx, &faq).await?;
        }
    }
    Ok(faq)
}

/// Writes again the keys and the words of the next FAQs after this id. Returns the id of the last of them. If
/// two FAQs now have the same question, the earlier one keeps it, and the other one keeps its words.
pub(crate) async fn reindex(tx: &TenantTx, after: Uuid, limit: i64) -> Result<Option<Uuid>> {
    let faqs = store::lock_after(tx, after, limit).await?;
    for faq in &faqs {
        let normalized_question = rules::question_key(&faq.question);
        if normalized_question != faq.normalized_question
            && store::find_id_by_question(tx, faq.customer_id, &normalized_question).await?.is_none()
        {
            store::update(tx, &Faq { normalized_question, ..faq.clone() }, rules::collided).await?;
        }
        terms::delete(tx, faq.id).await?;
        if rules::is_usable(faq.status.0) {
            terms::insert(tx, faq).await?;
        }
    }
    Ok(faqs.last().map(|faq| faq.id))
}

/// Returns the text search configuration of a customer's language.
async fn config(tx: &TenantTx, customer_id: Uuid) -> Result<String> {
    let language = customers::actions::language(tx, customer_id, Deleted::Shown).await?;
    Ok(ranking::config(&language).to_owned())
}

/// Checks that a conversation is with the customer, and a message in the conversation.
async fn require_origin(
    tx: &TenantTx,
    customer_id: Uuid,
    conversation_id: Option<Uuid>,
    message_id: Option<Uuid>,
) -> Result<()> {
    let Some(conversation_id) = conversation_id else { return Ok(()) };
    conversations::actions::require_of(tx, customer_id, conversation_id).await?;
    let Some(message_id) = message_id else { return Ok(()) };
    conversations::messages::actions::require(tx, conversation_id, message_id).await
}

/// Returns the FAQ of the customer that has the question, if it has the same content.
///
/// # Errors
///
/// `CUSTOMER_FAQ_EXISTS` if it has other content.
async fn same(tx: &TenantTx, faq: &Faq) -> Result<Faq> {
    let known = store::lock_by_question(tx, faq.customer_id, &faq.normalized_question).await?;
    let known = known.ok_or_else(rules::collided)?;
    match rules::differences(&known, faq).as_slice() {
        [] => Ok(known),
        differs => Err(rules::exists(known.id, differs)),
    }
}
