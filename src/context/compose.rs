//! Selects the items of a context from all that could be in it.

use std::ops::Add;

use super::budget::Cost;
use super::item::{Item, Section};
use super::messages::When;
use super::model::{
    Context, Knowledge, MAX_COUNTED, MAX_QUESTIONS, MAX_TASKS, Omission, Params, Part, Snapshot,
};
use super::{
    about_conversations, about_customer, about_engagement, about_knowledge, budget, messages, prompt,
};
use crate::conversations::store::briefs::Brief;
use crate::numbers;
use crate::pb::{ContextFormat, ContextSectionKind, OmissionReason, ResourceType};
use crate::tokens;

/// The bytes of an answer for an item, or a turn, beside its text: ids, roles, counts, a reference.
const BESIDE_TEXT: usize = 128;

/// Selects a context from a snapshot.
pub(super) fn compose(params: &Params, snapshot: &Snapshot) -> Context {
    let mut parts: Vec<Part> = sections(params, snapshot)
        .into_iter()
        .filter_map(|section| {
            let Section { kind, items } = section;
            let options = params.options(kind);
            let share = part_of(params.max_tokens, options.share);
            let chosen = vec![false; items.len()];
            let priority = options.priority;
            let oversize = chosen.clone();
            (!options.excluded).then_some(Part { kind, priority, share, used: 0, items, chosen, oversize })
        })
        .collect();
    let bids: Vec<budget::Section> = parts.iter().map(|part| bid(part, params)).collect();
    let budget = Cost { tokens: params.max_tokens - prompt::frame(params.format), bytes: params.bytes() };
    let chosen = budget::choose(budget, &bids);
    let used = bids.iter().zip(&chosen).map(|(bid, chosen)| bid.used(chosen));
    let left = budget - used.fold(Cost::default(), Cost::add);
    for ((part, bid), chosen) in parts.iter_mut().zip(&bids).zip(chosen) {
        part.used = bid.used(&chosen).tokens;
        part.oversize = oversize(bid, &chosen, left);
        part.chosen = chosen;
    }
    let omissions = parts.iter().flat_map(|part| omissions(part, params, snapshot)).collect();
    Context { parts, omissions }
}

/// Returns which items were left out because of their bytes: there are tokens left for them. In an unbroken
/// section, the reason of the first such item is the reason for all.
fn oversize(bid: &budget::Section, chosen: &[bool], left: Cost) -> Vec<bool> {
    let heading = if chosen.contains(&true) { 0 } else { bid.heading.tokens };
    let has_tokens = |cost: &Cost| cost.tokens + heading <= left.tokens;
    let items = || bid.items.iter().zip(chosen);
    let first = items().find(|(_, chosen)| !**chosen).is_some_and(|(cost, _)| has_tokens(cost));
    let is_oversize = |cost| if bid.unbroken { first } else { has_tokens(cost) };
    items().map(|(cost, chosen)| !chosen && is_oversize(cost)).collect()
}

fn sections(params: &Params, snapshot: &Snapshot) -> Vec<Section> {
    let tokenizer = params.tokenizer;
    let Snapshot { customer, consents, present, others, older: _, tasks, engagement, said, known } = snapshot;
    let present = present.as_ref();
    let tasks = tasks.get(..MAX_TASKS).unwrap_or(tasks);
    let Knowledge { query: _, ranking, faqs } = known;
    let mut sections = Vec::from(about_customer::sections(customer, consents, tokenizer));
    sections.push(about_conversations::summary(present, others, tokenizer));
    sections.push(about_conversations::objections(present, others, tokenizer));
    sections.push(about_conversations::follow_ups(tasks, tokenizer));
    sections.push(about_engagement::section(engagement, present, others, tokenizer));
    let faqs = faqs.get(..params.faqs()).unwrap_or(faqs);
    sections.push(about_knowledge::faqs(faqs, tokenizer));
    sections.extend(about_knowledge::questions(ranking, tokenizer));
    let mut items = Vec::new();
    for brief in present.into_iter().chain(others) {
        let of_brief = said.get(&brief.id).map_or(&[][..], Vec::as_slice);
        let is_present = present.is_some_and(|present| present.id == brief.id);
        let when = if is_present { When::Present } else { When::Earlier };
        items.extend(messages::items(of_brief, when, tokenizer));
        let reached = items.last().and_then(|item: &Item| item.places.first()).copied();
        let whole = reached.is_some_and(|place| place.conversation_id == brief.id && place.sequence == 1);
        if !whole && brief.last_sequence > 0 {
            break;
        }
    }
    sections.push(Section { kind: ContextSectionKind::RecentMessages, items });
    sections
}

/// Returns a share of a budget, in tokens.
fn part_of(budget: i64, share: f64) -> i64 {
    // Budgets are small and shares are between 0 and 1, so the casts are safe.
    (budget as f64 * share) as i64
}

fn bid(part: &Part, params: &Params) -> budget::Section {
    let heading = match params.format {
        ContextFormat::Structured | ContextFormat::Unspecified => 0,
        _ => tokens::recall(params.tokenizer, prompt::heading(part.kind)),
    };
    let tokens = |item: &Item| match (params.format, &item.turns) {
        (ContextFormat::ChatMessages, Some(turns)) => prompt::cost(turns, params.tokenizer),
        _ => item.tokens,
    };
    let cost = |item: &Item| Cost { tokens: tokens(item), bytes: bytes_of(item) };
    budget::Section {
        priority: part.priority,
        share: part.share,
        heading: Cost { tokens: heading, bytes: 0 },
        items: part.items.iter().map(cost).collect(),
        unbroken: part.kind == ContextSectionKind::RecentMessages,
    }
}

/// Returns the bytes of an answer for an item, in any format: its text, once, and the fields beside it.
fn bytes_of(item: &Item) -> i64 {
    let beside = BESIDE_TEXT * (1 + item.turns.as_ref().map_or(0, Vec::len));
    numbers::count(item.text.len() + beside)
}

/// Returns the parts of a section that are not in the context.
fn omissions(part: &Part, params: &Params, snapshot: &Snapshot) -> Vec<Omission> {
    let section = part.kind;
    if section == ContextSectionKind::RecentMessages {
        let briefs = snapshot.present.iter().chain(&snapshot.others);
        let why = why_no_more(part, params);
        return briefs.flat_map(|brief| omitted_messages(part, brief, snapshot, why)).collect();
    }
    if section == ContextSectionKind::Interest {
        return omitted_engagement(part, snapshot);
    }
    let omission = |reason, count: usize| Omission {
        section,
        reason,
        count: numbers::count(count),
        at_least: false,
        tokens: None,
        about: None,
        messages: None,
    };
    let mut omissions: Vec<Omission> = LEFT_OUT
        .into_iter()
        .map(|reason| {
            let tokens: Vec<i64> = part.left_out(reason).map(|item| item.tokens).collect();
            Omission { tokens: Some(tokens.iter().sum()), ..omission(reason, tokens.len()) }
        })
        .collect();
    let beyond = |count, at_least| Omission { at_least, ..omission(OmissionReason::BeyondLimit, count) };
    match section {
        ContextSectionKind::Summary => {
            omissions.push(beyond(snapshot.older, snapshot.older >= MAX_COUNTED));
        }
        ContextSectionKind::FollowUps => {
            let more = snapshot.tasks.len().saturating_sub(MAX_TASKS);
            omissions.push(beyond(more, more > 0));
        }
        ContextSectionKind::Faqs => {
            let more = snapshot.known.faqs.len().saturating_sub(params.faqs());
            omissions.push(beyond(more, more > 0));
        }
        ContextSectionKind::QuestionsToAsk => {
            let more = snapshot.known.ranking.questions.len().saturating_sub(MAX_QUESTIONS);
            omissions.push(beyond(more, false));
        }
        _ => {}
    }
    omissions.retain(|omission| omission.count > 0);
    omissions
}

/// Returns the parts of a customer's engagement that are not in the context, one for each kind, because each
/// kind has its own RPC.
fn omitted_engagement(part: &Part, snapshot: &Snapshot) -> Vec<Omission> {
    let read = about_engagement::read_of(&snapshot.engagement);
    // The summary reports how many more conversations there are.
    let kinds = read.into_iter().chain([(ResourceType::Conversation, 0, 0)]);
    let mut omissions = Vec::new();
    for (kind, read, told) in kinds {
        let omission = |reason, at_least, count: usize, tokens| Omission {
            section: part.kind,
            reason,
            count: numbers::count(count),
            at_least,
            tokens,
            about: Some(kind),
            messages: None,
        };
        for reason in LEFT_OUT {
            let is_of_kind = |item: &&Item| item.about.is_some_and(|(about, _)| about == kind);
            let of_kind: Vec<i64> =
                part.left_out(reason).filter(is_of_kind).map(|item| item.tokens).collect();
            omissions.push(omission(reason, false, of_kind.len(), Some(of_kind.iter().sum())));
        }
        omissions.push(omission(OmissionReason::BeyondLimit, true, read.saturating_sub(told), None));
    }
    omissions.retain(|omission| omission.count > 0);
    omissions
}

/// The reasons why items that were read are not in a context.
const LEFT_OUT: [OmissionReason; 2] = [OmissionReason::Budget, OmissionReason::Size];

impl Part {
    /// Returns the items that are not in the context for this reason.
    fn left_out(&self, reason: OmissionReason) -> impl Iterator<Item = &Item> {
        let why = self.chosen.iter().zip(&self.oversize).map(|(chosen, oversize)| match (chosen, oversize) {
            (true, _) => OmissionReason::Unspecified,
            (false, true) => OmissionReason::Size,
            (false, false) => OmissionReason::Budget,
        });
        self.items.iter().zip(why).filter(move |(_, why)| *why == reason).map(|(item, _)| item)
    }
}

/// Returns why a context has no earlier messages: the reason of the first message that is left out. If all
/// messages that were read are in the context, it is the limit, of bytes or of tokens, that they came nearer
/// to.
fn why_no_more(part: &Part, params: &Params) -> OmissionReason {
    let first = part.chosen.iter().position(|chosen| !chosen);
    let is_size = match first.and_then(|first| part.oversize.get(first)) {
        Some(oversize) => *oversize,
        None => {
            let bytes: i64 = part.items.iter().map(bytes_of).sum();
            bytes.saturating_mul(params.max_tokens) > part.used.saturating_mul(params.bytes())
        }
    };
    if is_size { OmissionReason::Size } else { OmissionReason::Budget }
}

/// Returns the messages of a conversation that are not in the context: those before its first message in the
/// context, and those in progress.
fn omitted_messages(part: &Part, brief: &Brief, snapshot: &Snapshot, why: OmissionReason) -> Vec<Omission> {
    let told = part.items.iter().zip(&part.chosen).filter(|(_, chosen)| **chosen);
    let places = told.flat_map(|(item, _)| &item.places);
    let sequences = places.filter(|place| place.conversation_id == brief.id).map(|place| place.sequence);
    let first = sequences.min().unwrap_or(brief.last_sequence + 1);
    let open = snapshot.said.get(&brief.id).map_or_else(Vec::new, |said| messages::in_progress(said));
    let open_after: Vec<i64> = open.into_iter().filter(|sequence| *sequence > first).collect();
    let omission = |reason, count, from, to| Omission {
        section: part.kind,
        reason,
        count,
        at_least: false,
        tokens: None,
        about: None,
        messages: Some((brief.id, from, to)),
    };
    let mut omissions = Vec::new();
    if first > 1 {
        omissions.push(omission(why, first - 1, 1, first - 1));
    }
    if let (Some(from), Some(to)) = (open_after.iter().min(), open_after.iter().max()) {
        let count = numbers::count(open_after.len());
        omissions.push(omission(OmissionReason::InProgress, count, *from, *to));
    }
    omissions
}
