//! The context of a customer.

use std::collections::BTreeMap;

use super::{Answer, count, sentence, word};
use crate::pb;

/// The part of a budget that labels and omissions may take, as one of so many parts, and at most [`MOST_KEPT`].
const KEPT: i64 = 4;

/// The most tokens for labels and omissions: those of five questions and five FAQs, each with its id.
const MOST_KEPT: i64 = 350;

/// Returns how much of an answer's budget the context itself may have.
pub(in crate::mcp) fn budget_of_text(budget: i64) -> i64 {
    budget - (budget / KEPT).min(MOST_KEPT)
}

/// Writes a context, what its labels stand for, and what has no room in it.
pub(in crate::mcp) fn context(response: &pb::GetAiContextResponse, budget: i64) -> String {
    let mut answer = Answer::new(budget);
    answer.add_cut(&format!("{}\n\n", response.markdown.trim_end()));
    if !response.conversation_id.is_empty() {
        answer.add(format!("Conversation: {}\n", response.conversation_id));
    }
    // Questions first: record_answer needs their ids.
    for kind in [pb::ResourceType::PendingQuestion, pb::ResourceType::CustomerFaq] {
        let references = response.references.iter().filter(|reference| reference.resource_type() == kind);
        for reference in references {
            answer.add(format!("{} is {}\n", reference.label, reference.resource_id));
        }
    }
    let omitted = omitted(&response.omitted);
    if count(&omitted) <= answer.left() {
        answer.add(omitted);
    }
    answer.text()
}

/// Says what is left out, and how to see it.
fn omitted(omissions: &[pb::ContextOmission]) -> String {
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    let by_budget = |omission: &&pb::ContextOmission| {
        matches!(omission.reason(), pb::OmissionReason::Budget | pb::OmissionReason::Size)
    };
    for omission in omissions.iter().filter(by_budget) {
        let section = word::<pb::ContextSectionKind>(omission.section).replace('_', " ");
        *counts.entry(section).or_default() += omission.count;
    }
    if counts.is_empty() {
        return String::new();
    }
    let counts: Vec<_> = counts.iter().map(|(section, count)| format!("{section} {count}")).collect();
    let mut text = String::new();
    sentence(&mut text, format_args!("No room for: {}.", counts.join(", ")));
    sentence(&mut text, format_args!("Call again with more max_tokens to see it.\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(words: usize) -> pb::GetAiContextResponse {
        let reference = |label: &str, kind: pb::ResourceType| pb::ContextReference {
            label: label.to_owned(),
            resource_type: kind.into(),
            resource_id: "01939a3c-7d4e-7000-8000-0123456789ab".to_owned(),
        };
        pb::GetAiContextResponse {
            markdown: format!("# Café Zoë\n{}", "word ".repeat(words)),
            conversation_id: "01939a3c-7d4e-7000-8000-0123456789ac".to_owned(),
            references: vec![
                reference("F1", pb::ResourceType::CustomerFaq),
                reference("Q1", pb::ResourceType::PendingQuestion),
            ],
            omitted: vec![pb::ContextOmission {
                section: pb::ContextSectionKind::RecentMessages.into(),
                reason: pb::OmissionReason::Budget.into(),
                count: 12,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn labels_are_told_with_what_is_left_out() {
        let text = context(&response(5), 500);
        let expected = "\n\nConversation: 01939a3c-7d4e-7000-8000-0123456789ac\n\
                        Q1 is 01939a3c-7d4e-7000-8000-0123456789ab\nF1 is 01939a3c-7d4e-7000-8000-0123456789ab\n\
                        No room for: recent messages 12. Call again with more max_tokens to see it.";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn the_budget_holds_and_leaves_room_for_questions() {
        for budget in [500, 2_000, 20_000] {
            let text_budget = budget_of_text(budget);
            let words = usize::try_from(text_budget).expect("positive") - 10;
            let text = context(&response(words), budget);
            assert!(count(&text) <= budget && text.contains("Q1 is"), "{budget}: {}", count(&text));
        }
    }
}
