//! The reads of a context, within one transaction.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::try_join;
use prost::Message as _;
use uuid::Uuid;

use super::compose::{DEFAULTS, Options};
use super::{cut, messages};
use crate::conversations::messages::store::latest::{self, Of, Room, Said};
use crate::conversations::rules::not_found;
use crate::conversations::store::briefs::{self, Brief, Briefs, Limits};
use crate::customers;
use crate::customers::consents::store::Consent;
use crate::customers::store::Customer;
use crate::db::TenantTx;
use crate::engagement::actions::{self as engagement, Engagement};
use crate::error::Result;
use crate::faqs::actions::{self as faqs, Found};
use crate::pb::{ContextFormat, ContextSectionKind, Tokenizer};
use crate::questions::actions as question_actions;
use crate::questions::rules::{self as questions, Ranking, Situation};

/// The number of tokens of a budget for each conversation that is read, besides the present one.
const TOKENS_PER_CONVERSATION: i64 = 400;

/// The minimum and the maximum of conversations that are read. The content of older ones is known from the FAQs
/// that were learned.
const CONVERSATIONS: (i64, i64) = (10, 100);

/// The limit up to which older conversations are counted: an exact count is not worth the time.
pub(super) const MAX_COUNTED: usize = 500;

/// The limit of follow-ups in a context. An agent with more to do has other tools.
pub(super) const MAX_TASKS: usize = 20;

/// The limits of subjects, of purchases and of campaigns in a context. What a customer did earlier says less
/// about its next step.
pub(super) const MAX_INTERESTS: usize = 10;
pub(super) const MAX_PURCHASES: usize = 10;
pub(super) const MAX_CAMPAIGNS: usize = 10;

/// The number of tokens of a budget for each FAQ that is searched. A FAQ has some sixty, so more are found than
/// fit into their share.
const TOKENS_PER_FAQ: i64 = 400;

/// The minimum and the maximum of FAQs in a context. Those after the best fifty have little to do with the
/// query.
const FAQS: (i64, i64) = (5, 50);

/// The number of bytes of text for each token of a budget. Text of people and of tools has two to five; only
/// text that is nearly all blanks has more.
const BYTES_PER_TOKEN: i64 = 16;

/// The minimum and the maximum of bytes of text. With the other fields of each item, an answer stays below the
/// 4 MiB that gRPC clients accept by default.
const BYTES: (i64, i64) = (64 << 10, 2 << 20);

/// The limit of questions in a context: an agent does not ask more at once.
pub(super) const MAX_QUESTIONS: usize = 10;

/// The number of the customer's last messages that are the query if the request has none.
const QUERY_MESSAGES: usize = 4;

/// The limit of characters of a query, as in the contract.
const MAX_QUERY: usize = 8_192;

/// The parameters of a request.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) customer_id: Uuid,
    pub(super) conversation_id: Option<Uuid>,
    /// Empty for the customer's last messages.
    pub(super) query: String,
    pub(super) max_tokens: i64,
    pub(super) format: ContextFormat,
    pub(super) tokenizer: Tokenizer,
    /// The sections whose options differ from the default.
    pub(super) options: HashMap<ContextSectionKind, Options>,
    /// The time by which cooldowns, schedules and expiries are judged.
    pub(super) now: DateTime<Utc>,
}

impl Wish {
    /// Returns the options of a section.
    pub(super) fn options(&self, kind: ContextSectionKind) -> Options {
        self.options.get(&kind).copied().unwrap_or_else(|| default_options(kind))
    }

    /// Returns how many conversations are read. It is one more than are shown, since the present one may be
    /// among them.
    fn conversations(&self) -> Limits {
        let (least, most) = CONVERSATIONS;
        Limits {
            newest: (self.max_tokens / TOKENS_PER_CONVERSATION).clamp(least, most) + 1,
            to_do: limit(MAX_TASKS) + 1,
            older: limit(MAX_COUNTED),
            bytes: self.bytes(),
        }
    }

    /// Returns how many FAQs are shown.
    pub(super) fn faqs(&self) -> usize {
        let (least, most) = FAQS;
        usize::try_from((self.max_tokens / TOKENS_PER_FAQ).clamp(least, most)).unwrap_or(0)
    }

    /// Returns the limit of bytes of text that are read of messages, and of conversations, and that the whole
    /// context may have.
    pub(super) fn bytes(&self) -> i64 {
        let (least, most) = BYTES;
        (self.max_tokens * BYTES_PER_TOKEN).clamp(least, most)
    }

    /// Returns the limits on the messages that are read.
    fn room(&self) -> Room {
        // The shortest line above a message has this many tokens; a turn of a chat has four.
        let overhead = if self.format == ContextFormat::ChatMessages { 4 } else { 12 };
        Room {
            tokens: self.max_tokens,
            overhead,
            bytes: self.bytes(),
            actions: limit(cut::ACTIONS),
            characters: i32::try_from(self.characters()).unwrap_or(i32::MAX),
        }
    }
}

/// Returns the default options of a section.
pub(super) fn default_options(kind: ContextSectionKind) -> Options {
    let (priority, share) = DEFAULTS
        .iter()
        .find(|(known, ..)| *known == kind)
        .map_or((0, 0.0), |(_, priority, share)| (*priority, *share));
    Options { priority, share, excluded: false }
}

/// All that is known of a customer at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) customer: Customer,
    /// The customer's consents to being contacted.
    pub(super) consents: Vec<Consent>,
    pub(super) present: Option<Brief>,
    /// The conversations besides the present one, the newest first.
    pub(super) others: Vec<Brief>,
    /// The number of older ones, up to a limit.
    pub(super) older: usize,
    /// The conversations that need a follow-up, the next due first. One more than are shown, if there are more.
    pub(super) tasks: Vec<Brief>,
    /// One more of each kind than are shown, if there are more.
    pub(super) engagement: Engagement,
    /// The last messages of conversations, the newest first, by conversation.
    pub(super) said: HashMap<Uuid, Vec<Said>>,
    pub(super) known: Known,
}

impl Snapshot {
    /// Returns the bytes of text whose tokens may have to be counted: all but texts with a count in the
    /// database.
    pub(super) fn uncounted(&self, wish: &Wish) -> usize {
        let Self { customer, consents: _, present, others, older: _, tasks, engagement: _, said, known } =
            self;
        let counts_are_stored =
            wish.tokenizer == Tokenizer::O200kBase && wish.format != ContextFormat::ChatMessages;
        let messages = said.values().flatten().map(|message| {
            let content =
                if counts_are_stored && message.token_count.is_some() { 0 } else { message.content.len() };
            let actions = message.actions.0.iter();
            content + actions.map(|action| action.arguments.len() + action.result.len()).sum::<usize>()
        });
        let briefs = present.iter().chain(others).chain(tasks).map(Brief::text_len);
        let faqs = known.faqs.iter().map(|Found { faq, .. }| faq.question.len() + faq.answer.len());
        let questions = known.ranking.questions.iter().map(|next| next.question.question.len());
        let left_out = known.ranking.left_out.iter().map(|left_out| left_out.question.len());
        let customer = crate::pb::Customer::from(customer.clone()).encoded_len();
        customer + messages.chain(briefs).chain(faqs).chain(questions).chain(left_out).sum::<usize>()
    }
}

/// What was learned about the customer.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The text that FAQs and questions were selected by.
    pub(super) query: String,
    pub(super) ranking: Ranking,
    /// One more than are shown, if there are more.
    pub(super) faqs: Vec<Found>,
}

/// The limits on a customer's engagement. One more of each is read, to know whether there are more.
const ENGAGEMENT: engagement::Limits = engagement::Limits {
    interests: MAX_INTERESTS as i64 + 1,
    purchases: MAX_PURCHASES as i64 + 1,
    campaigns: MAX_CAMPAIGNS as i64 + 1,
};

/// Reads all that can be in a context. First comes what is found by the customer and its present conversation,
/// then what depends on the messages.
pub(super) async fn read(tx: &TenantTx, wish: &Wish) -> Result<Snapshot> {
    let Wish { customer_id, conversation_id, .. } = wish;
    let of = match conversation_id {
        Some(id) => Of::Conversation(*id),
        None => Of::Newest { customer_id: *customer_id },
    };
    let ids = [*customer_id];
    let (customer, consents, mut briefs, engagement, said, candidates) = try_join!(
        customers::actions::read(tx, *customer_id),
        customers::consents::store::find_each(tx, &ids),
        briefs::list_briefs(tx, *customer_id, *conversation_id, wish.conversations()),
        engagement::read(tx, *customer_id, ENGAGEMENT),
        latest::list_latest(tx, &of, wish.room()),
        question_actions::candidates(tx, *customer_id, wish.now),
    )?;
    briefs.each(cut::brief);
    let (present, others, older, tasks) = place(wish, briefs)?;
    let query = query(wish, &said);
    let earlier = earlier(wish, &said, present.as_ref(), &others);
    let situation = Situation {
        now: wish.now,
        conversation_id: present.as_ref().map(|present| present.id),
        customer: &customer,
        texts: std::slice::from_ref(&query),
    };
    // In this order, questions are ranked while the database works.
    let (faqs, said_before, ranking) =
        try_join!(search(tx, wish, &customer, &query), list_earlier(tx, wish, earlier), async {
            questions::rank(&candidates, &situation, usize::MAX)
        },)?;
    let known = Known { query, ranking, faqs };
    let mut by_conversation: HashMap<Uuid, Vec<Said>> = HashMap::new();
    for mut message in said.into_iter().chain(said_before) {
        cut::message(&mut message, wish);
        by_conversation.entry(message.conversation_id).or_default().push(message);
    }
    Ok(Snapshot {
        customer,
        consents,
        present,
        others,
        older,
        tasks,
        engagement,
        said: by_conversation,
        known,
    })
}

/// Returns the text that FAQs and questions are selected by: the query of the request, or else the customer's
/// last messages.
fn query(wish: &Wish, said: &[Said]) -> String {
    if !wish.query.is_empty() {
        return wish.query.clone();
    }
    let last = messages::last_of_customer(said, QUERY_MESSAGES).join("\n");
    last.chars().take(MAX_QUERY).collect()
}

/// Returns the last messages of the conversations before the present one.
async fn list_earlier(tx: &TenantTx, wish: &Wish, ids: Vec<Uuid>) -> Result<Vec<Said>> {
    match ids.is_empty() {
        true => Ok(Vec::new()),
        false => latest::list_latest(tx, &Of::Conversations(ids), wish.room()).await,
    }
}

/// Returns the FAQs that match a text.
async fn search(tx: &TenantTx, wish: &Wish, customer: &Customer, query: &str) -> Result<Vec<Found>> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let wish = faqs::Wish {
        customer_id: wish.customer_id,
        language: customers::rules::language(&customer.content_preferences.0).to_owned(),
        query: query.to_owned(),
        statuses: Vec::new(),
        // One more, to know whether there are more.
        limit: wish.faqs() + 1,
    };
    faqs::search(tx, &wish).await
}

/// Returns the present conversation, the others that are shown, the number of older ones, and those that need a
/// follow-up.
#[expect(clippy::type_complexity, reason = "it takes one value apart")]
fn place(wish: &Wish, briefs: Briefs) -> Result<(Option<Brief>, Vec<Brief>, usize, Vec<Brief>)> {
    let Briefs { newest: mut others, to_do, named, older } = briefs;
    let mut older = usize::try_from(older).unwrap_or(usize::MAX);
    let present = match wish.conversation_id {
        Some(id) => {
            let named = named.filter(|brief| brief.customer_id == wish.customer_id);
            let named = named.ok_or_else(|| not_found(id))?;
            let before = others.len();
            others.retain(|brief| brief.id != id);
            let is_older = before == others.len() && older < MAX_COUNTED;
            older = older.saturating_sub(usize::from(is_older));
            Some(named)
        }
        None if others.is_empty() => None,
        None => Some(others.remove(0)),
    };
    let looked_at = usize::try_from(wish.conversations().newest - 1).unwrap_or(usize::MAX);
    let cut = others.len().saturating_sub(looked_at);
    others.truncate(looked_at);
    Ok((present, others, older + cut, to_do))
}

/// Returns the conversations whose messages may still fit after those that were read, the newest first.
fn earlier(wish: &Wish, said: &[Said], present: Option<&Brief>, others: &[Brief]) -> Vec<Uuid> {
    let read = limit(said.len());
    if present.is_some_and(|present| read < present.last_sequence) {
        return Vec::new();
    }
    let Room { tokens, overhead, .. } = wish.room();
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
