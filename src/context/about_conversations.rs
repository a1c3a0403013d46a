//! What came of the conversations of a customer, as sections of a context.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::item::{Item, Section};
use super::messages::minute;
use crate::conversations::analyses::store::{Analysis, Objection, Sentiment};
use crate::conversations::store::briefs::Brief;
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::pb::{ContextResourceType, ContextSectionKind, ObjectionKind, ObjectionState, Tokenizer};
use crate::rpc::words::{Text, Word};

/// The conversations in short: the present one, then the others, which come the newest first.
pub(super) fn summary(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Section {
    let present = present.and_then(|brief| Some((brief, summary_of_present(brief)?)));
    let others = others.iter().filter_map(|brief| Some((brief, summary_of_other(brief)?)));
    let items = present.into_iter().chain(others).map(|(brief, text)| about(brief, &text, tokenizer));
    Section { kind: ContextSectionKind::Summary, items: items.collect() }
}

fn summary_of_present(brief: &Brief) -> Option<String> {
    let Json(analysis) = brief.latest_analysis.as_ref()?;
    let covers = analysis.covers_through_sequence.min(brief.last_sequence);
    let said = gist(analysis);
    Some(format!("Present conversation, as of message {covers} of {}: {said}", brief.last_sequence))
}

/// Of a conversation that nobody has analysed there is nothing to say.
fn summary_of_other(brief: &Brief) -> Option<String> {
    let Json(analysis) = brief.latest_analysis.as_ref()?;
    let place = brief.entry_point.map_or_else(|| brief.channel.0.word(), |Text(entry)| entry.word());
    let head = format!("{}, {place}, {} messages", day(brief.started_at), brief.last_sequence);
    Some(format!("{head}: {}", gist(analysis)))
}

/// What an analysis says, in a few lines.
fn gist(analysis: &Analysis) -> String {
    let Analysis { summary, topics: Texts(topics), questions: Texts(questions), sentiment, .. } = analysis;
    let mut lines = vec![summary.trim().to_owned()];
    if !topics.is_empty() {
        lines.push(format!("Topics: {}", topics.join(", ")));
    }
    if !questions.is_empty() {
        lines.push(format!("The customer asked: {}", questions.join(" ")));
    }
    if let Some(Json(Sentiment { score: _, magnitude: _, label: Some(Text(label)), trend })) = sentiment {
        let trend = trend.map_or_else(String::new, |Text(trend)| format!(", {}", trend.word()));
        lines.push(format!("Mood: {}{trend}", label.word()));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// What the customer has against buying. What it said last of a matter counts.
pub(super) fn objections(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Section {
    let mut settled: HashSet<i32> = HashSet::new();
    let mut items = Vec::new();
    for brief in present.into_iter().chain(others) {
        let Some(Json(analysis)) = &brief.latest_analysis else { continue };
        let raised = analysis.objections.0.iter();
        let open = raised.filter(|objection| is_open(objection) && !settled.contains(&kind(objection)));
        items.extend(open.map(|Objection { kind, state, evidence }| {
            let head = format!("{}, {} on {}", kind.0.word(), state.0.word(), day(brief.started_at));
            let text = if evidence.is_empty() { head } else { format!("{head}: {evidence}") };
            about(brief, &text, tokenizer)
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
    objection.state.0 != ObjectionState::Resolved
}

/// What was promised.
pub(super) fn follow_ups(tasks: &[Brief], tokenizer: Tokenizer) -> Section {
    let items = tasks.iter().map(|task| {
        let due = match task.follow_up_due_at {
            Some(due) => format!("By {}", minute(due)),
            None => "No date".to_owned(),
        };
        let head = format!("{due}, from the conversation of {}", day(task.started_at));
        let notes = task.follow_up_notes.trim();
        let text = if notes.is_empty() { head } else { format!("{head}: {notes}") };
        Item::line(tokenizer, &text, Some((ContextResourceType::Conversation, task.id)))
    });
    Section { kind: ContextSectionKind::FollowUps, items: items.collect() }
}

/// What came of the conversations, each an item.
pub(super) fn outcomes(present: Option<&Brief>, others: &[Brief], tokenizer: Tokenizer) -> Vec<Item> {
    let items = present.into_iter().chain(others).filter_map(|brief| {
        let outcome = brief.outcome?.0.word();
        let head = format!("{}: {outcome}", day(brief.started_at));
        let notes = brief.outcome_notes.trim();
        let text = if notes.is_empty() { head } else { format!("{head}. {notes}") };
        Some(about(brief, &text, tokenizer))
    });
    items.collect()
}

fn about(brief: &Brief, text: &str, tokenizer: Tokenizer) -> Item {
    Item::line(tokenizer, text, Some((ContextResourceType::Conversation, brief.id)))
}

/// The day of a time.
pub(super) fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d").to_string()
}
