//! What a context is asked for, what it is made of, and what it is.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use uuid::Uuid;

use super::item::Item;
use crate::conversations::messages::store::latest::Said;
use crate::conversations::store::briefs::Brief;
use crate::customers::consents::store::Consent;
use crate::customers::model::Customer;
use crate::engagement::actions::Engagement;
use crate::faqs::actions::RankedFaq;
use crate::numbers;
use crate::pb::{ContextFormat, ContextSectionKind, OmissionReason, ResourceType, Tokenizer};
use crate::questions::rules::Ranking;

/// The limit up to which older conversations are counted: an exact count is not worth the time.
pub(super) const MAX_COUNTED: usize = 500;

/// The limit of follow-ups in a context. An agent with more to do has other tools.
pub(super) const MAX_TASKS: usize = 20;

/// The limit of questions in a context: an agent does not ask more at once.
pub(super) const MAX_QUESTIONS: usize = 10;

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

/// The sections in their order, each with its default priority and share.
pub(super) const DEFAULTS: [(ContextSectionKind, i32, f64); 12] = [
    (ContextSectionKind::Profile, 100, 0.10),
    (ContextSectionKind::BusinessContext, 60, 0.10),
    (ContextSectionKind::BrandVoice, 60, 0.10),
    (ContextSectionKind::ContentPreferences, 50, 0.05),
    (ContextSectionKind::Summary, 80, 0.10),
    (ContextSectionKind::Objections, 70, 0.05),
    (ContextSectionKind::FollowUps, 70, 0.05),
    (ContextSectionKind::Interest, 40, 0.05),
    (ContextSectionKind::Faqs, 70, 0.15),
    (ContextSectionKind::QuestionsToAsk, 80, 0.05),
    (ContextSectionKind::QuestionsNotToAsk, 50, 0.05),
    (ContextSectionKind::RecentMessages, 90, 0.40),
];

/// The parameters of a request.
#[derive(Debug, Clone)]
pub(super) struct Params {
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

impl Params {
    /// Returns the options of a section.
    pub(super) fn options(&self, kind: ContextSectionKind) -> Options {
        self.options.get(&kind).copied().unwrap_or_else(|| default_options(kind))
    }

    /// Returns how many FAQs are shown.
    pub(super) fn faqs(&self) -> usize {
        let (least, most) = FAQS;
        numbers::size((self.max_tokens / TOKENS_PER_FAQ).clamp(least, most))
    }

    /// Returns the limit of bytes of text that are read of messages, and of conversations, and that the whole
    /// context may have.
    pub(super) fn bytes(&self) -> i64 {
        let (least, most) = BYTES;
        (self.max_tokens * BYTES_PER_TOKEN).clamp(least, most)
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

/// The part of the budget that a section may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Options {
    /// The priority. The section with the highest one has its turn first.
    pub(super) priority: i32,
    /// The part of the budget that is reserved for it.
    pub(super) share: f64,
    /// Whether it is left out.
    pub(super) excluded: bool,
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
    pub(super) known: Knowledge,
}

impl Snapshot {
    /// Returns the bytes of text whose tokens may have to be counted: all but texts with a count in the
    /// database.
    pub(super) fn uncounted(&self, params: &Params) -> usize {
        let Self { customer, consents: _, present, others, older: _, tasks, engagement: _, said, known } =
            self;
        let counts_are_stored =
            params.tokenizer == Tokenizer::O200kBase && params.format != ContextFormat::ChatMessages;
        let messages = said.values().flatten().map(|message| {
            let content =
                if counts_are_stored && message.token_count.is_some() { 0 } else { message.content.len() };
            let actions = message.actions.0.iter();
            content + actions.map(|action| action.arguments.len() + action.result.len()).sum::<usize>()
        });
        let briefs = present.iter().chain(others).chain(tasks).map(Brief::text_len);
        let faqs = known.faqs.iter().map(|RankedFaq { faq, .. }| faq.question.len() + faq.answer.len());
        let questions = known.ranking.questions.iter().map(|next| next.question.question.len());
        let left_out = known.ranking.left_out.iter().map(|left_out| left_out.question.len());
        let customer = crate::pb::Customer::from(customer.clone()).encoded_len();
        customer + messages.chain(briefs).chain(faqs).chain(questions).chain(left_out).sum::<usize>()
    }
}

/// What was learned about the customer.
#[derive(Debug, Clone, Default)]
pub(super) struct Knowledge {
    /// The text that FAQs and questions were selected by.
    pub(super) query: String,
    pub(super) ranking: Ranking,
    /// One more than are shown, if there are more.
    pub(super) faqs: Vec<RankedFaq>,
}

/// A context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Context {
    /// The sections in their order, also empty ones.
    pub(super) parts: Vec<Part>,
    pub(super) omissions: Vec<Omission>,
}

/// A section of a context, with all items that could be in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) kind: ContextSectionKind,
    pub(super) priority: i32,
    /// The number of tokens that are reserved for it.
    pub(super) share: i64,
    /// The number of tokens that it takes, with its heading.
    pub(super) used: i64,
    pub(super) items: Vec<Item>,
    /// Which of the items are in the context.
    pub(super) chosen: Vec<bool>,
    /// Which of the items are left out because of their bytes, although there are tokens for them.
    pub(super) oversize: Vec<bool>,
}

/// Items that are not in a context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Omission {
    pub(super) section: ContextSectionKind,
    pub(super) reason: OmissionReason,
    pub(super) count: i64,
    pub(super) at_least: bool,
    /// The number of tokens that they would take; `None` if they were not read.
    pub(super) tokens: Option<i64>,
    /// The kind of the items, if their section has several kinds.
    pub(super) about: Option<ResourceType>,
    /// For messages: the conversation, and the first and the last sequence.
    pub(super) messages: Option<(Uuid, i64, i64)>,
}
