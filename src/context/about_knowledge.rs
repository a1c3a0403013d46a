//! The FAQs and the questions of a customer, as sections of a context.

use super::item::{Item, Section};
use super::model::MAX_QUESTIONS;
use super::words::Words;
use crate::faqs::actions::RankedFaq;
use crate::faqs::search::rules::Scores;
use crate::faqs::store::Faq;
use crate::pb::{
    ContextSectionKind, FaqStatus, FaqVerificationStatus, QuestionLeftOutReason, ResourceType, Tokenizer,
};
use crate::questions::rules::{LeftOut, Next, Ranking};

/// Returns the FAQs, the best match first.
pub(super) fn faqs(found: &[RankedFaq], tokenizer: Tokenizer) -> Section {
    let items = found.iter().zip(1..).map(|(found, number)| {
        let RankedFaq { faq, scores: Scores { score, text, confidence, recency } } = found;
        let label = format!("F{number}");
        let answer = match faq.answer.trim() {
            "" => "not known yet",
            answer => answer,
        };
        let words = Words::new().ours("[").data(&label).ours("] ").data(&faq.question).line();
        let words = words.ours("Answer (").data(&standing(faq)).ours("): ").data(answer);
        Item {
            label: Some(label),
            score: *score,
            reason: format!("text {text:.3}, confidence {confidence:.3}, recency {recency:.3}"),
            ..Item::line(tokenizer, words, Some((ResourceType::CustomerFaq, faq.id)))
        }
    });
    Section { kind: ContextSectionKind::Faqs, items: items.collect() }
}

/// Returns how far an answer can be relied on.
fn standing(faq: &Faq) -> String {
    let confidence = format!("confidence {:.2}", faq.derived_confidence);
    let status = match faq.status.0 {
        FaqStatus::Conflict => Some("answers conflict"),
        FaqStatus::Candidate => Some("not approved"),
        _ => None,
    };
    let verification = match faq.verification.0 {
        FaqVerificationStatus::HumanVerified => Some("verified by a person"),
        FaqVerificationStatus::AiChecked => Some("checked by an AI"),
        FaqVerificationStatus::Disputed => Some("disputed"),
        FaqVerificationStatus::Unverified | FaqVerificationStatus::Unspecified => None,
    };
    let parts = [Some(confidence.as_str()), status, verification];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns the questions to ask next, and those not to ask.
pub(super) fn questions(ranking: &Ranking, tokenizer: Tokenizer) -> [Section; 2] {
    let Ranking { questions, left_out } = ranking;
    let about = |id| Some((ResourceType::PendingQuestion, id));
    let ask = questions.iter().take(MAX_QUESTIONS).zip(1..).map(|(next, number)| {
        let Next { question, score, reason } = next;
        let label = format!("Q{number}");
        let mut words = Words::new().ours("[").data(&label).ours("] ").data(&question.question);
        if !question.purpose.is_empty() {
            words = words.line().ours("Purpose: ").data(&question.purpose);
        }
        words = words.line().ours("Why now: ").data(reason);
        Item {
            label: Some(label),
            score: f64::from(*score),
            reason: reason.clone(),
            ..Item::line(tokenizer, words, about(question.id))
        }
    });
    let leave = left_out.iter().filter(|left_out| matters(left_out.reason)).map(|left_out| {
        let LeftOut { id, question, reason: _, explanation } = left_out;
        let words = Words::new().data(question).ours(" (").data(explanation).ours(")");
        let item = Item::line(tokenizer, words, about(*id));
        Item { reason: explanation.clone(), ..item }
    });
    [
        Section { kind: ContextSectionKind::QuestionsToAsk, items: ask.collect() },
        Section { kind: ContextSectionKind::QuestionsNotToAsk, items: leave.collect() },
    ]
}

/// Returns whether asking would be a mistake, and not just too early or irrelevant.
fn matters(reason: QuestionLeftOutReason) -> bool {
    use QuestionLeftOutReason as Reason;
    !matches!(reason, Reason::NotDue | Reason::NotRelevant | Reason::Duplicate | Reason::Unspecified)
}
