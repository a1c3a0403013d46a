//! What one transaction reads for a context.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::try_join;
use uuid::Uuid;

use super::compose::{DEFAULTS, Options};
use super::messages;
use crate::conversations::messages::store::latest::{self, Of, Room, Said};
use crate::conversations::rules::not_found;
use crate::conversations::store::{self as conversations, Brief, Task};
use crate::customers::actions::{self as customer_actions, Deleted};
use crate::customers::store::{self as customers, Customer};
use crate::db::TenantTx;
use crate::error::Result;
use crate::faqs::actions::{self as faqs, Found};
use crate::pb::{ContextFormat, ContextSectionKind, Tokenizer};
use crate::questions::actions as question_actions;
use crate::questions::rules::{self as questions, Ranking, Situation};

/// Conversations of a customer that a context looks at, and how many older ones it counts.
pub(super) struct Conversations {
    /// Besides the present one: what was said before the last twenty is known through what was learned.
    pub(super) looked_at: usize,
    /// More are not worth the time that counting takes.
    pub(super) counted: usize,
}

/// See [`Conversations`].
pub(super) const MAX_CONVERSATIONS: Conversations = Conversations { looked_at: 20, counted: 500 };

/// Follow-ups of a context: whoever has more to do has other tools.
pub(super) const MAX_TASKS: usize = 20;

/// FAQs of a context: what comes after the best twenty has little to do with the query.
const FAQS: usize = 20;

/// Questions to ask of a context: nobody asks more at once.
const QUESTIONS: usize = 10;

/// Messages of the customer that are the query where there is none.
const QUERY_MESSAGES: usize = 4;

/// Characters of a query, as the contract says.
const MAX_QUERY: usize = 8_192;

/// What a context is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) customer_id: Uuid,
    pub(super) conversation_id: Option<Uuid>,
    /// Empty for what the customer said last.
    pub(super) query: String,
    pub(super) max_tokens: i64,
    pub(super) format: ContextFormat,
    pub(super) tokenizer: Tokenizer,
    /// Where sections differ from the default.
    pub(super) options: HashMap<ContextSectionKind, Options>,
    /// By which time cooldowns, schedules and expiries are judged.
    pub(super) now: DateTime<Utc>,
}

impl Wish {
    /// What a section may take.
    pub(super) fn options(&self, kind: ContextSectionKind) -> Options {
        self.options.get(&kind).copied().unwrap_or_else(|| default_options(kind))
    }

    /// How many messages could be of use.
    fn room(&self) -> Room {
        // The shortest line above a message has as many tokens; a turn of a chat has four.
        let overhead = if self.format == ContextFormat::ChatMessages { 4 } else { 12 };
        Room { tokens: self.max_tokens, overhead }
    }
}

/// What a section may take by default.
pub(super) fn default_options(kind: ContextSectionKind) -> Options {
    let (priority, share) = DEFAULTS
        .iter()
        .find(|(known, ..)| *known == kind)
        .map_or((0, 0.0), |(_, priority, share)| (*priority, *share));
    Options { priority, share, excluded: false }
}

/// What is known of a customer at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) customer: Customer,
    pub(super) present: Option<Brief>,
    /// The conversations besides the present one, the newest first.
    pub(super) others: Vec<Brief>,
    /// How many more there are.
    pub(super) older: usize,
    pub(super) tasks: Vec<Task>,
    /// The last messages of conversations, the newest first, by conversation.
    pub(super) said: HashMap<Uuid, Vec<Said>>,
    pub(super) known: Known,
}

impl Snapshot {
    /// Bytes of text whose tokens are yet to be counted.
    pub(super) fn uncounted(&self, wish: &Wish) -> usize {
        let counts_are_stored =
            wish.tokenizer == Tokenizer::O200kBase && wish.format != ContextFormat::ChatMessages;
        let messages = self.said.values().flatten();
        let uncounted = messages.filter(|message| !counts_are_stored || message.token_count.is_none());
        uncounted.map(|message| message.content.len()).sum()
    }
}

/// What was learned.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The text by which it was chosen.
    pub(super) query: String,
    pub(super) ranking: Ranking,
    pub(super) faqs: Vec<Found>,
}

/// Reads all that a context can be made of: first what is known by the customer and its present
/// conversation, then what depends on what was said.
pub(super) async fn read(tx: &TenantTx, wish: &Wish) -> Result<Snapshot> {
    let Wish { customer_id, conversation_id, .. } = wish;
    let of = match conversation_id {
        Some(id) => Of::Conversation(*id),
        None => Of::Newest { customer_id: *customer_id },
    };
    let looked_at = limit(MAX_CONVERSATIONS.looked_at + 1);
    let ids = [*customer_id];
    let (customers, briefs, named, older, tasks, said, candidates) = try_join!(
        customers::find_each(tx, &ids),
        conversations::list_briefs(tx, *customer_id, looked_at),
        find_named(tx, *conversation_id),
        conversations::count_older(tx, *customer_id, looked_at, limit(MAX_CONVERSATIONS.counted)),
        conversations::list_tasks(tx, *customer_id, limit(MAX_TASKS + 1)),
        latest::list_latest(tx, &of, wish.room()),
        question_actions::candidates(tx, *customer_id, wish.now),
    )?;
    let found = customers.into_iter().next();
    let customer = customer_actions::get(found, *customer_id, Deleted::Hidden)?;
    let (present, others, older) = place(wish, briefs, named, older)?;
    let query = query(wish, &said);
    let earlier = earlier(wish, &said, present.as_ref(), &others);
    let (said_before, faqs) =
        try_join!(list_earlier(tx, wish, earlier), search(tx, *customer_id, &customer, &query))?;
    let situation = Situation {
        now: wish.now,
        conversation_id: present.as_ref().map(|present| present.id),
        customer: &customer,
        texts: std::slice::from_ref(&query),
    };
    let ranking = questions::rank(&candidates, &situation, QUESTIONS)?;
    let known = Known { query, ranking, faqs };
    let mut by_conversation: HashMap<Uuid, Vec<Said>> = HashMap::new();
    for message in said.into_iter().chain(said_before) {
        by_conversation.entry(message.conversation_id).or_default().push(message);
    }
    Ok(Snapshot { customer, present, others, older, tasks, said: by_conversation, known })
}

/// What FAQs and questions are chosen by: what was said, or else what the customer said last.
fn query(wish: &Wish, said: &[Said]) -> String {
    if !wish.query.is_empty() {
        return wish.query.clone();
    }
    let last = messages::last_of_customer(said, QUERY_MESSAGES).join("\n");
    last.chars().take(MAX_QUERY).collect()
}

/// The last messages of conversations before the present one.
async fn list_earlier(tx: &TenantTx, wish: &Wish, ids: Vec<Uuid>) -> Result<Vec<Said>> {
    match ids.is_empty() {
        true => Ok(Vec::new()),
        false => latest::list_latest(tx, &Of::Conversations(ids), wish.room()).await,
    }
}

/// The FAQs that match a text.
async fn search(tx: &TenantTx, customer_id: Uuid, customer: &Customer, query: &str) -> Result<Vec<Found>> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let languages = &customer.content_preferences.0.languages;
    let wish = faqs::Wish {
        customer_id,
        language: languages.first().cloned().unwrap_or_default(),
        query: query.to_owned(),
        statuses: Vec::new(),
        limit: FAQS,
    };
    faqs::search(tx, &wish).await
}

async fn find_named(tx: &TenantTx, id: Option<Uuid>) -> Result<Option<Brief>> {
    match id {
        Some(id) => conversations::find_brief(tx, id).await,
        None => Ok(None),
    }
}

/// Which conversation is the present one, which others are looked at, and how many are not.
fn place(
    wish: &Wish,
    mut briefs: Vec<Brief>,
    named: Option<Brief>,
    older: i64,
) -> Result<(Option<Brief>, Vec<Brief>, usize)> {
    let mut older = usize::try_from(older).unwrap_or(usize::MAX);
    let present = match wish.conversation_id {
        Some(id) => {
            let named = named.filter(|brief| brief.customer_id == wish.customer_id);
            let named = named.ok_or_else(|| not_found(id))?;
            let before = briefs.len();
            briefs.retain(|brief| brief.id != id);
            // One that is not among the newest is one of the older ones that were counted.
            older = older
                .saturating_sub(usize::from(before == briefs.len() && older < MAX_CONVERSATIONS.counted));
            Some(named)
        }
        None if briefs.is_empty() => None,
        None => Some(briefs.remove(0)),
    };
    let cut = briefs.len().saturating_sub(MAX_CONVERSATIONS.looked_at);
    briefs.truncate(MAX_CONVERSATIONS.looked_at);
    Ok((present, briefs, older + cut))
}

/// The conversations whose messages there may be room for after those that were read, the newest first.
fn earlier(wish: &Wish, said: &[Said], present: Option<&Brief>, others: &[Brief]) -> Vec<Uuid> {
    let read = limit(said.len());
    if present.is_some_and(|present| read < present.last_sequence) {
        return Vec::new();
    }
    let Room { tokens, overhead } = wish.room();
    let counted: i64 =
        said.iter().map(|message| i64::from(message.token_count.unwrap_or(0)) + overhead).sum();
    let mut left = (tokens - counted) / overhead;
    let mut ids = Vec::new();
    for brief in others {
        if left <= 0 {
            break;
        }
        left -= brief.last_sequence;
        ids.push(brief.id);
    }
    ids
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
