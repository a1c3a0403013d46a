//! What was learned about a customer, as sections of a context.

use uuid::Uuid;

use super::item::{Item, Section};
use crate::pb::{ContextResourceType, ContextSectionKind, Tokenizer};

/// FAQs, the best match first.
pub(super) fn faqs(found: &[Faq], tokenizer: Tokenizer) -> Section {
    let items = found.iter().zip(1..).map(|(faq, number)| {
        let Faq { id, question, answer, note, score, reason } = faq;
        let label = format!("F{number}");
        let text = format!("[{label}] {question}\nAnswer{note}: {answer}");
        Item {
            label: Some(label),
            score: *score,
            reason: reason.clone(),
            ..Item::line(tokenizer, &text, Some((ContextResourceType::CustomerFaq, *id)))
        }
    });
    Section { kind: ContextSectionKind::Faqs, items: items.collect() }
}

/// What to ask next, and what not.
pub(super) fn questions(ranking: &Ranking, tokenizer: Tokenizer) -> [Section; 2] {
    let Ranking { to_ask, not_to_ask } = ranking;
    let about = |id| Some((ContextResourceType::PendingQuestion, id));
    let ask = to_ask.iter().zip(1..).map(|(question, number)| {
        let Question { id, question, note, score, reason } = question;
        let label = format!("Q{number}");
        Item {
            label: Some(label.clone()),
            score: *score,
            reason: reason.clone(),
            ..Item::line(tokenizer, &format!("[{label}] {question}{note}"), about(*id))
        }
    });
    let leave = not_to_ask.iter().map(|question| {
        let Question { id, question, note, score: _, reason } = question;
        let item = Item::line(tokenizer, &format!("{question}{note} ({reason})"), about(*id));
        Item { reason: reason.clone(), ..item }
    });
    [
        Section { kind: ContextSectionKind::QuestionsToAsk, items: ask.collect() },
        Section { kind: ContextSectionKind::QuestionsNotToAsk, items: leave.collect() },
    ]
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Faq {
    id: Uuid,
    question: String,
    answer: String,
    note: String,
    score: f64,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Ranking {
    to_ask: Vec<Question>,
    not_to_ask: Vec<Question>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Question {
    id: Uuid,
    question: String,
    note: String,
    score: f64,
    reason: String,
}
