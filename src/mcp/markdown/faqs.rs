//! FAQs.

use super::{Answer, joined, number_of, one_line, word};
use crate::conversations::messages::quote::quote;
use crate::pb;

/// The tokens for the line about what has no room.
const KEPT: i64 = 30;

/// Writes FAQs that were found, the best first.
pub(in crate::mcp) fn found(matches: &[pb::CustomerFaqMatch], budget: i64) -> String {
    if matches.is_empty() {
        return "No FAQ matches. If the question is answered now, store it with record_faq.".to_owned();
    }
    let mut answer = Answer::new(budget);
    answer.keep(KEPT);
    let faqs = matches.iter().filter_map(|found| found.customer_faq.as_ref());
    let shown = answer.add_all(faqs.map(item));
    answer.release(KEPT);
    let left_out = matches.len() - shown;
    if left_out > 0 {
        answer.add(format!("{left_out} more match; ask with more max_tokens to see them.\n"));
    }
    answer.text()
}

fn item(faq: &pb::CustomerFaq) -> String {
    let status = word::<pb::FaqStatus>(faq.status);
    let checked = match faq.verification_status() {
        pb::FaqVerificationStatus::HumanVerified => "verified by a person",
        pb::FaqVerificationStatus::AiChecked => "checked by a program",
        pb::FaqVerificationStatus::Disputed => "disputed",
        _ => "",
    };
    let confidence = format!("confidence {:.2}", faq.derived_confidence);
    let state = joined([status.as_str(), checked, &confidence], ", ");
    let answer =
        if faq.answer.is_empty() { "\n(no answer yet)\n".to_owned() } else { quote(faq.answer.trim_end()) };
    format!("**{}**{answer}({state}; id {})\n\n", one_line(&faq.question), faq.id)
}

/// Says what became of an observation.
pub(in crate::mcp) fn recorded(response: &pb::RecordFaqObservationResponse) -> String {
    let faq = response.customer_faq.clone().unwrap_or_default();
    let observation = response.observation.clone().unwrap_or_default();
    let what = match (response.deduplicated, observation.kind()) {
        (true, _) => "It was recorded before.".to_owned(),
        (false, pb::FaqObservationKind::Used) => {
            format!("Recorded: the FAQ was used {}.", number_of(faq.usage_count, "time"))
        }
        (false, _) => format!("Recorded: it was asked {}.", number_of(faq.observation_count, "time")),
    };
    let conflict = match observation.agreement() {
        pb::FaqAgreement::Conflicts => {
            "\nThe answer differs from the one that the FAQ keeps; a person should decide which is right."
        }
        _ => "",
    };
    format!("{what}{conflict}\n{}", item(&faq).trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::count;
    use super::*;

    fn found_faq(answer: &str) -> pb::CustomerFaqMatch {
        let faq = pb::CustomerFaq {
            id: "f".to_owned(),
            question: "When do\nyou open?".to_owned(),
            answer: answer.to_owned(),
            status: pb::FaqStatus::Approved.into(),
            verification_status: pb::FaqVerificationStatus::HumanVerified.into(),
            derived_confidence: 0.876,
            ..Default::default()
        };
        pb::CustomerFaqMatch { customer_faq: Some(faq), ..Default::default() }
    }

    #[test]
    fn a_faq_has_its_answer_and_how_sure_it_is() {
        let text = found(&[found_faq("At nine.")], 500);
        let expected =
            "**When do you open?**\n> At nine.\n(approved, verified by a person, confidence 0.88; id f)";
        assert_eq!(text, expected);
        assert!(found(&[found_faq("")], 500).contains("(no answer yet)"));
        assert!(found(&[], 500).starts_with("No FAQ matches."));
    }

    #[test]
    fn those_without_room_are_counted() {
        let faqs: Vec<_> = (0..40).map(|_| found_faq(&"word ".repeat(60))).collect();
        let text = found(&faqs, 500);
        assert!(count(&text) <= 500);
        let shown = text.matches("When do you open?").count();
        assert!(text.contains(&format!("{} more match", 40 - shown)), "{text}");
    }
}
