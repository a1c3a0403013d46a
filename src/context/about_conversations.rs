//! The results of a customer's conversations, as sections of a context.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::item::{Item, Section};
use super::messages::minute;
use super::words::Words;
use crate::contract::Word;
use crate::conversations::analyses::store::{Analysis, Objection, Sentiment};
use crate::conversations::store::briefs::Brief;
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::db::words::Text;
use crate::pb::{ContextSectionKind, ObjectionKind, ObjectionStatus, ResourceType, Tokenizer};

/// Returns the conversations in short: the present one, then the others, which come the newest first.
pub(super) fn summary(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Section {
    let present = present.and_then(|brief| Some((brief, summary_of_present(brief)?)));
    let others = others.iter().filter_map(|brief| Some((brief, summary_of_other(brief)?)));
    let items = present.into_iter().chain(others).map(|(brief, words)| about(brief, words, tokenizer));
    Section { kind: ContextSectionKind::Summary, items: items.collect() }
}

fn summary_of_present(brief: &Brief) -> Option<Words> {
    let Json(analysis) = brief.latest_analysis.as_ref()?;
    let covers = analysis.covers_through_sequence.min(brief.last_sequence);
    let head = Words::new().ours("Present conversation, as of message ").data(&covers.to_string());
    Some(gist(analysis, head.ours(" of ").data(&brief.last_sequence.to_string())))
}

/// Returns `None` for a conversation without an analysis: it has nothing to say.
fn summary_of_other(brief: &Brief) -> Option<Words> {
    let Json(analysis) = brief.latest_analysis.as_ref()?;
    let place = brief.entry_point.map_or_else(|| brief.modality.0.word(), |Text(entry)| entry.word());
    let head = Words::new().data(&day(brief.started_at)).ours(", ").ours(place).ours(", ");
    Some(gist(analysis, head.data(&brief.last_sequence.to_string()).ours(" messages")))
}

/// Returns the content of an analysis, in a few lines after these words.
fn gist(analysis: &Analysis, head: Words) -> Words {
    let Analysis { summary, topics: Texts(topics), questions: Texts(questions), sentiment, .. } = analysis;
    let mut lines: Vec<(&'static str, String)> = vec![("", summary.trim().to_owned())];
    if !topics.is_empty() {
        lines.push(("Topics: ", topics.join(", ")));
    }
    if !questions.is_empty() {
        lines.push(("The customer asked: ", questions.join(" ")));
    }
    if let Some(Json(Sentiment { score: _, magnitude: _, label: Some(Text(label)), trend })) = sentiment {
        let trend = trend.map_or_else(String::new, |Text(trend)| format!(", {}", trend.word()));
        lines.push(("Mood: ", format!("{}{trend}", label.word())));
    }
    lines.retain(|(name, text)| !name.is_empty() || !text.is_empty());
    let mut words = head.ours(": ");
    for (index, (name, text)) in lines.into_iter().enumerate() {
        words = if index == 0 { words } else { words.line() };
        words = words.ours(name).data(&text);
    }
    words
}

/// Returns the customer's objections to buying. For each kind, the latest statement counts.
pub(super) fn objections(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Section {
    let mut settled: HashSet<i32> = HashSet::new();
    let mut items = Vec::new();
    for brief in present.into_iter().chain(others) {
        let Some(Json(analysis)) = &brief.latest_analysis else { continue };
        let raised = analysis.objections.0.iter();
        let open = raised.filter(|objection| is_open(objection) && !settled.contains(&kind(objection)));
        items.extend(open.map(|Objection { kind, status, evidence }| {
            let head = Words::new().ours(kind.0.word()).ours(", ").ours(status.0.word()).ours(" on ");
            let head = head.data(&day(brief.started_at));
            about(brief, with(head, ": ", evidence), tokenizer)
        }));
        settled.extend(analysis.objections.0.iter().map(kind));
    }
    Section { kind: ContextSectionKind::Objections, items }
}

fn kind(objection: &Objection) -> i32 {
    let kind: ObjectionKind = objection.kind.0;
    kind.into()
}

fn is_open(objection: &Objection) -> bool {
    objection.status.0 != ObjectionStatus::Resolved
}

/// Returns the follow-ups that were promised.
pub(super) fn follow_ups(tasks: &[Brief], tokenizer: Tokenizer) -> Section {
    let items = tasks.iter().map(|task| {
        let due = match task.follow_up_due_at {
            Some(due) => Words::new().ours("By ").data(&minute(due)),
            None => Words::new().ours("No date"),
        };
        let head = due.ours(", from the conversation of ").data(&day(task.started_at));
        about(task, with(head, ": ", &task.follow_up_notes), tokenizer)
    });
    Section { kind: ContextSectionKind::FollowUps, items: items.collect() }
}

/// Returns the outcomes of the conversations, one item each.
pub(super) fn outcomes(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Vec<Item> {
    let items = present.into_iter().chain(others).filter_map(|brief| {
        let outcome = brief.outcome?.0.word();
        let head = Words::new().data(&day(brief.started_at)).ours(": ").ours(outcome);
        Some(about(brief, with(head, ". ", &brief.outcome_notes), tokenizer))
    });
    items.collect()
}

/// Appends a text to the words, unless it is blank.
fn with(head: Words, between: &'static str, text: &str) -> Words {
    match text.trim() {
        "" => head,
        text => head.ours(between).data(text),
    }
}

fn about(brief: &Brief, words: Words, tokenizer: Tokenizer) -> Item {
    Item::line(tokenizer, words, Some((ResourceType::Conversation, brief.id)))
}

/// Returns the day of a time.
pub(super) fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}
