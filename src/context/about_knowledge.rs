//! What was learned about a customer, as sections of a context.

use uuid::Uuid;

use super::item::{Item, Section};
use crate::pb::{ContextResourceType, ContextSectionKind, QuestionLeftOutReason, Tokenizer};
use crate::questions::rules::{LeftOut, Next, Ranking};

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
    let Ranking { questions, left_out } = ranking;
    let about = |id| Some((ContextResourceType::PendingQuestion, id));
    let ask = questions.iter().zip(1..).map(|(next, number)| {
        let Next { question, score, reason } = next;
        let label = format!("Q{number}");
        let mut text = format!("[{label}] {}", question.question);
        if !question.purpose.is_empty() {
            text.push_str(&format!("\nPurpose: {}", question.purpose));
        }
        text.push_str(&format!("\nWhy now: {reason}"));
        Item {
            label: Some(label),
            score: f64::from(*score),
            reason: reason.clone(),
            ..Item::line(tokenizer, &text, about(question.id))
        }
    });
    let leave = left_out.iter().filter(|left_out| matters(left_out.reason)).map(|left_out| {
        let LeftOut { id, question, reason: _, explanation } = left_out;
        let item = Item::line(tokenizer, &format!("{question} ({explanation})"), about(*id));
        Item { reason: explanation.clone(), ..item }
    });
    [
        Section { kind: ContextSectionKind::QuestionsToAsk, items: ask.collect() },
        Section { kind: ContextSectionKind::QuestionsNotToAsk, items: leave.collect() },
    ]
}

/// Whether asking would be a mistake, and not just too early or beside the point.
fn matters(reason: QuestionLeftOutReason) -> bool {
    use QuestionLeftOutReason as Reason;
    !matches!(reason, Reason::NotDue | Reason::NotRelevant | Reason::Duplicate | Reason::Unspecified)
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
