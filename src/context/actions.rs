//! The reads of a context, within one transaction.

use std::collections::HashMap;

use futures_util::try_join;
use uuid::Uuid;

use super::model::{
    Knowledge, MAX_CAMPAIGNS, MAX_COUNTED, MAX_INTERESTS, MAX_PURCHASES, MAX_TASKS, Params, Snapshot,
};
use super::{cut, messages};
use crate::conversations::messages::store::latest::{self, Of, Room, Said};
use crate::conversations::rules::not_found;
use crate::conversations::store::briefs::{self, Brief, Briefs, Limits};
use crate::customers;
use crate::customers::model::Customer;
use crate::db::TenantTx;
use crate::engagement::actions as engagement;
use crate::error::Result;
use crate::faqs::actions::{self as faqs, RankedFaq};
use crate::numbers;
use crate::pb::ContextFormat;
use crate::questions::actions as question_actions;
use crate::questions::rules::{self as questions, Situation};

/// The number of tokens of a budget for each conversation that is read, besides the present one.
const TOKENS_PER_CONVERSATION: i64 = 400;

/// The minimum and the maximum of conversations that are read. The content of older ones is known from the FAQs
/// that were learned.
const CONVERSATIONS: (i64, i64) = (10, 100);

/// The number of the customer's last messages that are the query if the request has none.
const QUERY_MESSAGES: usize = 4;

/// The limit of characters of a query, as in the contract.
const MAX_QUERY: usize = 8_192;

impl Params {
    /// Returns how many conversations are read. It is one more than are shown, since the present one may be
    /// among them.
    fn conversations(&self) -> Limits {
        let (least, most) = CONVERSATIONS;
        Limits {
            newest: (self.max_tokens / TOKENS_PER_CONVERSATION).clamp(least, most) + 1,
            to_do: numbers::count(MAX_TASKS) + 1,
            older: numbers::count(MAX_COUNTED),
            bytes: self.bytes(),
        }
    }

    /// Returns the limits on the messages that are read.
    fn room(&self) -> Room {
        // The shortest line above a message has this many tokens; a turn of a chat has four.
        let overhead = if self.format == ContextFormat::ChatMessages { 4 } else { 12 };
        Room {
            tokens: self.max_tokens,
            overhead,
            bytes: self.bytes(),
            actions: numbers::count(cut::ACTIONS),
            characters: numbers::int32(numbers::count(self.characters())),
        }
    }
}

/// The limits on a customer's engagement. One more of each is read, to know whether there are more.
const ENGAGEMENT: engagement::Limits = engagement::Limits {
    interests: MAX_INTERESTS as i64 + 1,
    purchases: MAX_PURCHASES as i64 + 1,
    campaigns: MAX_CAMPAIGNS as i64 + 1,
};

/// Reads all that can be in a context. First comes what is found by the customer and its present conversation,
/// then what depends on the messages.
pub(super) async fn read(tx: &TenantTx, params: &Params) -> Result<Snapshot> {
    let Params { customer_id, conversation_id, .. } = params;
    let of = match conversation_id {
        Some(id) => Of::Conversation(*id),
        None => Of::Newest { customer_id: *customer_id },
    };
    let ids = [*customer_id];
    let (customer, consents, mut briefs, engagement, said, candidates) = try_join!(
        customers::actions::read(tx, *customer_id),
        customers::consents::store::find_each(tx, &ids),
        briefs::list_briefs(tx, *customer_id, *conversation_id, params.conversations()),
        engagement::read(tx, *customer_id, ENGAGEMENT),
        latest::list_latest(tx, &of, params.room()),
        question_actions::candidates(tx, *customer_id, params.now),
    )?;
    briefs.each(cut::brief);
    let (present, others, older, tasks) = place(params, briefs)?;
    let query = query(params, &said);
    let earlier = earlier(params, &said, present.as_ref(), &others);
    let situation = Situation {
        now: params.now,
        conversation_id: present.as_ref().map(|present| present.id),
        customer: &customer,
        texts: std::slice::from_ref(&query),
    };
    // In this order, questions are ranked while the database works.
    let (faqs, said_before, ranking) =
        try_join!(search(tx, params, &customer, &query), list_earlier(tx, params, earlier), async {
            questions::rank(&candidates, &situation, usize::MAX)
        },)?;
    let known = Knowledge { query, ranking, faqs };
    let mut by_conversation: HashMap<Uuid, Vec<Said>> = HashMap::new();
    for mut message in said.into_iter().chain(said_before) {
        cut::message(&mut message, params);
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
fn query(params: &Params, said: &[Said]) -> String {
    if !params.query.is_empty() {
        return params.query.clone();
    }
    let last = messages::last_of_customer(said, QUERY_MESSAGES).join("\n");
    last.chars().take(MAX_QUERY).collect()
}

/// Returns the last messages of the conversations before the present one.
async fn list_earlier(tx: &TenantTx, params: &Params, ids: Vec<Uuid>) -> Result<Vec<Said>> {
    match ids.is_empty() {
        true => Ok(Vec::new()),
        false => latest::list_latest(tx, &Of::Conversations(ids), params.room()).await,
    }
}

/// Returns the FAQs that match a text.
async fn search(tx: &TenantTx, params: &Params, customer: &Customer, query: &str) -> Result<Vec<RankedFaq>> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let params = faqs::Params {
        customer_id: params.customer_id,
        language: customers::rules::language(&customer.content_preferences.0).to_owned(),
        query: query.to_owned(),
        statuses: Vec::new(),
        // One more, to know whether there are more.
        limit: params.faqs() + 1,
    };
    faqs::search(tx, &params).await
}

/// Returns the present conversation, the others that are shown, the number of older ones, and those that need a
/// follow-up.
#[expect(clippy::type_complexity, reason = "it takes one value apart")]
fn place(params: &Params, briefs: Briefs) -> Result<(Option<Brief>, Vec<Brief>, usize, Vec<Brief>)> {
    let Briefs { newest: mut others, to_do, named, older } = briefs;
    let mut older = numbers::size(older);
    let present = match params.conversation_id {
        Some(id) => {
            let named = named.filter(|brief| brief.customer_id == params.customer_id);
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
    let looked_at = numbers::size(params.conversations().newest - 1);
    let cut = others.len().saturating_sub(looked_at);
    others.truncate(looked_at);
    Ok((present, others, older + cut, to_do))
}

/// Returns the conversations whose messages may still fit after those that were read, the newest first.
fn earlier(params: &Params, said: &[Said], present: Option<&Brief>, others: &[Brief]) -> Vec<Uuid> {
    let read = numbers::count(said.len());
    if present.is_some_and(|present| read < present.last_sequence) {
        return Vec::new();
    }
    let Room { tokens, overhead, .. } = params.room();
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
