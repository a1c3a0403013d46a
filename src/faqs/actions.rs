//! What one transaction does to FAQs.

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
use crate::db::keyset::Direction;
use crate::error::Result;
use crate::pb::FaqStatus;
use crate::rpc::etag::{self, Etag};
use crate::rpc::words::Text;
use crate::rpc::{Page, times};
use crate::{conversations, customers};

/// How often a FAQ may come or go between the look and the insert before the call gives up.
const OPEN_ATTEMPTS: u32 = 4;

/// What an observation came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    /// The FAQ after it.
    pub(crate) faq: Faq,
    pub(crate) observation: Observation,
    /// Whether it was there before.
    pub(crate) deduplicated: bool,
}

/// What a call made of a FAQ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    /// The FAQ after it.
    pub(crate) faq: Faq,
    /// Whether it was so before, so that nothing was changed.
    pub(crate) deduplicated: bool,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) customer_id: Uuid,
    /// The BCP 47 tag of the query's language; empty for none, which finds words as they are written.
    pub(crate) language: String,
    /// At most 8,192 characters, so that its words are made in a moment.
    pub(crate) query: String,
    /// Of which statuses; all that can be found when empty.
    pub(crate) statuses: Vec<Text<FaqStatus>>,
    /// How many FAQs at most.
    pub(crate) limit: usize,
}

/// A FAQ that a search found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) faq: Faq,
    /// Why it stands where it does.
    pub(crate) scores: Scores,
}

/// Adds a FAQ that a client wrote, unless its customer has the question with the same content: then it is that FAQ.
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

/// The FAQ with this id.
pub(crate) async fn get(tx: &TenantTx, id: Uuid) -> Result<Faq> {
    store::find(tx, id).await?.ok_or_else(|| rules::not_found(id))
}

/// The observation with this id.
pub(crate) async fn get_observation(tx: &TenantTx, id: Uuid) -> Result<Observation> {
    observations::find(tx, id).await?.ok_or_else(|| rules::no_observation(id))
}

/// One page of the observations of a FAQ, the newest first, and where the next one begins.
pub(crate) async fn list_observations(
    tx: &TenantTx,
    faq_id: Uuid,
    page: &Page<observations::Cursor>,
) -> Result<(Vec<Observation>, Option<observations::Cursor>)> {
    let (_, rows) = try_join!(get(tx, faq_id), observations::list(tx, faq_id, page))?;
    let (observations, more) = page.cut(rows);
    let next = observations.last().filter(|_| more).map(observations::Cursor::at);
    Ok((observations, next))
}

/// One page of FAQs, and where the next one begins.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<(Vec<Faq>, Option<Cursor>)> {
    // A plan for any value knows neither rare words nor common ones.
    if *filter != (Filter { customer_id: filter.customer_id, ..Filter::default() }) {
        tx.plan_for_values().await?;
    }
    let (faqs, more) = page.cut(store::list(tx, filter, direction, page).await?);
    let next = faqs.last().filter(|_| more).map(Cursor::at);
    Ok((faqs, next))
}

/// The FAQs that matter for a text, the best first: two flights, one where nothing is found, and three where
/// thousands of FAQs have the same words.
pub(crate) async fn search(tx: &TenantTx, wish: &Wish) -> Result<Vec<Found>> {
    let Wish { customer_id, language, query, statuses, limit } = wish;
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
    // What is read is bounded by what an answer may have, so what matches best is read first.
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
    let exact = exact.map(|faq| Found { scores: ranking::exact(faq.derived_confidence), faq });
    let mut found: Vec<Found> = exact.collect();
    let Matches { frequencies, words, cut: _ } = matches;
    let candidates: Vec<Candidate> = words
        .into_iter()
        .filter_map(|(id, words)| {
            let Faq { derived_confidence, active_at, .. } = faqs.get(&id)?;
            Some(Candidate { id, confidence: *derived_confidence, active_at: *active_at, words })
        })
        .collect();
    let ranked = ranking::rank(&candidates, &frequencies, *limit);
    found
        .extend(ranked.into_iter().filter_map(|(id, scores)| Some(Found { faq: faqs.remove(&id)?, scores })));
    found.truncate(*limit);
    Ok(found)
}

/// The FAQs of a customer that matter for a text, in the language that is said or else the customer's.
pub(crate) async fn search_customer(tx: &TenantTx, mut wish: Wish) -> Result<Vec<Found>> {
    let language = customers::actions::language(tx, wish.customer_id, Deleted::Hidden).await?;
    if wish.language.is_empty() {
        wish.language = language;
    }
    search(tx, &wish).await
}

/// Makes of a FAQ what `change` makes of it. A change of nothing changes nothing, the etag included.
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

/// Deletes a FAQ and all that belongs to it, and gives it as it last was.
pub(crate) async fn delete(tx: &TenantTx, id: Uuid, expected: Option<Etag>) -> Result<Faq> {
    let faq = store::lock(tx, id).await?.ok_or_else(|| rules::not_found(id))?;
    etag::check(expected, faq.etag())?;
    terms::delete(tx, id).await?;
    observations::delete_of(tx, id).await?;
    store::delete(tx, id).await?;
    Ok(faq)
}

/// Records what a check of a FAQ found. A check that the FAQ has already changes nothing.
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

/// The customer's FAQ with this id, held until the transaction ends.
async fn lock_of(tx: &TenantTx, id: Uuid, customer_id: Uuid) -> Result<Faq> {
    match store::lock(tx, id).await? {
        Some(faq) if faq.customer_id == customer_id => Ok(faq),
        Some(_) => Err(rules::not_of(id, customer_id)),
        None => Err(rules::not_found(id)),
    }
}

/// The customer's FAQ with the question that was observed, held until the transaction ends; a new one
/// where there is none. Of several calls at once, one opens it and the others find it.
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

/// Writes a FAQ as it is after a change, and its words where they are others now.
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

/// Makes anew what the next FAQs after this id are recognised and found by, and gives the last of them. Where two
/// have become one question, the one that came first has it, and the other keeps its words.
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

/// The text search configuration of a customer's language.
async fn config(tx: &TenantTx, customer_id: Uuid) -> Result<String> {
    let language = customers::actions::language(tx, customer_id, Deleted::Shown).await?;
    Ok(ranking::config(&language).to_owned())
}

/// Makes sure that a conversation is with the customer, and a message in the conversation.
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

/// The FAQ of the customer that has the question, if it has the same content.
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
